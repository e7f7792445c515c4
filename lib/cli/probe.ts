import { parseArgs } from 'node:util';
import { probe } from '../probe/probe.ts';
import { probePretty } from '../reporters/probe-pretty.ts';
import { painter } from '../reporters/style.ts';
import { ExitCode, type Io, parsing } from './io.ts';
import { tool } from './tool.ts';

const help = `Usage: gmem probe [options]

Tells what this machine's KVM offers around guest_memfd, found by using it, and for each thing that is missing the first
cause found and what to do about it.

Options:
  --json           the report as JSON
  --device PATH    the KVM device (default: /dev/kvm)
  -h, --help       this text

Exit status: 0 the device can be used, 2 wrong usage, 4 it cannot (the report says why).
`;

/** `gmem probe`. */
export async function probeCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values } = parsing(() =>
    parseArgs({
      args: [...argv],
      options: {
        json: { type: 'boolean' },
        device: { type: 'string', default: '/dev/kvm' },
        help: { type: 'boolean', short: 'h' },
      },
    }),
  );
  if (values.help) {
    io.stdout.write(help);
    return ExitCode.ok;
  }
  const report = probe(values.device, tool);
  io.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : probePretty(report, painter(io.stdout)));
  const { problem } = report.device;
  if (!problem) return ExitCode.ok;
  io.stderr.write(`gmem probe: ${values.device} cannot be used: ${problem.cause}. ${problem.remedy}.\n`);
  return ExitCode.nothingRan;
}
