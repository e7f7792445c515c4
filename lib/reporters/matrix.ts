import type { CheckResult, Status } from '../smoke/model.ts';
import { changeText, changeTitles } from './compare.ts';
import { headline } from './explain.ts';
import { marks } from './marks.ts';
import type { Screen } from './pretty.ts';
import { type Change, type Column, duration, onlyResult, type Report, rows, type Surprise } from './report.ts';
import { clean, fold, oneLine } from './text.ts';

const shown = (status: Status) => (status === 'skip' ? (['-', 'dim'] as const) : marks[status]);

/** 'debian-6.18' is 6.18, '6.18.44+deb13-amd64' is 6.18.44: the columns are many. */
const shorten = (name: string) =>
  name
    .replace(/^debian-/, '')
    .replace(/^sw-protected-/, 'swp-')
    .replace('-arm64', '-arm')
    .replace(/^(\d+\.\d+(?:\.\d+)?(?:-rc\d+)?)[-+]\S*/, '$1');

/** What stands above each column: its kernel's name, short where that is still told apart from the others. */
export function headings(columns: readonly Column[]): Map<Column, string> {
  const names = columns.map(({ kernel }) => oneLine(kernel.name));
  const short = names.map(shorten);
  const own = (name: string) => short.indexOf(name) === short.lastIndexOf(name);
  return new Map(columns.map((column, at) => [column, (own(short[at] ?? '') ? short[at] : names[at]) ?? '']));
}

/** A reason to skip, and on which kernels how many checks have it. */
export interface MatrixCause {
  readonly reason: string;
  readonly kernels: ReadonlyMap<string, number>;
}

/** Why checks were skipped. */
export function matrixCauses({ columns }: Report): MatrixCause[] {
  const names = headings(columns);
  const found = new Map<string, { reason: string; kernels: Map<string, number> }>();
  for (const column of columns)
    for (const { status, reason = 'no reason given' } of column.result?.checks ?? []) {
      if (status !== 'skip') continue;
      const cause = found.get(reason) ?? { reason: oneLine(reason), kernels: new Map<string, number>() };
      const name = names.get(column) ?? '';
      cause.kernels.set(name, (cause.kernels.get(name) ?? 0) + 1);
      found.set(reason, cause);
    }
  return [...found.values()];
}

/** '6.12: 50, 6.18: 3' */
export const causeCounts = ({ kernels }: MatrixCause): string =>
  [...kernels].map(([kernel, count]) => `${kernel}: ${count}`).join(', ');

function failureText(kernel: string, check: CheckResult): string {
  const { knownBug, status, name } = check;
  const bug = knownBug ? ` (known bug ${knownBug.id}, fixed by ${knownBug.fixedBy})` : '';
  return oneLine(`${kernel}: ${status} ${name}: ${headline(check)}${bug}`);
}

const failures = ({ columns }: Report) =>
  [...headings(columns)].flatMap(([column, kernel]) =>
    (column.result?.checks ?? [])
      .filter(({ status }) => status === 'fail' || status === 'xfail' || status === 'error')
      .map((check) => failureText(kernel, check)),
  );

/** 'debian-6.18, file/stat: expected pass, got fail: …' */
export const surpriseText = ({ kernel, check, expected, got, reason }: Surprise): string =>
  `${kernel}, ${check}: expected ${expected}, got ${got}${reason ? `: ${oneLine(reason.split('\n')[0] ?? '')}` : ''}`;

const unable = ({ columns }: Report) =>
  [...headings(columns)]
    .filter(([{ result }]) => !result)
    .map(([{ problem = 'nothing could run' }, name]) => `${name}: ${oneLine(problem.split('\n')[0] ?? '')}`);

type Section = readonly [title: string, texts: readonly string[]];

function changes(comparison: readonly Change[] = []): Section[] {
  return (Object.keys(changeTitles) as Change['change'][]).map((kind) => [
    changeTitles[kind],
    comparison.filter(({ change }) => change === kind).map(changeText),
  ]);
}

/** What is told below the table, in every form of it. */
function sections(report: Report): Section[] {
  return [
    ...changes(report.comparison),
    ['Could not run', unable(report)],
    ['Failed', failures(report)],
    ['Skipped (-)', matrixCauses(report).map((cause) => `${cause.reason} (${causeCounts(cause)})`)],
    ['Not as expected', (report.surprises ?? []).map(surpriseText)],
  ];
}

/** A sentence on all of it. */
function verdict({ surprises, comparison }: Report): string | undefined {
  const regressions = comparison?.filter(({ change }) => change === 'regression').length;
  if (comparison) return regressions === 0 ? 'No regression.' : `${regressions} regressed.`;
  if (!surprises) return undefined;
  return surprises.length === 0
    ? 'Everything is as expected of these releases.'
    : `${surprises.length} not as expected.`;
}

