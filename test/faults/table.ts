import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';

/** What came of one error at one call; made by inject.mjs. */
export interface Row {
  readonly part: string;
  /** The call, as KvmError names it. */
  readonly label: string;
  /** The function of the addon that makes it. */
  readonly function: string;
  /** Which of these calls of the part it was. */
  readonly nth: number;
  readonly errno: string;
  readonly outcome: string;
  /** What is wrong with that. */
  readonly problem?: string;
}

const file = 'docs/faults.md';
const head = `# Faults from outside

What becomes of an error that the kernel gives to a call of the addon's: each call that a small program makes
(\`test/faults/program.mjs\`) is answered by \`strace -e inject=\` with each error that it can give, the first time, the second
and so on. After each the program closes what it has, and is asked what is left: file descriptors, children, threads, and
by the trace the memory that was mapped. A fault counts where the trace shows, by the stack at the call, that it hit the
addon's call and no other.

*KvmError* is one with the error's own code and the call's name. *goes on* means that the error was dealt with: the call is made
again after a signal, or another way is taken. A call that cannot fail with what it is given, or whose failure cannot be put in,
is not in the table; \`test/faults/errnos.mjs\` says why. The addon makes no eventfd of its own.

\`GMEM_FAULTS=all npx vitest run test/host/faults.test.ts test/lab/faults.test.ts\` puts every fault in and writes these tables;
without it the tests take one error for each call and compare. \`GMEM_FAULTS=1/4\` is a quarter of them.
`;

/** Texts of the table: an outcome that only repeats the error and the call is told shortly. */
function shortOutcome({ outcome, errno, label }: Row): string {
  if (outcome === `KvmError ${errno} ${label}`) return 'KvmError';
  return outcome.replaceAll(new RegExp(`\\b${errno} `, 'g'), '').replace('KvmError ', 'KvmError of ');
}

const shortFunction = (row: Row) => row.function.replaceAll('gm::', '');
const cellsOf = (line: string) => line.split('|').map((cell) => cell.trim());
const unique = <T>(list: readonly T[]) => [...new Set(list)];

function table(rows: readonly Row[]): string {
  const lines = [...grouped(rows)].map(([key, group]) => {
    const [label, from, outcome] = JSON.parse(key) as [string, string, string];
    const times = unique(group.map(({ nth }) => nth)).join(', ');
    return `| ${label} | ${from} | ${times} | ${unique(group.map(({ errno }) => errno)).join(', ')} | ${outcome} |`;
  });
  return ['| call | made in | which | error | outcome |', '| --- | --- | --- | --- | --- |', ...lines].join('\n');
}

function grouped(rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const key = JSON.stringify([row.label, shortFunction(row), shortOutcome(row)]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return groups;
}

const titles: Record<string, string> = {
  memory: 'Memory',
  view: 'A view',
  child: 'A forked child',
  populate: 'Threads that populate memory',
  kvm: 'VM, guest_memfd, guest and conversion',
  vcpu: "A vCPU's thread",
};

function sections(): Map<string, string> {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
  return new Map(
    text
      .split(/^## /m)
      .slice(1)
      .map((section) => [section.split('\n', 1)[0] ?? '', section.slice(section.indexOf('\n') + 1).trim()]),
  );
}

const keyOf = (row: Row) => [row.label, row.function, row.nth, row.errno].join(' ');

/** Writes the section of a part, of these rows and those that earlier runs have found. */
export function writeSection(part: string, rows: readonly Row[], where: string): void {
  const kept = `out/faults-${part}.json`;
  const earlier = existsSync(kept) ? (JSON.parse(readFileSync(kept, 'utf8')) as Row[]) : [];
  const merged = [...new Map([...earlier, ...rows].map((row) => [keyOf(row), row])).values()];
  mkdirSync('out', { recursive: true });
  writeFileSync(kept, JSON.stringify(merged));
  const all = sections();
  all.set(titles[part] ?? part, `${merged.length} faults, as measured on ${where}.\n\n${table(merged)}`);
  const text = Object.values(titles).flatMap((title) => (all.has(title) ? [`## ${title}\n\n${all.get(title)}\n`] : []));
  writeFileSync(file, [head, ...text].join('\n'));
}

/** Rows that came out otherwise than the table says; calls that it does not have are those of another kernel or C library. */
export function different(part: string, rows: readonly Row[]): string[] {
  const lines = (sections().get(titles[part] ?? part) ?? '').split('\n').map(cellsOf);
  return rows.flatMap((row) => {
    const said = lines.filter(
      ([, label, from, , errnos]) =>
        label === row.label && from === shortFunction(row) && errnos?.split(', ').includes(row.errno),
    );
    const outcome = shortOutcome(row);
    return said.length === 0 || said.some((cells) => cells[5] === outcome)
      ? []
      : [`${row.label} in ${row.function}, ${row.errno}: ${outcome}, not ${said.map((cells) => cells[5])}`];
  });
}
