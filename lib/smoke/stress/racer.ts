// A thread that makes one kernel call again and again, or each time it is told to, while the main thread does something
// else to the same objects. It has an addon environment of its own, so it works with bare file descriptors.
import { closeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { KvmError } from '../../kvm/errors.ts';
import { rawIoctl } from '../../kvm/raw.ts';
import { type RacerTask, Signal } from './race.ts';

const { task, signals } = workerData as { task: RacerTask; signals: SharedArrayBuffer };
const words = new Int32Array(signals);
const tally: Record<string, number> = {};

function count(outcome: string): void {
  tally[outcome] = (tally[outcome] ?? 0) + 1;
}

/** KVM_PRE_FAULT_MEMORY of the range. Success must move on, and refusal must not. */
function preFault({ fd, argument }: RacerTask & { kind: 'preFault' }): void {
  const bytes = Uint8Array.from(argument);
  const sizeOf = () => new DataView(bytes.buffer).getBigUint64(8, true);
  const before = sizeOf();
  try {
    rawIoctl(fd, task.kind === 'preFault' ? task.request : 0, bytes);
    count(sizeOf() < before ? 'ok' : 'success without progress');
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    count(sizeOf() === before ? error.code : `${error.code} after progress`);
  }
}

/** Waits for the next round; gives its number. */
function nextRound(done: number): number {
  Atomics.store(words, Signal.done, done);
  Atomics.notify(words, Signal.done);
  for (;;) {
    const round = Atomics.load(words, Signal.round);
    if (round !== done || Atomics.load(words, Signal.stop) === 1) return round;
    // Looks again and again: a thread that sleeps comes too late for the race.
  }
}

parentPort?.postMessage('ready');
if (task.kind === 'preFault') {
  // The pauses are for a kernel whose deletion waits for readers to be gone, on a machine with few processors.
  for (let calls = 1; Atomics.load(words, Signal.stop) === 0; calls++) {
    preFault(task);
    if (calls % 16 === 0) Atomics.wait(words, Signal.stop, 0, 0.2);
  }
} else {
  for (let round = 0; Atomics.load(words, Signal.stop) === 0; ) {
    round = nextRound(round);
    if (Atomics.load(words, Signal.stop) === 1) break;
    closeSync(Atomics.load(words, Signal.fd));
    count('closed');
  }
}
parentPort?.postMessage(tally);
