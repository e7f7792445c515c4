import type { CheckResult, Status, SuiteResult } from '../smoke/model.ts';
import type { Change } from './report.ts';

const isGood = (status: Status) => status === 'pass';
const isBad = (status: Status) => status === 'fail' || status === 'error';

function changeOf(before: CheckResult | undefined, after: CheckResult | undefined): Change['change'] | undefined {
  if (!before) return 'new';
  if (!after) return 'gone';
  if (before.status === after.status) return undefined;
  if (isBad(after.status) && !isBad(before.status)) return 'regression';
  // A known bug that was not there and now is: expected of the release, and worse than before.
  if (after.status === 'xfail' && isGood(before.status)) return 'regression';
  if (isGood(after.status) && before.status !== 'skip') return 'fix';
  return 'other';
}

/**
 * What became of each check from one run to the next, worst first; what stayed is left out. A regression is a failure or an
 * error that was none before, or a known bug where the check had passed; a fix is a pass where there was any of them.
 */
export function compare(before: SuiteResult, after: SuiteResult): Change[] {
  const was = new Map(before.checks.map((check) => [check.name, check]));
  const is = new Map(after.checks.map((check) => [check.name, check]));
  const order: readonly Change['change'][] = ['regression', 'fix', 'new', 'gone', 'other'];
  return [...new Set([...is.keys(), ...was.keys()])]
    .flatMap((check) => {
      const [old, now] = [was.get(check), is.get(check)];
      const change = changeOf(old, now);
      return change
        ? [{ check, change, ...(old ? { before: old.status } : {}), ...(now ? { after: now.status } : {}) }]
        : [];
    })
    .sort((a, b) => order.indexOf(a.change) - order.indexOf(b.change));
}

/** What each kind of change is called, in a heading. */
export const changeTitles: Readonly<Record<Change['change'], string>> = {
  regression: 'Regressions',
  fix: 'Fixed',
  new: 'New',
  gone: 'Gone',
  other: 'Changed otherwise',
};

/** 'file/stat: pass → fail' */
export const changeText = ({ check, before, after }: Change): string =>
  `${check}: ${[before, after].filter(Boolean).join(' → ')}`;
