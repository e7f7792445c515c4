import type { CheckResult, SuiteResult } from '../smoke/model.ts';
import { explain, headline } from './explain.ts';
import { bySubject, type Column, isTrouble, propertyOf, type Report } from './report.ts';
import { oneLine } from './text.ts';

// KTAP version 1, as Documentation/dev-tools/ktap.rst of the kernel has it: a document inside a document is two spaces
// further in, and comes before the line with its own result.

/** A hash would begin the directive, and a leading dash is dropped by readers. */
const description = (name: string) =>
  oneLine(name)
    .replaceAll('#', '_')
    .replace(/^[- ]+/, '') || '_';

function directive(check: CheckResult): string {
  // The kernel's own reader takes a '# SKIP' for the directive wherever in the line it is.
  const why = headline(check).replace(/#\s+/g, '#');
  if (check.status === 'skip') return ` # SKIP ${why}`;
  // As kselftest has it: ok, so that a reader who knows no XFAIL does not take a known bug for a regression.
  if (check.status === 'xfail') return ` # XFAIL ${check.knownBug?.id ?? ''} ${why}`;
  if (check.status === 'error') return ` # ${check.cause === 'timeout' ? 'TIMEOUT' : 'ERROR'} ${why}`;
  return '';
}

function checkLines(check: CheckResult, number: number): string[] {
  const told = check.status === 'skip' && !check.remedy && !check.chain ? [] : explain(check);
  return [
    ...told.map((line) => `# ${line}`.trimEnd()),
    `${isTrouble(check) ? 'not ok' : 'ok'} ${number} ${description(propertyOf(check.name))}${directive(check)}`.trimEnd(),
  ];
}

/** A document with one test for each entry. */
function nested<T>(entries: readonly T[], lines: (entry: T, number: number) => string[]): string[] {
  return ['KTAP version 1', `1..${entries.length}`, ...entries.flatMap((entry, at) => lines(entry, at + 1))];
}

const indent = (lines: readonly string[]) => lines.map((line) => `  ${line}`);

function parentLine(name: string, number: number, checks: readonly CheckResult[]): string {
  const skipped = checks.length > 0 && checks.every(({ status }) => status === 'skip') ? ' # SKIP all of it' : '';
  return `${checks.some(isTrouble) ? 'not ok' : 'ok'} ${number} ${description(name)}${skipped}`;
}

const subjects = ({ checks }: SuiteResult) =>
  nested([...bySubject(checks)], ([subject, group], number) => [
    ...indent(nested(group, checkLines)),
    parentLine(subject, number, group),
  ]);

function columnLines({ kernel, result, problem = '' }: Column, number: number): string[] {
  if (!result)
    return [`not ok ${number} ${description(kernel.name)} # ERROR ${oneLine(problem).replace(/#\s+/g, '#')}`.trimEnd()];
  return [...indent(subjects(result)), parentLine(kernel.name, number, result.checks)];
}

function totals({ columns }: Report): string {
  const count = (status: CheckResult['status']) =>
    columns.reduce((sum, { result }) => sum + (result?.summary[status] ?? 0), 0);
  return `# Totals: pass:${count('pass')} fail:${count('fail')} xfail:${count('xfail')} xpass:0 skip:${count('skip')} error:${count('error')}`;
}

/** KTAP: subjects, and checks in them; several runs have a level of their own around that. */
export function ktap(report: Report): string {
  const [first] = report.columns;
  const lines =
    report.columns.length === 1 && first?.result ? subjects(first.result) : nested(report.columns, columnLines);
  return `${[...lines, totals(report)].join('\n')}\n`;
}
