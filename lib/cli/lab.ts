import { ExitCode, type Io, UsageError } from './io.ts';

const help = `Usage: gmem lab COMMAND [options]

Runs the smoke suite on any kernel, in a virtual machine of QEMU's: no KVM is needed on this machine.

Commands:
  run        boot a kernel image and run the suite on it
  kernels    list, fetch and build kernels to run it on
  matrix     run it on several kernels and show the results side by side

  gmem lab COMMAND --help tells more.
`;

type Command = (argv: readonly string[], io: Io) => Promise<number>;

const commands: Record<string, () => Promise<Command>> = {
  run: async () => (await import('./lab-run.ts')).labRunCommand,
  kernels: async () => (await import('./lab-kernels.ts')).labKernelsCommand,
  matrix: async () => (await import('./lab-matrix.ts')).labMatrixCommand,
};

/** `gmem lab`. */
export async function labCommand(argv: readonly string[], io: Io): Promise<number> {
  const [name, ...rest] = argv;
  if (name === '--help' || name === '-h') {
    io.stdout.write(help);
    return ExitCode.ok;
  }
  if (name === undefined) {
    io.stderr.write(help);
    return ExitCode.usage;
  }
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!load) throw new UsageError(`gmem lab has no command "${name}"; there are: ${Object.keys(commands).join(', ')}`);
  return (await load())(rest, io);
}
