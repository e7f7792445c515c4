import type { CheckResult, Status } from '../smoke/model.ts';
import { explain, headline } from './explain.ts';
import { bySubject, propertyOf, type Report } from './report.ts';
import { oneLine } from './text.ts';

/** LAVA's results. It has none for a failure that is a known bug of the kernel's: such a check is skipped. */
const results: Readonly<Record<Status, string>> = {
  pass: 'pass',
  fail: 'fail',
  xfail: 'skip',
  skip: 'skip',
  error: 'unknown',
};

/** Names end at a space, signals at an angle bracket. */
const identifier = (name: string) => oneLine(name).replace(/[^\w.+:@/-]+/gu, '_') || '_';

/** Signals are found at the beginning of a line: text must not be taken for one. */
const log = (line: string) => `  ${line}`.replaceAll('<LAVA_SIGNAL', '<LAVA-SIGNAL');

function told(check: CheckResult): string[] {
  const name = oneLine(check.name);
  if (check.status === 'pass') return [];
  if (check.status === 'skip') return [log(`${name}: skip: ${headline(check)}`)];
  return [log(`${name}: ${check.status}`), ...explain(check).map((line) => log(`  ${line}`))];
}

/** The lines that lava-test-case and lava-test-set print: a set for each subject, a case for each check. */
export function lava({ columns }: Report): string {
  const lines: string[] = [];
  for (const { kernel, result, problem = '' } of columns) {
    const prefix = columns.length > 1 ? `${identifier(kernel.name)}/` : '';
    if (!result)
      lines.push(
        log(`${oneLine(kernel.name)}: ${oneLine(problem)}`),
        `<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=${prefix}boot RESULT=unknown>`,
      );
    for (const [subject, checks] of bySubject(result?.checks ?? [])) {
      lines.push(`<LAVA_SIGNAL_TESTSET START ${prefix}${identifier(subject)}>`);
      for (const check of checks) {
        const time = check.status === 'skip' ? '' : ` MEASUREMENT=${check.durationMs} UNITS=ms`;
        lines.push(
          ...told(check),
          `<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=${identifier(propertyOf(check.name))} RESULT=${results[check.status]}${time}>`,
        );
      }
      lines.push('<LAVA_SIGNAL_TESTSET STOP>');
    }
  }
  return `${lines.join('\n')}\n`;
}
