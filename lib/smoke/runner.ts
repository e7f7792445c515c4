import { expectedBug } from './known-bugs.ts';
import type { Check, CheckResult, ErrorCause, HostFacts, KernelCall, SuiteResult } from './model.ts';
import { summarise } from './model.ts';
import { launchProcess } from './process-worker.ts';
import type { Assignment, Complaint, Launch, Reproducer, RunningWorker, WorkerEnd } from './protocol.ts';
import { meets } from './requirement-name.ts';

/** What the runner needs to know of a check that it does not run itself. */
export type CheckEntry = Pick<Check, 'name' | 'title' | 'since' | 'upstream' | 'knownBugs' | 'stress' | 'isolated'>;

export interface RunnerOptions {
  readonly checks: readonly CheckEntry[];
  readonly device: string;
  /** Seconds that one check may take; a stress check gets `stressSeconds` more. */
  readonly timeoutSeconds: number;
  readonly tool: SuiteResult['tool'];
  /** What random checks are driven by, from 0 to 2^32 - 1; any, where none is given. */
  readonly seed?: number | undefined;
  /** Seconds that each stress check goes on. */
  readonly stressSeconds?: number | undefined;
  /** How often a check that fails or has no verdict is tried again, default 0. */
  readonly retries?: number;
  /** Requirements without which a check fails instead of being skipped. */
  readonly required?: readonly string[];
  /** Ends the run: what has not run is skipped. */
  readonly signal?: AbortSignal;
  readonly onStart?: (name: string, index: number) => void;
  readonly onResult?: (result: CheckResult) => void;
  /** Told of every kernel call when it has ended, or when its process has without it. */
  readonly onCall?: ((check: string, call: KernelCall) => void) | undefined;
  /** Given a C program for each check that fails, or why there is none. */
  readonly onReproducer?: ((check: string, reproducer: Reproducer) => void) | undefined;
  /** See {@link Assignment.catalogue}. */
  readonly catalogue?: string;
  /** Where workers run, default: in processes of this machine. */
  readonly launch?: Launch;
  /** How many run at once, each with a share of the checks, default 1. */
  readonly workers?: number;
}

/** Nothing could run. The message is a paragraph for the user. */
export class NothingRanError extends Error {}

/** One worker working through a list of checks. */
class Worker {
  host: HostFacts | undefined;
  unusable: string | undefined;
  /** The check under way, and since when. */
  current: { name: string; since: number } | undefined;
  /** The kernel call under way, where calls are told of. */
  call: KernelCall | undefined;
  timedOut = false;
  readonly #running: RunningWorker;
  readonly ended: Promise<WorkerEnd>;

