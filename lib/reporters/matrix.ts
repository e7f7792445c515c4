import type { Matrix, MatrixColumn } from '../lab/matrix.ts';
import type { Status } from '../smoke/model.ts';
import type { Paint } from './style.ts';

const shown: Record<Status, [text: string, format: Parameters<Paint>[0]]> = {
  pass: ['pass', 'green'],
  fail: ['FAIL', ['red', 'bold']],
  xfail: ['xfail', 'yellow'],
  skip: ['-', 'dim'],
  error: ['ERROR', ['red', 'bold']],
};

/** 'debian-6.18' is 6.18, 'sw-protected-7.3' is swp-7.3: the columns are many. */
const heading = ({ kernel }: MatrixColumn) =>
  kernel.name
    .replace(/^debian-/, '')
    .replace(/^sw-protected-/, 'swp-')
    .replace('-arm64', '-arm');

function rows({ columns }: Matrix): { name: string; cells: (Status | undefined)[] }[] {
  const names = [...new Set(columns.flatMap(({ result }) => result?.checks.map((check) => check.name) ?? []))];
  return names.map((name) => ({
    name,
    cells: columns.map(({ result }) => result?.checks.find((check) => check.name === name)?.status),
  }));
}

interface Cause {
  readonly reason: string;
  readonly kernels: Map<string, number>;
}

/** Why checks were skipped, and on which kernels how many. */
function causes({ columns }: Matrix): Cause[] {
  const found = new Map<string, Cause>();
  for (const column of columns)
    for (const { status, reason = 'no reason given' } of column.result?.checks ?? []) {
      if (status !== 'skip') continue;
      const cause = found.get(reason) ?? { reason, kernels: new Map<string, number>() };
      cause.kernels.set(heading(column), (cause.kernels.get(heading(column)) ?? 0) + 1);
      found.set(reason, cause);
    }
  return [...found.values()];
}

const firstLine = (text: string) => text.split('\n')[0] ?? '';

const counts = ({ kernels }: Cause) => [...kernels].map(([kernel, count]) => `${kernel}: ${count}`).join(', ');

function failures({ columns }: Matrix): string[] {
  return columns.flatMap((column) =>
    (column.result?.checks ?? [])
      .filter(({ status }) => status === 'fail' || status === 'xfail' || status === 'error')
      .map(({ name, status, failure, reason, knownBug }) => {
        const bug = knownBug ? ` (known bug ${knownBug.id}, fixed by ${knownBug.fixedBy})` : '';
        const seen = firstLine(
          failure ? `${failure.message}${failure.got === undefined ? '' : `, got ${failure.got}`}` : (reason ?? ''),
        );
        return `${heading(column)}: ${status} ${name}: ${seen}${bug}`;
      }),
  );
}

const notAsExpected = ({ surprises }: Matrix) =>
  surprises.map(
    ({ kernel, check, expected, got, reason }) =>
      `${kernel}, ${check}: expected ${expected}, got ${got}${reason ? `: ${firstLine(reason)}` : ''}`,
  );

const unable = ({ columns }: Matrix) =>
  columns.filter(({ problem }) => problem).map((column) => `${heading(column)}: ${firstLine(column.problem ?? '')}`);

/** The matrix for a person at a terminal. */
export function matrixPretty(matrix: Matrix, paint: Paint): string {
  const table = rows(matrix);
  const heads = matrix.columns.map(heading);
  const first = Math.max(5, ...table.map(({ name }) => name.length));
  const widths = heads.map((head) => Math.max(5, head.length));
  const line = (name: string, cells: string[]) => `${name.padEnd(first)}  ${cells.join('  ')}`.trimEnd();
  const lines = [
    paint(
      'bold',
      line(
        '',
        heads.map((head, i) => head.padEnd(widths[i] ?? 0)),
      ),
    ),
  ];
  for (const { name, cells } of table)
    lines.push(
      line(
        name,
        cells.map((status, i) => {
          const [text, format] = status ? shown[status] : (['', 'dim'] as const);
          return paint(format, text.padEnd(widths[i] ?? 0));
        }),
      ),
    );
  const passed = matrix.columns.map(({ result }, i) => String(result?.summary.pass ?? '').padEnd(widths[i] ?? 0));
  const seconds = matrix.columns.map(({ result }, i) =>
    (result ? `${(result.summary.durationMs / 1000).toFixed(0)} s` : '').padEnd(widths[i] ?? 0),
  );
  lines.push('', line('passed', passed), line('time, with boot', seconds), '');
  const section = (title: string, texts: readonly string[]) => {
    if (texts.length > 0) lines.push(paint('bold', title), ...texts.map((text) => `  ${text}`), '');
  };
  section('Could not run', unable(matrix));
  section('Failed', failures(matrix));
  section(
    'Skipped (-)',
    causes(matrix).map((cause) => `${cause.reason}\n    ${counts(cause)}`),
  );
  section('Not as expected', notAsExpected(matrix));
  lines.push(
    matrix.surprises.length === 0
      ? 'Everything else is as expected of these releases.'
      : `${matrix.surprises.length} not as expected.`,
  );
  return `${lines.join('\n')}\n`;
}

/** The matrix for documents. */
export function matrixMarkdown(matrix: Matrix): string {
  const heads = matrix.columns.map(heading);
  const inCell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
  const lines = [
    `Measured on ${matrix.startedAt.slice(0, 10)} with ${matrix.columns[0]?.result?.lab?.emulator ?? 'QEMU'}, ${matrix.columns[0]?.result?.lab?.accelerator ?? 'tcg'}, ${matrix.numaNodes} NUMA nodes.`,
    '',
    `| check | ${heads.join(' | ')} |`,
    `|---|${heads.map(() => '---').join('|')}|`,
    ...rows(matrix).map(
      ({ name, cells }) => `| ${name} | ${cells.map((status) => (status ? shown[status][0] : '')).join(' | ')} |`,
    ),
    `| **passed** | ${matrix.columns.map(({ result }) => result?.summary.pass ?? '').join(' | ')} |`,
    `| **seconds, with boot** | ${matrix.columns.map(({ result }) => (result ? (result.summary.durationMs / 1000).toFixed(0) : '')).join(' | ')} |`,
    '',
    'Kernels:',
    ...matrix.columns.map(({ kernel }) => `- ${kernel.name}: ${kernel.version}`),
    '',
  ];
  const section = (title: string, texts: readonly string[]) => {
    if (texts.length > 0) lines.push(`${title}:`, ...texts.map((text) => `- ${inCell(text)}`), '');
  };
  section('Could not run', unable(matrix));
  section('Failed', failures(matrix));
  section(
    'Skipped (-)',
    causes(matrix).map((cause) => `${cause.reason} (${counts(cause)})`),
  );
  section('Not as expected', notAsExpected(matrix));
  return `${lines.join('\n').trimEnd()}\n`;
}
