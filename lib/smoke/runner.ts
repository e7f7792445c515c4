import { type ChildProcess, fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Check, CheckResult, HostFacts, SuiteResult } from './model.ts';
import { summarise } from './model.ts';
import type { Assignment, WorkerMessage } from './protocol.ts';

/** What the runner needs to know of a check that it does not run itself. */
export type CheckEntry = Pick<Check, 'name' | 'title' | 'since' | 'upstream'>;

export interface RunnerOptions {
  readonly checks: readonly CheckEntry[];
  readonly device: string;
  /** Seconds that one check may take. */
  readonly timeoutSeconds: number;
  readonly tool: SuiteResult['tool'];
  /** Ends the run: what has not run is skipped. */
  readonly signal?: AbortSignal;
  readonly onStart?: (name: string, index: number) => void;
  readonly onResult?: (result: CheckResult) => void;
  /** See {@link Assignment.catalogue}. */
  readonly catalogue?: string;
}

/** Nothing could run. The message is a paragraph for the user. */
export class NothingRanError extends Error {}

interface WorkerEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it wrote to its standard error, the last few KiB. */
  readonly stderr: string;
}

const stderrKept = 8192;

/** One worker process working through a list of checks. */
class Worker {
  host: HostFacts | undefined;
  unusable: string | undefined;
  /** The check under way, and since when. */
  current: { name: string; since: number } | undefined;
  timedOut = false;
  readonly #child: ChildProcess;
  readonly ended: Promise<WorkerEnd>;

  constructor(assignment: Assignment, options: RunnerOptions, onResult: (result: CheckResult) => void) {
    const path = fileURLToPath(new URL(`./worker${extname(import.meta.url)}`, import.meta.url));
    this.#child = fork(path, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    let stderr = '';
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-stderrKept);
    });
    let timer: NodeJS.Timeout | undefined;
    this.#child.on('message', (message: WorkerMessage) => {
      clearTimeout(timer);
      if (message.type === 'ready') this.host = message.host;
      else if (message.type === 'unusable') this.unusable = message.reason;
      else if (message.type === 'start') {
        this.current = { name: message.name, since: performance.now() };
        options.onStart?.(
          message.name,
          options.checks.findIndex((check) => check.name === message.name),
        );
        timer = setTimeout(() => {
          this.timedOut = true;
          this.kill();
        }, options.timeoutSeconds * 1000);
      } else {
        this.current = undefined;
        onResult(message.result);
      }
    });
    this.ended = new Promise((resolve, reject) => {
      this.#child.on('error', reject);
      this.#child.on('close', (code, signal) => {
        clearTimeout(timer);
        resolve({ code, signal, stderr: stderr.trim() });
      });
    });
    this.#child.send(assignment, () => {
      // A worker that is gone already is told by 'close'.
    });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

function describeEnd(worker: Worker, end: WorkerEnd, timeoutSeconds: number): string {
  if (worker.timedOut) return `the check did not end within ${timeoutSeconds} s; its process was killed`;
  const how = end.signal ? `was ended by ${end.signal}` : `exited with code ${end.code}`;
  return `the check's process ${how}${end.stderr ? `; it had written:\n${end.stderr}` : ''}`;
}

/**
 * Runs checks in a worker process, and in a new one after each check that takes its process down or does not end.
 *
 * @throws {NothingRanError} when the device cannot be used
 */
export async function runChecks(options: RunnerOptions): Promise<SuiteResult> {
  const { checks, device, timeoutSeconds, tool, signal, catalogue } = options;
  const startedAt = new Date().toISOString();
  const started = performance.now();
  const results = new Map<string, CheckResult>();
  const record = (result: CheckResult) => {
    results.set(result.name, result);
    options.onResult?.(result);
  };
  const entryOf = new Map(checks.map((check) => [check.name, check]));
  const withoutVerdict = (name: string, status: 'skip' | 'error', reason: string, durationMs: number) => {
    const { title = '', since = '', upstream } = entryOf.get(name) ?? {};
    record({
      name,
      title,
      since,
      ...(upstream ? { upstream } : {}),
      status,
      reason,
      durationMs: Math.round(durationMs),
    });
  };
  let host: HostFacts | undefined;

  while (!signal?.aborted) {
    const names = checks.map((check) => check.name).filter((name) => !results.has(name));
    if (names.length === 0) break;
    const worker = new Worker({ device, names, ...(catalogue ? { catalogue } : {}) }, options, record);
    const stop = () => worker.kill();
    signal?.addEventListener('abort', stop, { once: true });
    const end = await worker.ended;
    signal?.removeEventListener('abort', stop);
    host ??= worker.host;
    if (worker.unusable !== undefined) throw new NothingRanError(worker.unusable);
    if (signal?.aborted) break;
    if (worker.current) {
      const { name, since } = worker.current;
      withoutVerdict(name, 'error', describeEnd(worker, end, timeoutSeconds), performance.now() - since);
    } else if (names.every((name) => !results.has(name))) {
      // It ended without trying anything, so the next one would as well.
      throw new NothingRanError(
        `The process that runs the checks could not start: ${end.stderr || describeEnd(worker, end, timeoutSeconds)}`,
      );
    }
  }
  if (!host) throw new NothingRanError('Interrupted before the first check.');
  const interrupted = signal?.aborted === true;
  for (const { name } of checks)
    if (!results.has(name)) withoutVerdict(name, 'skip', 'the run was interrupted before this check had ended', 0);
  const ordered = checks.map(({ name }) => results.get(name)).filter((result) => result !== undefined);
  return {
    schemaVersion: 1,
    tool,
    startedAt,
    host,
    summary: summarise(ordered, Math.round(performance.now() - started)),
    ...(interrupted ? { interrupted } : {}),
    checks: ordered,
  };
}
