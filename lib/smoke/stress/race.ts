import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

/** What a racer does all the time, or in each round. */
export type RacerTask =
  | { readonly kind: 'preFault'; readonly fd: number; readonly request: number; readonly argument: Uint8Array }
  | { readonly kind: 'close' };

/** Words of the memory that both threads share. */
export const Signal = { stop: 0, round: 1, fd: 2, done: 3 } as const;

/** A thread that races with this one. */
export class Racer {
  readonly #words = new Int32Array(new SharedArrayBuffer(16));
  readonly #worker: Worker;
  readonly #tally: Promise<Record<string, number>>;
  readonly #ready: Promise<void>;

  constructor(task: RacerTask) {
    const path = fileURLToPath(new URL(`./racer${extname(import.meta.url)}`, import.meta.url));
    this.#worker = new Worker(path, { workerData: { task, signals: this.#words.buffer } });
    const messages: unknown[] = [];
    let onReady = () => {};
    this.#ready = new Promise((resolve) => {
      onReady = resolve;
    });
    this.#tally = new Promise((resolve, reject) => {
      this.#worker.on('message', (message) => {
        messages.push(message);
        if (message === 'ready') onReady();
        else resolve(message as Record<string, number>);
      });
      this.#worker.on('error', (error) => {
        onReady();
        reject(error);
      });
    });
    // Whoever waits for the tally hears of it; until then it is nobody's unhandled rejection.
    this.#tally.catch(() => {});
  }

  /** Resolves when the thread has begun. */
  get ready(): Promise<void> {
    return this.#ready;
  }

  /** Begins a round: the thread closes the descriptor. */
  close(fd: number): void {
    Atomics.store(this.#words, Signal.fd, fd);
    Atomics.add(this.#words, Signal.round, 1);
  }

  /** Waits until the round is over, at most a second at a time, in which other threads can run. */
  finished(): boolean {
    const round = Atomics.load(this.#words, Signal.round);
    const done = Atomics.load(this.#words, Signal.done);
    if (done !== round) Atomics.wait(this.#words, Signal.done, done, 1000);
    return Atomics.load(this.#words, Signal.done) === round;
  }

  /** Ends the thread; how often it met which outcome. */
  async stop(): Promise<Record<string, number>> {
    Atomics.store(this.#words, Signal.stop, 1);
    const tally = await this.#tally;
    await this.#worker.terminate();
    return tally;
  }
}
