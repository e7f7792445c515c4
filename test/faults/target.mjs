// The program of program.mjs as a process whose system calls are watched, and answered with errors that the kernel did not
// give.
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseLog } from './trace.mjs';

const program = fileURLToPath(new URL('./program.mjs', import.meta.url));

/** Every call by which memory comes and goes: what is mapped at the end of a round and was not before has leaked. */
const alwaysTraced = ['mmap', 'munmap'];

/** How often a tracer is told to go, in milliseconds. */
const interruptEvery = 2000;

/**
 * Sends SIGINT until a child has ended. One is not enough: strace looks whether it was interrupted and then waits for its
 * tracees, so a signal between the two is lost when these make no more calls; it stayed behind one in some thousand.
 *
 * @param child that ends by SIGINT
 * @returns a promise of its end
 */
export async function interrupted(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.on('close', resolve));
  child.kill('SIGINT');
  const again = setInterval(() => child.kill('SIGINT'), interruptEvery);
  await ended;
  clearInterval(again);
}

export class Target {
  /**
   * @param part of program.mjs
   * @param options.library the compiled library
   * @param options.seconds after which a round counts as hanging
   * @param options.threads follow threads that begin during a round, instead of watching the main thread alone
   */
  constructor(part, { library, seconds, threads }) {
    this.seconds = seconds;
    this.threads = threads;
    this.folder = mkdtempSync(join(tmpdir(), 'gmem-faults-'));
    const fifo = join(this.folder, 'go');
    execFileSync('mkfifo', [fifo]);
    // Lab machines say --jitless. With all of our options `node -e` would start what it was given, over and over.
    const flags = process.execArgv.filter((flag) => flag === '--jitless');
    this.child = spawn(process.execPath, ['--expose-gc', ...flags, program, library, fifo, part], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // What Node does to tell what was executed would be traced, too.
      env: { ...process.env, NODE_OPTIONS: '', NODE_V8_COVERAGE: '' },
    });
    this.stderr = '';
    this.child.stderr.setEncoding('utf8').on('data', (text) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve) =>
      this.child.on('close', (code, signal) => resolve({ ended: signal ?? `exit ${code}` })),
    );
    this.messages = [];
    this.waiting = undefined;
    let rest = '';
    this.child.stdout.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      this.messages.push(...lines.map((line) => JSON.parse(line)));
      if (this.messages.length > 0) this.waiting?.();
    });
    // For reading and writing: opening neither waits for the program nor fails without it.
    this.fifo = openSync(fifo, 'r+');
  }

  /** The next message, or how the process ended, or that it does not. */
  async hear() {
    if (this.messages.length === 0) {
      let timer;
      const hung = new Promise((resolve) => {
        timer = setTimeout(() => resolve({ hung: true }), this.seconds * 1000);
      });
      const message = new Promise((resolve) => {
        this.waiting = resolve;
      });
      const end = await Promise.race([message, this.ended, hung]);
      clearTimeout(timer);
      if (this.messages.length === 0) return end;
    }
    return this.messages.shift();
  }

  /**
   * One round under strace.
   *
   * @param traced names of system calls
   * @param inject `CALL:error=ERRNO:when=N`, where a fault is to be put in
   * @returns what the program told, and the calls that were traced
   */
  async round(traced, inject) {
    const ready = await this.hear();
    if (!ready?.ready) return { ...ready, calls: [] };
    const log = join(this.folder, 'log');
    const strace = spawn(
      'strace',
      [
        ...(this.threads ? ['-f'] : []),
        ...['-k', '-X', 'raw', '-s', '0', '-o', log, '-p', String(ready.ready)],
        ...['-e', `trace=${[...new Set([...alwaysTraced, ...traced])]}`, '-e', 'signal=none'],
        ...(inject ? ['-e', `inject=${inject}`] : []),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let said = '';
    await new Promise((resolve, reject) => {
      strace.on('error', reject);
      strace.on('close', () => reject(new Error(`strace: ${said}`)));
      strace.stderr.setEncoding('utf8').on('data', (text) => {
        said += text;
        if (/attached/.test(text)) resolve();
      });
    });
    writeSync(this.fifo, '.');
    const told = await this.hear();
    await interrupted(strace);
    const calls = parseLog(readFileSync(log, 'utf8'), ready.ready);
    if (!told?.thrown) return { ...told, calls, main: ready.ready };
    writeSync(this.fifo, '.');
    return { ...told, ...(await this.hear()), calls, main: ready.ready };
  }

  async close() {
    this.child.kill('SIGKILL');
    await this.ended;
    closeSync(this.fifo);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
