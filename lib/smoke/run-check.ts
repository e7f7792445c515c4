import { GuestExitError } from '../guest/agent.ts';
import { KvmError, MemoryAccessError } from '../kvm/errors.ts';
import { CheckContext, CheckSkip, type CheckTerms } from './context.ts';
import { CheckFailure } from './expect.ts';
import { expectedBug } from './known-bugs.ts';
import type { Check, CheckResult, Failure, Status } from './model.ts';
import type { Ground } from './requirements.ts';
import type { CallLog, CapturedCall, Moment } from './trace/log.ts';
import { isShort, showCall } from './trace/show.ts';

type Verdict = Pick<CheckResult, 'status' | 'reason' | 'remedy' | 'chain' | 'requirement' | 'cause' | 'failure'>;

/** How a check ended, with what a reproducer is made of. */
export interface Outcome {
  readonly result: CheckResult;
  /** What ended the check, where it did not pass. */
  readonly error?: unknown;
  /** What was so then. */
  readonly moment?: Moment;
  /** All calls of the check, where all were kept. */
  readonly calls?: readonly CapturedCall[] | undefined;
  /** How many of them came before the configuration that failed. */
  readonly configured: number;
}

/** What an error that ended a check says about the kernel. */
function judge(error: unknown, configuration: string | undefined): Verdict {
  if (error instanceof CheckSkip)
    return { status: 'skip', reason: error.message, ...(error.remedy ? { remedy: error.remedy } : {}) };
  const where = configuration === undefined ? {} : { configuration };
  if (error instanceof CheckFailure) {
    const failure: Failure = {
      message: error.message,
      ...(error.expected === undefined ? {} : { expected: error.expected }),
      ...(error.got === undefined ? {} : { got: error.got }),
      ...where,
    };
    return { status: 'fail', failure };
  }
  // The kernel refused, or did, what a check takes for granted: that is a finding too, and not the check's fault.
  if (error instanceof KvmError || error instanceof MemoryAccessError || error instanceof GuestExitError)
    return { status: 'fail', failure: { message: error.message, ...where } };
  const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { status: 'error', cause: 'exception', reason };
}

/** What was so when the check failed. What the check had open may have been closed between then and now. */
function momentOf(error: unknown, log: CallLog): Moment {
  if (error instanceof CheckFailure && error.moment) return error.moment;
  if (error instanceof KvmError) return log.whenLast((call) => call.result === error.errno);
  if (error instanceof MemoryAccessError) return log.whenLast(isShort);
  if (error instanceof GuestExitError) return log.whenGuestLeft ?? log.whenLast((call) => call.name === 'vcpuRun');
  return log.now();
}

/** Adds to a failure what led there. */
function diagnosed(verdict: Verdict, moment: Moment, context: CheckContext, log: CallLog): Verdict {
  if (!verdict.failure) return verdict;
  return {
    ...verdict,
    failure: {
      ...verdict.failure,
      calls: log.recent(moment).map((call) => showCall(call, log.began)),
      ...(moment.guest ? { guest: moment.guest } : {}),
      ...(context.memory ? { memory: context.memory } : {}),
    },
  };
}

function verdictOf(check: Check, ground: Ground, verdict: Verdict): Partial<CheckResult> & { status: Status } {
  const bug = expectedBug(check.knownBugs, ground.host.kernelRelease);
  if (!bug) return verdict;
  const knownBug = { id: bug.id, title: bug.title, fixedBy: bug.fixedBy };
  if (verdict.status === 'fail') return { ...verdict, status: 'xfail', knownBug };
  if (verdict.status === 'pass') return check.race ? verdict : { ...verdict, knownBug, unexpectedPass: true };
  return verdict;
}

/** The first requirement that is not met. */
function skipOf({ requires = [] }: Check, ground: Ground): Verdict | undefined {
  for (const { name, unmet } of requires) {
    const found = unmet(ground);
    if (found) return { status: 'skip', ...found, requirement: name };
  }
  return undefined;
}

/** Runs one check, closes what it opened, and says how it ended. */
export async function runCheck(check: Check, ground: Ground, terms: CheckTerms, log: CallLog): Promise<Outcome> {
  const started = performance.now();
  const context = new CheckContext(ground, terms);
  let verdict: Verdict = { status: 'pass' };
  let caught: { error: unknown; moment: Moment } | undefined;
  const settle = (error: unknown, configuration: string | undefined) => {
    const moment = momentOf(error, log);
    caught = { error, moment };
    verdict = diagnosed(judge(error, configuration), moment, context, log);
  };
  try {
    const skip = skipOf(check, ground);
    if (skip) verdict = skip;
    else await check.run(context);
  } catch (error) {
    settle(error, context.configuration);
  }
  const { configured } = log;
  try {
    context.close();
  } catch (error) {
    if (verdict.status === 'pass') settle(error, 'closing what the check opened');
  }
  const result: CheckResult = {
    name: check.name,
    title: check.title,
    ...verdictOf(check, ground, verdict),
    durationMs: Math.round((performance.now() - started) * 1000) / 1000,
    ...(context.isRandom ? { seed: terms.seed } : {}),
    ...(check.upstream ? { upstream: check.upstream } : {}),
    since: check.since,
    ...(context.notes.length > 0 ? { notes: context.notes } : {}),
  };
  return { result, ...caught, calls: log.all, configured };
}
