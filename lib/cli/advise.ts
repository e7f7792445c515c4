import { parseArgs } from 'node:util';
import { adviceTable, type MemoryNeed } from '../backends/advice-table.ts';
import { type Advice, adviseMemoryBackend } from '../backends/advise.ts';
import { parseSize } from '../backends/values.ts';
import { ExitCode, type Io, parsing, UsageError } from './io.ts';
import { tool } from './tool.ts';

const needs = adviceTable.filter(({ need }) => need !== 'plain');

const help = `Usage: gmem advise [NEED…] [options]

Which memory backend to use for what is needed, why, and as what -object. NEEDs are:
${needs.map(({ need, documentation }) => `  ${`--${need}`.padEnd(16)} ${documentation}\n`).join('')}
Options:
  --size SIZE      of the memory (default: 1G)
  --check          look at what this host has of it
  --json           as JSON: { schemaVersion, tool, advice }
  -h, --help       this text

Exit status: 0 there is one, 1 none serves all that is needed, or --check found something missing, 2 wrong usage.
`;

const release = (product: string, since: string | null | undefined) =>
  since === null
    ? `${product}: no release yet`
    : since === undefined
      ? `${product}: any`
      : `${product} ${since} and later`;

function pretty(advice: Advice): string {
  const marks = { yes: '+', partly: '~', no: '-' };
  const lines: string[] = [];
  for (const { type, cells } of advice.types) {
    lines.push(type === advice.pick ? `${type}  <- this one` : type);
    for (const [need, { fit, reason }] of Object.entries(cells)) lines.push(`  ${marks[fit]} ${need}: ${reason}`);
  }
  lines.push('');
  if (advice.line === undefined) lines.push('No backend serves all of this. The lines above with "-" say why.');
  else lines.push(`-object ${advice.line}`, `${release('Linux', advice.kernel)}, ${release('QEMU', advice.qemu)}`);
  for (const { ok, what } of advice.host ?? []) lines.push(`${ok ? 'here' : 'missing here'}: ${what}`);
  return `${lines.join('\n')}\n`;
}

/** `gmem advise`. */
export async function adviseCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values } = parsing(() =>
    parseArgs({
      args: [...argv],
      options: {
        ...(Object.fromEntries(needs.map(({ need }) => [need, { type: 'boolean' }])) as Record<
          MemoryNeed,
          { type: 'boolean' }
        >),
        size: { type: 'string', default: '1G' },
        check: { type: 'boolean' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }),
  );
  if (values.help) {
    io.stdout.write(help);
    return ExitCode.ok;
  }
  const size = parseSize(values.size);
  if (size === undefined || typeof size === 'bigint' || size === 0)
    throw new UsageError(`advise: --size takes bytes, as 64M or 4G, not "${values.size}"`);
  const wanted = needs.flatMap(({ need }) => (need in values ? [need] : []));
  const advice = adviseMemoryBackend(wanted as MemoryNeed[], { size, checkHost: values.check === true });
  io.stdout.write(values.json ? `${JSON.stringify({ schemaVersion: 1, tool, advice }, null, 2)}\n` : pretty(advice));
  return advice.pick === undefined || advice.host?.some(({ ok }) => !ok) ? ExitCode.failed : ExitCode.ok;
}
