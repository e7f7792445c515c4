import { parseArgs } from 'node:util';

export const help = `Usage: npm run bench -- [options] [NAME…]

Measures this package against C programs, koffi and QEMU that do the same: rounds of each by turns, and the ratio of the
medians' sides within each round. NAME is a case or a part of its name; without one, all are measured.

Options:
  --list           the cases and what each needs
  --check          exit with 1 where a ratio is missed
  --quick          a few short rounds, to see that everything runs: its figures say little, so --check refuses it
  --rounds N       rounds of each, 18 unless told otherwise
  --json FILE      everything measured, round by round
  --markdown FILE  the table, as in docs/benchmarks.md
  --lab KERNEL     in a lab machine with this kernel (gmem lab kernels list), for cases that need KVM or what this
                   machine's kernel has not. It is emulated: its figures and ratios are not those of hardware
  -h, --help       this text

Exit status: 0 measured, 1 a case failed or, with --check, missed, 2 wrong usage, 4 nothing could be measured.
`;

/** What was asked for wrongly. */
export class UsageError extends Error {}

/** The command line as values; throws {@link UsageError}. */
export function parseOptions(argv) {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        list: { type: 'boolean', default: false },
        check: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        json: { type: 'string' },
        markdown: { type: 'string' },
        lab: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error.message);
  }
  const { rounds, ...values } = parsed.values;
  if (rounds !== undefined && !/^[1-9]\d{0,3}$/.test(rounds))
    throw new UsageError(`--rounds takes a number from 1 to 9999, not "${rounds}"`);
  for (const name of ['json', 'markdown', 'lab'])
    if (values[name] === '') throw new UsageError(`--${name} needs a value`);
  // A verdict on a shared machine needs rounds enough for a median that stays.
  if (values.check && values.quick) throw new UsageError('--check needs more rounds than --quick has; use one of them');
  return {
    ...values,
    names: parsed.positionals,
    rounds: rounds === undefined ? (values.quick ? 3 : 18) : Number(rounds),
  };
}

/** The cases that are called by one of the words, or whose names hold it where none is; throws {@link UsageError} for a word that fits none. */
export function select(cases, names) {
  for (const word of names)
    if (!cases.some(({ name }) => name.includes(word)))
      throw new UsageError(`no case is called "${word}"; there are: ${cases.map(({ name }) => name).join(', ')}`);
  const isMeant = (name, word) => name === word || (name.includes(word) && !cases.some((one) => one.name === word));
  return names.length === 0 ? cases : cases.filter(({ name }) => names.some((word) => isMeant(name, word)));
}
