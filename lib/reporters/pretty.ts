import type { CheckResult, SuiteResult } from '../smoke/model.ts';
import { skipCauses } from './causes.ts';
import { explain } from './explain.ts';
import { marks } from './marks.ts';
import { matrixPretty } from './matrix.ts';
import { bySubject, duration, onlyResult, propertyOf, type Report } from './report.ts';
import type { Paint } from './style.ts';
import { clean, fold, oneLine } from './text.ts';

/** What a report for a person is shown on. */
export interface Screen {
  readonly paint: Paint;
  /** Columns, where lines are to be broken: on a terminal. */
  readonly width?: number | undefined;
}

/** Breaks lines where the screen ends, and paints each by itself. */
function lay(
  line: string,
  { paint, width }: Screen,
  margin: number,
  format: Parameters<Paint>[0] | undefined,
): string[] {
  const folded = fold(`${' '.repeat(margin)}${line}`, width ?? Number.POSITIVE_INFINITY, ' '.repeat(margin + 2));
  return format === undefined ? folded : folded.map((one) => paint(format, one));
}

function checkLines(check: CheckResult, screen: Screen): string[] {
  const { paint } = screen;
  const [mark, format] = marks[check.status];
  const upstream = check.upstream ? ` ${paint('dim', `[${check.upstream.join(' ')}]`)}` : '';
  const time = check.status === 'skip' ? '' : ` ${paint('dim', duration(check.durationMs))}`;
  const line = `  ${paint(format, mark.padEnd(5))}  ${oneLine(propertyOf(check.name))}${upstream}${time}`;
  if (check.status === 'skip') return [line];
  return [line, ...explain(check).flatMap((text) => lay(text, screen, 11, 'dim'))];
}

function subjectLines([subject, checks]: [string, CheckResult[]], screen: Screen): string[] {
  const time = checks.reduce((sum, check) => sum + (check.status === 'skip' ? 0 : check.durationMs), 0);
  const total =
    checks.length > 1 && time > 0 ? ` ${screen.paint('dim', `${checks.length} checks, ${duration(time)}`)}` : '';
  return [
    `${screen.paint('bold', oneLine(subject))}${total}`,
    ...checks.flatMap((check) => checkLines(check, screen)),
    '',
  ];
}

function skipLines(checks: readonly CheckResult[], screen: Screen): string[] {
  const causes = skipCauses(checks);
  if (causes.length === 0) return [];
  const lines = causes.flatMap(({ reason, remedy, chain, checks: skipped }) => [
    ...lay([reason, remedy].filter(Boolean).join('. '), screen, 2, undefined),
    ...chain.flatMap((link) => lay(`because ${oneLine(link)}`, screen, 4, undefined)),
    ...lay(skipped.map((check) => oneLine(check.name)).join(', '), screen, 4, 'dim'),
  ]);
  return [screen.paint('bold', 'Skipped'), ...lines, ''];
}

/** '70 checks: 54 pass, 0 fail, 16 skip in 24.27 s' */
export function countsLine({ checks, summary }: SuiteResult, paint: Paint): string {
  const counts = (['pass', 'fail', 'xfail', 'skip', 'error'] as const)
    .filter((status) => summary[status] > 0 || status === 'pass' || status === 'fail')
    .map((status) => {
      const text = `${summary[status]} ${status}`;
      return summary[status] > 0 ? paint(marks[status][1], text) : text;
    });
  return `${checks.length} ${checks.length === 1 ? 'check' : 'checks'}: ${counts.join(', ')} in ${duration(summary.durationMs)}`;
}

function resultPretty(result: SuiteResult, title: string, screen: Screen): string {
  const { paint } = screen;
  const { host, checks, seed } = result;
  const where = `on Linux ${host.kernelRelease}, ${host.architecture}, ${host.cpu}`;
  const lines = [
    ...lay(`${clean(title)} ${oneLine(where)}`, screen, 0, undefined).map((line) =>
      line.replace(clean(title), paint('bold', clean(title))),
    ),
    '',
    ...[...bySubject(checks)].flatMap((group) => subjectLines(group, screen)),
    ...skipLines(checks, screen),
  ];
  if (result.interrupted) lines.push(paint('yellow', 'The run was interrupted.'), '');
  if (seed !== undefined) lines.push(`Random checks were driven by seed ${seed}.`, '');
  lines.push(countsLine(result, paint));
  return `${lines.join('\n')}\n`;
}

/** For a person, as text that ends in a newline: a run in full, several side by side. */
export function pretty(report: Report, screen: Screen): string {
  const result = onlyResult(report);
  return result ? resultPretty(result, report.title, screen) : matrixPretty(report, screen);
}
