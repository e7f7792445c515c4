import { GuestExitError } from '../guest/agent.ts';
import { KvmError, MemoryAccessError } from '../kvm/errors.ts';
import { CheckContext, CheckSkip } from './context.ts';
import { CheckFailure } from './expect.ts';
import { expectedBug } from './known-bugs.ts';
import type { Check, CheckResult, Failure, Status } from './model.ts';
import type { Ground } from './requirements.ts';

type Verdict = Pick<CheckResult, 'status' | 'reason' | 'remedy' | 'cause' | 'failure'>;

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

function verdictOf(check: Check, ground: Ground, verdict: Verdict): Partial<CheckResult> & { status: Status } {
  const bug = expectedBug(check.knownBugs, ground.host.kernelRelease);
  if (!bug) return verdict;
  const knownBug = { id: bug.id, title: bug.title, fixedBy: bug.fixedBy };
  if (verdict.status === 'fail') return { ...verdict, status: 'xfail', knownBug };
  if (verdict.status === 'pass') return { ...verdict, knownBug, unexpectedPass: true };
  return verdict;
}

/** Runs one check, closes what it opened, and says how it ended. */
export async function runCheck(check: Check, ground: Ground): Promise<CheckResult> {
  const started = performance.now();
  const context = new CheckContext(ground);
  let verdict: Verdict = { status: 'pass' };
  try {
    const unmet = check.requires?.map((requirement) => requirement.unmet(ground)).find((found) => found !== undefined);
    if (unmet) verdict = { status: 'skip', ...unmet };
    else await check.run(context);
  } catch (error) {
    verdict = judge(error, context.configuration);
  }
  try {
    context.close();
  } catch (error) {
    if (verdict.status === 'pass') verdict = judge(error, 'closing what the check opened');
  }
  return {
    name: check.name,
    title: check.title,
    ...verdictOf(check, ground, verdict),
    durationMs: Math.round((performance.now() - started) * 1000) / 1000,
    ...(check.upstream ? { upstream: check.upstream } : {}),
    since: check.since,
    ...(context.notes.length > 0 ? { notes: context.notes } : {}),
  };
}