  constructor(assignment: Assignment, options: RunnerOptions, onResult: (result: CheckResult) => void) {
    let timer: NodeJS.Timeout | undefined;
    const indexOf = new Map(options.checks.map((check, index) => [check.name, index]));
    const begin = (name: string) => {
      this.current = { name, since: performance.now() };
      const index = indexOf.get(name) ?? 0;
      options.onStart?.(name, index);
      const extra = options.checks[index]?.stress ? (options.stressSeconds ?? 0) : 0;
      clearTimeout(timer);
      timer = setTimeout(
        () => {
          this.timedOut = true;
          this.kill();
        },
        (options.timeoutSeconds + extra) * 1000,
      );
    };
    this.#running = (options.launch ?? launchProcess)(assignment, (message) => {
      switch (message.type) {
        case 'ready':
          this.host = message.host;
          break;
        case 'unusable':
          this.unusable = message.reason;
          break;
        case 'start':
          begin(message.name);
          break;
        case 'begin':
          this.call = message.call;
          break;
        case 'call':
          this.call = undefined;
          options.onCall?.(message.check, message.call);
          break;
        case 'result':
          clearTimeout(timer);
          this.current = undefined;
          if (message.reproducer) options.onReproducer?.(message.result.name, message.reproducer);
          onResult(message.result);
          break;
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
  // A known bug that hangs the check makes the kernel complain of the hang.
  if (result.status === 'xfail' && result.cause) return { ...result, reason: `${before}\n${said}` };
  return {
    ...rest,
    ...(failure ? { failure } : {}),
    status: 'error',
    cause: 'kernel',
    reason: before ? `${before}\n${said}` : said,
  };
}

/** A skip that --require does not allow is a failure. */
function withRequired(result: CheckResult, required: readonly string[]): CheckResult {
  const { requirement, reason, remedy, chain, ...rest } = result;
  if (result.status !== 'skip' || requirement === undefined || !meets(requirement, required)) return result;
  const message = `${requirement} is required here, but ${[reason, ...(chain ?? [])].join('; because ')}`;
  return { ...rest, status: 'fail', failure: { message, expected: requirement, got: 'not there' } };
}

/** What a check that was tried more than once says of the tries before. */
function withAttempts(result: CheckResult, before: readonly CheckResult[]): CheckResult {
  if (before.length === 0) return result;
  const said = before.map(({ failure, reason }) => failure?.message ?? reason?.split('\n')[0] ?? 'no verdict');
  const count = before.length === 1 ? 'once' : `${before.length} times`;
  const note =
    result.status === 'pass'
      ? `passed after it had failed ${count}: ${said.join('; ')}`
      : `ended no better than the ${count === 'once' ? 'time' : `${before.length} times`} before: ${said.join('; ')}`;
  return { ...result, notes: [...(result.notes ?? []), note] };
}

/** The checks of the next worker: those that share one, or the next that needs one of its own. */
function nextNames(checks: readonly CheckEntry[], isolate: boolean): string[] {
  const together = checks.filter((check) => !(isolate && check.isolated));
  return (together.length > 0 ? together : checks.slice(0, 1)).map((check) => check.name);
}

/** Deals checks out, so that each share has some of every subject. */
function shares(checks: readonly CheckEntry[], count: number): CheckEntry[][] {
  return Array.from({ length: count }, (_, share) => checks.filter((_check, index) => index % count === share));
}

/** A seed nobody has chosen. */
function anySeed(): number {
  return Math.floor(Math.random() * 2 ** 32);
}

/**
 * Runs checks in a worker process, or several at once, and in a new one after each check that takes its process down or does
 * not end.
 *
 * @throws {NothingRanError} when the device cannot be used
 */
export async function runChecks(options: RunnerOptions): Promise<SuiteResult> {
  const { checks, device, timeoutSeconds, tool, catalogue, retries = 0, workers = 1, stressSeconds } = options;
  const startedAt = new Date().toISOString();
  const started = performance.now();
  const { seed = anySeed() } = options;
  const results = new Map<string, CheckResult>();
  const attempts = new Map<string, CheckResult[]>();
  const record = (given: CheckResult) => {
    const result = withRequired(given, options.required ?? []);
    const before = attempts.get(result.name) ?? [];
    // One that is to be tried again is not in the results, so the next worker gets it.
    if ((result.status === 'fail' || result.status === 'error') && before.length < retries) {
      attempts.set(result.name, [...before, result]);
      return;
    }
    const final = withAttempts(result, before);
    results.set(final.name, final);
    options.onResult?.(final);
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
  // Where one worker finds that nothing can run, the others need not go on.
  const halt = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, halt.signal]) : halt.signal;

  const work = async (share: readonly CheckEntry[]): Promise<void> => {
    const left = share.filter((check) => !results.has(check.name));
    if (left.length === 0 || signal.aborted) return;
    // A machine of the lab is made anew after each crash anyway, and costs seconds.
    const names = nextNames(left, options.launch === undefined);
    const assignment: Assignment = {
      device,
      names,
      seed,
      timeoutSeconds,
      ...(stressSeconds === undefined ? {} : { stressSeconds }),
      ...(options.onCall ? { trace: true } : {}),
      ...(options.onReproducer ? { reproduce: true } : {}),
      ...(catalogue ? { catalogue } : {}),
    };
    let heard = 0;
    const worker = new Worker(assignment, options, (result) => {
      heard++;
      record(result);
    });
    const stop = () => worker.kill();
    signal.addEventListener('abort', stop, { once: true });
    const end = await worker.ended;
    signal.removeEventListener('abort', stop);
    host ??= worker.host;
    complaints.push(...(end.complaints ?? []));
    if (worker.unusable !== undefined) throw new NothingRanError(worker.unusable);
    if (worker.current && worker.call) options.onCall?.(worker.current.name, worker.call);
    if (signal.aborted) return;
    if (worker.current) {
      const { name, since } = worker.current;
      const cause = worker.timedOut ? 'timeout' : 'crash';
      const reason = describeEnd(worker, end, timeoutSeconds);
      const last = worker.call ? `${reason}\nthe kernel call under way was ${showUnfinished(worker.call)}` : reason;
      withoutVerdict(name, last, performance.now() - since, cause);
    } else if (heard === 0) {
      // It ended without trying anything, so the next one would as well.
      throw new NothingRanError(
        end.story ??
          `The process that runs the checks could not start: ${end.stderr || describeEnd(worker, end, timeoutSeconds)}`,
      );
    }
    await work(share);
  };
  const outcomes = await Promise.allSettled(
    shares(checks, Math.min(workers, checks.length)).map((share) =>
      work(share).catch((error) => {
        halt.abort();
        throw error;
      }),
    ),
  );
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed) throw failed.reason;
  if (!host) throw new NothingRanError('Interrupted before the first check.');
  const interrupted = signal.aborted;
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
    schemaVersion: 2,
    tool,
    startedAt,
    seed,
    host,
    summary: summarise(ordered, Math.round(performance.now() - started)),
    ...(interrupted ? { interrupted } : {}),
    checks: ordered,
  };
}

function showUnfinished({ call, arguments: args }: KernelCall): string {
  const shown = Object.entries(args).map(([name, value]) => `${name}=${value}`);
  return `${call} (${shown.join(', ')})`;
}
