import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { MemoryMap } from '../conversion/map.ts';
import { ExitCode, type Io, parsing, UsageError } from './io.ts';

const help = `Usage: gmem map [options]

Makes a small VM, converts parts of its memory as this kernel can, and draws the map: what is private, what is shared,
what has been touched, and whether the kernel agrees with this package's books. It shows what vm.memory.map() tells of
any VM. Where the kernel has no private memory, the map shows a VM whose memory is all shared.

Options:
  --format FORMAT   text, svg or json (default: text)
  --output FILE     write it to a file instead of standard output
  --device PATH     the KVM device (default: /dev/kvm)
  -h, --help        this text

Exit status: 0 done, 1 the kernel disagrees with the books, 2 wrong usage, 4 no VM can be made here.
`;

const formats = ['text', 'svg', 'json'] as const;
type Format = (typeof formats)[number];

/** `gmem map`. */
export async function mapCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values } = parsing(() =>
    parseArgs({
      args: [...argv],
      options: {
        format: { type: 'string', default: 'text' },
        output: { type: 'string' },
        device: { type: 'string', default: '/dev/kvm' },
        help: { type: 'boolean', short: 'h' },
      },
    }),
  );
  if (values.help) {
    io.stdout.write(help);
    return ExitCode.ok;
  }
  const format = values.format as Format;
  if (!formats.includes(format))
    throw new UsageError(`--format takes one of ${formats.join(', ')}, not "${values.format}"`);
  const [{ Kvm }, { KvmError }, { demoMap }, { jsonMap, svgMap, textMap }] = await Promise.all([
    import('../kvm/kvm.ts'),
    import('../kvm/errors.ts'),
    import('../conversion/demo.ts'),
    import('../conversion/render.ts'),
  ]);
  let map: MemoryMap;
  try {
    using kvm = Kvm.open({ path: values.device });
    map = await demoMap(kvm);
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    io.stderr.write(`gmem map: ${error.message}\n`);
    return ExitCode.nothingRan;
  }
  const drawn = { text: textMap, svg: svgMap, json: jsonMap }[format](map);
  if (values.output === undefined) io.stdout.write(drawn);
  else
    try {
      writeFileSync(values.output, drawn);
    } catch (error) {
      throw new UsageError(`--output: ${(error as Error).message}`);
    }
  const disagreements = map.segments.filter(({ disagreement }) => disagreement).length;
  if (disagreements === 0) return ExitCode.ok;
  io.stderr.write(`gmem map: the kernel disagrees about ${disagreements} segments\n`);
  return ExitCode.failed;
}
