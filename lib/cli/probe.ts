import { parseArgs } from 'node:util';
import { type Probe, probe } from '../probe/probe.ts';
import { ExitCode, type Io, parsing } from './io.ts';
import { tool } from './tool.ts';

const help = `Usage: gmem probe [options]

Tells what this machine's KVM offers around guest_memfd, found by using it, and for each thing that is missing the first
cause found and what to do about it.

Options:
  --json           the report as JSON: { schemaVersion, tool, host, kernel, device, capabilities, features }
  --device PATH    the KVM device (default: /dev/kvm)
  -h, --help       this text

Exit status: 0 the device can be used, 2 wrong usage, 4 it cannot (the report says why).
`;

/** What `gmem probe --json` prints. Numbers are plain JSON numbers, all of them exact; there is nothing above 2^53 - 1. */
export interface ProbeReport extends Probe {
  readonly schemaVersion: 1;
  readonly tool: { readonly name: string; readonly version: string };
}

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
  const found = probe({ path: values.device });
  if (values.json) {
    const report: ProbeReport = { schemaVersion: 1, tool, ...found };
    io.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  } else {
    // Loaded when wanted: every module of a command costs it about a millisecond.
    const [{ probePretty }, { painter }] = await Promise.all([
      import('../reporters/probe-pretty.ts'),
      import('../reporters/style.ts'),
    ]);
    io.stdout.write(probePretty(found, painter(io.stdout)));
  }
  const { problem } = found.device;
  if (!problem) return ExitCode.ok;
  io.stderr.write(`gmem probe: ${values.device} cannot be used: ${problem.cause}. ${problem.remedy}.\n`);
  return ExitCode.nothingRan;
}
