import type { CheckResult, Status, SuiteResult } from '../smoke/model.ts';

/** One run of the suite among others: a kernel and what came of it. */
export interface Column {
  /** `name` tells it apart from the others. */
  readonly kernel: {
    readonly name: string;
    readonly version?: string;
    readonly series?: string;
    readonly architecture?: string;
  };
  /** Undefined when nothing could run. */
  readonly result?: SuiteResult | undefined;
  /** Why nothing could run. */
  readonly problem?: string | undefined;
}

/** A cell that is not as expected of its kernel. */
export interface Surprise {
  readonly kernel: string;
  readonly check: string;
  readonly expected: Status;
  readonly got: Status;
  /** What the check said. */
  readonly reason?: string | undefined;
}

/** What became of a check from one run to the next. */
export interface Change {
  readonly check: string;
  readonly change: 'regression' | 'fix' | 'new' | 'gone' | 'other';
  readonly before?: Status;
  readonly after?: Status;
}

/** What reporters render: one run, or several side by side. See schema/report.schema.json. */
export interface Report {
  readonly title: string;
  readonly columns: readonly Column[];
  /** Where the columns were compared with what is expected of their kernels. */
  readonly surprises?: readonly Surprise[];
  /** Where the second column was compared with the first. */
  readonly comparison?: readonly Change[];
}

export const defaultTitle = 'guest_memfd smoke test';

/** A run by itself. */
export function single(result: SuiteResult, title = defaultTitle): Report {
  return { title, columns: [{ kernel: { name: result.host.kernelRelease }, result }] };
}

/** The only result, of a report that is no more than that. */
export function onlyResult({ columns, surprises, comparison }: Report): SuiteResult | undefined {
  return columns.length === 1 && !surprises && !comparison ? columns[0]?.result : undefined;
}

/** A check of the table, with its result in each column. */
export interface Row {
  readonly name: string;
  readonly cells: readonly (CheckResult | undefined)[];
}

/** The checks of all columns: in the order of the column that has most, those of others after them. */
export function rows({ columns }: Report): Row[] {
  const byName = columns.map(({ result }) => new Map(result?.checks.map((check) => [check.name, check])));
  const names = new Set([...byName].sort((a, b) => b.size - a.size).flatMap((checks) => [...checks.keys()]));
  return [...names].map((name) => ({ name, cells: byName.map((checks) => checks.get(name)) }));
}

/** Gives columns with the same name names of their own, by what else tells them apart: processor, file, number. */
export function tellApart(columns: readonly { column: Column; file: string }[]): Column[] {
  const clashing = (names: readonly string[]) => names.map((name) => names.filter((one) => one === name).length > 1);
  let names = columns.map(({ column }) => column.kernel.name);
  const refine = (more: (at: number) => string | undefined) => {
    const clash = clashing(names);
    names = names.map((name, at) => (clash[at] && more(at) ? `${name} ${more(at)}` : name));
  };
  const processors = columns.map(({ column }) => column.result?.host.architecture);
  if (new Set(processors).size > 1) refine((at) => processors[at]);
  const files = columns.map(({ file }) => file);
  if (new Set(files).size > 1) refine((at) => `(${files[at]})`);
  const counts = new Map<string, number>();
  const clash = clashing(names);
  return columns.map(({ column }, at) => {
    const name = names[at] ?? '';
    const number = (counts.get(name) ?? 0) + 1;
    counts.set(name, number);
    return { ...column, kernel: { ...column.kernel, name: clash[at] ? `${name} #${number}` : name } };
  });
}

/** A number of milliseconds for a person. */
export function duration(milliseconds: number): string {
  if (milliseconds >= 60_000)
    return `${Math.floor(milliseconds / 60_000)} min ${Math.round((milliseconds % 60_000) / 1000)} s`;
  return milliseconds >= 1000 ? `${(milliseconds / 1000).toFixed(2)} s` : `${milliseconds.toFixed(1)} ms`;
}

/** A number of bytes for a person: the largest binary unit that divides it. */
export function bytes(count: number): string {
  for (const [unit, size] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const)
    if (count >= size && count % size === 0) return `${count / size} ${unit}`;
  return count >= 2 ** 30 ? `${(count / 2 ** 30).toFixed(1)} GiB` : `${count} bytes`;
}

/** The subject of 'subject/property'. */
export const subjectOf = (name: string): string => (name.includes('/') ? name.slice(0, name.indexOf('/')) : 'checks');

/** The property of 'subject/property'. */
export const propertyOf = (name: string): string => name.slice(name.indexOf('/') + 1);

/** Checks by subject, in the order they came. */
export function bySubject(checks: readonly CheckResult[]): Map<string, CheckResult[]> {
  const groups = new Map<string, CheckResult[]>();
  for (const check of checks) {
    const subject = subjectOf(check.name);
    const group = groups.get(subject);
    if (group) group.push(check);
    else groups.set(subject, [check]);
  }
  return groups;
}

/** Checks that say something about a kernel that is not as it should be. */
export const isTrouble = ({ status }: CheckResult): boolean => status === 'fail' || status === 'error';