const total = ({ result }: Column, status: Status) => (result ? String(result.summary[status]) : '');
const time = ({ result }: Column) => (result ? duration(result.summary.durationMs) : '');

/** Rows below the checks: what a column comes to. */
const totals: readonly [name: string, value: (column: Column) => string][] = [
  ['passed', (column) => total(column, 'pass')],
  ['failed', (column) => (column.result ? String(column.result.summary.fail + column.result.summary.error) : '')],
  ['skipped', (column) => total(column, 'skip')],
  ['time', time],
];

/** The matrix for a person at a terminal. Where headings do not fit, numbers stand for them. */
export function matrixPretty(report: Report, { paint, width = Number.POSITIVE_INFINITY }: Screen): string {
  const { columns, title } = report;
  const table = rows(report).map(({ name, cells }) => ({ name: oneLine(name), cells }));
  const first = Math.max(7, ...table.map(({ name }) => name.length));
  const values = totals.map(([, value]) => columns.map(value));
  const names = [...headings(columns).values()];
  const least = columns.map((_, at) => Math.max(5, ...values.map((row) => row[at]?.length ?? 0)));
  const room = (heads: readonly string[]) =>
    heads.reduce((sum, head, at) => sum + 2 + Math.max(least[at] ?? 0, head.length), first);
  const numbered = room(names) > width;
  const heads = numbered ? columns.map((_, at) => `#${at + 1}`) : names;
  const widths = heads.map((head, at) => Math.max(least[at] ?? 0, head.length));
  const line = (
    name: string,
    cells: readonly string[],
    format: (text: string, at: number) => string = (text) => text,
  ) =>
    `${name.padEnd(first)}  ${cells.map((text, at) => format(text.padEnd(widths[at] ?? 0), at)).join('  ')}`.trimEnd();
  const lines = [paint('bold', clean(title)), ''];
  if (numbered) lines.push(...names.map((name, at) => `${heads[at]?.padStart(3)}  ${name}`), '');
  lines.push(paint('bold', line('', heads)));
  for (const { name, cells } of table) {
    const looks = cells.map((cell) => (cell ? shown(cell.status) : (['', 'dim'] as const)));
    const texts = looks.map(([text]) => text);
    lines.push(line(name, texts, (text, at) => paint(looks[at]?.[1] ?? 'dim', text)));
  }
  lines.push('', ...totals.map(([name], at) => line(name, values[at] ?? [])), '');
  for (const [name, texts] of sections(report))
    if (texts.length > 0)
      lines.push(paint('bold', name), ...texts.flatMap((text) => fold(`  ${text}`, width, '    ')), '');
  const words = verdict(report);
  if (words) lines.push(words);
  return `${lines.join('\n').trimEnd()}\n`;
}

/** For documents, and for the summary of a step: a run's failures and skips, or the matrix. */
export function markdown(report: Report): string {
  const { columns, title } = report;
  const literal = (text: string) =>
    oneLine(text)
      .replace(/[\\`*_<>|[\]~]/g, '\\$&')
      .replaceAll('@', '@\u200b');
  const lines = [`## ${literal(title)}`, ''];
  const cells = (texts: readonly string[]) => `| ${texts.join(' | ')} |`;
  const only = onlyResult(report);
  const table = rows(report);
  const names = [...headings(columns).values()];
  lines.push(cells(['check', ...names.map(literal)]), `|${'---|'.repeat(columns.length + 1)}`);
  // A run by itself is told by its counts, and by what is not as it should be.
  if (!only)
    for (const { name, cells: row } of table)
      lines.push(cells([literal(name), ...row.map((cell) => (cell ? shown(cell.status)[0] : ''))]));
  for (const [name, value] of totals) lines.push(cells([`**${name}**`, ...columns.map(value)]));
  lines.push('');
  if (columns.some(({ result }) => result)) {
    lines.push('Kernels:', '');
    for (const [at, { kernel, result }] of columns.entries()) {
      const release = kernel.version ?? result?.host.kernelRelease ?? 'unknown';
      const where = result?.lab ? `, ${result.lab.emulator ?? 'QEMU'}, ${result.lab.accelerator}` : '';
      const when = result ? `, on ${result.startedAt.slice(0, 10)}` : '';
      lines.push(`- ${literal(names[at] ?? '')}: ${literal(`${release}${where}${when}`)}`);
    }
    lines.push('');
  }
  for (const [name, texts] of sections(report))
    if (texts.length > 0) lines.push(`${name}:`, '', ...texts.map((text) => `- ${literal(text)}`), '');
  const words = verdict(report);
  if (words) lines.push(words);
  return `${lines.join('\n').trimEnd()}\n`;
}
