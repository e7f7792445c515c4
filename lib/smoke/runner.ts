import { fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expectedBug } from './known-bugs.ts';
import type { Check, CheckResult, ErrorCause, HostFacts, SuiteResult } from './model.ts';
import { summarise } from './model.ts';
import type { Assignment, Complaint, Launch, RunningWorker, WorkerEnd } from './protocol.ts';

/** What the runner needs to know of a check that it does not run itself. */
export type CheckEntry = Pick<Check, 'name' | 'title' | 'since' | 'upstream' | 'knownBugs'>;

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
  /** Where workers run, default: in processes of this machine. */
  readonly launch?: Launch;
}

/** Nothing could run. The message is a paragraph for the user. */
export class NothingRanError extends Error {}

const stderrKept = 8192;

/** A process of this machine. */
const forkWorker: Launch = (assignment, onMessage) => {
  const path = fileURLToPath(new URL(`./worker${extname(import.meta.url)}`, import.meta.url));
  const child = fork(path, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-stderrKept);
  });
  child.on('message', onMessage);
  const ended = new Promise<WorkerEnd>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stderr: stderr.trim() }));
  });
  child.send(assignment, () => {
    // A worker that is gone already is told by 'close'.
  });
  return { ended, kill: () => child.kill('SIGKILL') };
};

/** One worker working through a list of checks. */
class Worker {
  host: HostFacts | undefined;
  unusable: string | undefined;
  /** The check under way, and since when. */
  current: { name: string; since: number } | undefined;
  timedOut = false;
  readonly #running: RunningWorker;
  readonly ended: Promise<WorkerEnd>;

  constructor(assignment: Assignment, options: RunnerOptions, onResult: (result: CheckResult) => void) {
    let timer: NodeJS.Timeout | undefined;
    this.#running = (options.launch ?? forkWorker)(assignment, (message) => {
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
    this.ended = this.#running.ended.finally(() => clearTimeout(timer));
  }

  kill(): void {
    this.#running.kill();
  }
}

function describeEnd(worker: Worker, end: WorkerEnd, timeoutSeconds: number): string {
  const where = end.story === undefined ? 'process' : 'machine';
  const timeout = `the check did not end within ${timeoutSeconds} s; its ${where} was killed`;
  if (end.story !== undefined) return worker.timedOut ? `${timeout}. ${end.story}` : end.story;
  if (worker.timedOut) return timeout;
  const how = end.signal ? `was ended by ${end.signal}` : `exited with code ${end.code}`;
  return `the check's process ${how}${end.stderr ? `; it had written:\n${end.stderr}` : ''}`;
}

/** A check that made the kernel complain has no other verdict, whatever it saw itself. */
function withComplaints(result: CheckResult, complaints: readonly Complaint[]): CheckResult {
  if (complaints.length === 0) return result;
  const said = complaints.map(({ kind, text }) => `the kernel said during this check (${kind}):\n${text}`).join('\n');
  const { failure, ...rest } = result;
  const before = result.reason ?? failure?.message;
  return {
    ...rest,
    ...(failure ? { failure } : {}),
    status: 'error',
    cause: 'kernel',
    reason: before ? `${before}\n${said}` : said,
  };
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
  const withoutVerdict = (name: string, reason: string, durationMs: number, cause?: ErrorCause) => {
    const { title = '', since = '', upstream, knownBugs } = entryOf.get(name) ?? {};
    // A bug that hangs the check, or takes its process down, is known all the same.
    const bug = cause && host ? expectedBug(knownBugs, host.kernelRelease) : undefined;
    record({
      name,
      title,
      since,
      ...(upstream ? { upstream } : {}),
      status: bug ? 'xfail' : cause ? 'error' : 'skip',
      reason,
      ...(cause ? { cause } : {}),
      ...(bug ? { knownBug: { id: bug.id, title: bug.title, fixedBy: bug.fixedBy } } : {}),
      durationMs: Math.round(durationMs),
    });
  };
  let host: HostFacts | undefined;
  const complaints: Complaint[] = [];

  while (!signal?.aborted) {
    const names = checks.map((check) => check.name).filter((name) => !results.has(name));
    if (names.length === 0) break;
    const worker = new Worker({ device, names, ...(catalogue ? { catalogue } : {}) }, options, record);
    const stop = () => worker.kill();
    signal?.addEventListener('abort', stop, { once: true });
    const end = await worker.ended;
    signal?.removeEventListener('abort', stop);
    host ??= worker.host;
    complaints.push(...(end.complaints ?? []));
    if (worker.unusable !== undefined) throw new NothingRanError(worker.unusable);
    if (signal?.aborted) break;
    if (worker.current) {
      const { name, since } = worker.current;
      const cause = worker.timedOut ? 'timeout' : 'crash';
      withoutVerdict(name, describeEnd(worker, end, timeoutSeconds), performance.now() - since, cause);
    } else if (names.every((name) => !results.has(name))) {
      // It ended without trying anything, so the next one would as well.
      throw new NothingRanError(
        end.story ??
          `The process that runs the checks could not start: ${end.stderr || describeEnd(worker, end, timeoutSeconds)}`,
      );
    }
  }
  if (!host) throw new NothingRanError('Interrupted before the first check.');
  const interrupted = signal?.aborted === true;
  for (const { name } of checks)
    if (!results.has(name)) withoutVerdict(name, 'the run was interrupted before this check had ended', 0);
  const ordered = checks
    .map(({ name }) => results.get(name))
    .filter((result) => result !== undefined)
    .map((result) =>
      withComplaints(
        result,
        complaints.filter(({ check }) => check === result.name),
      ),
    );
  const outside = complaints.filter(({ check }) => check === undefined);
  if (outside.length > 0)
    ordered.push(
      withComplaints(
        {
          name: 'kernel/outside-checks',
          title: 'The kernel starts and ends without a complaint',
          since: '',
          status: 'pass',
          durationMs: 0,
        },
        outside,
      ),
    );
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
