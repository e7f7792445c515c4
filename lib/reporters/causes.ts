import type { CheckResult } from '../smoke/model.ts';
import { oneLine } from './text.ts';

/** Why checks were skipped: one cause is often behind many. */
export interface SkipCause {
  readonly reason: string;
  readonly remedy: string | undefined;
  readonly chain: readonly string[];
  readonly checks: readonly CheckResult[];
}

/** The skips of a run by cause, in the order they came. */
export function skipCauses(checks: readonly CheckResult[]): SkipCause[] {
  const found = new Map<string, SkipCause & { checks: CheckResult[] }>();
  for (const check of checks) {
    if (check.status !== 'skip') continue;
    const { reason = 'no reason given', remedy, chain = [] } = check;
    const cause = found.get(reason) ?? {
      reason: oneLine(reason),
      remedy: remedy && oneLine(remedy),
      chain,
      checks: [],
    };
    cause.checks.push(check);
    found.set(reason, cause);
  }
  return [...found.values()];
}
