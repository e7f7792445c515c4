#!/usr/bin/env node
import { ExitCode, type Io, UsageError } from './io.ts';

const help = `Usage: gmem COMMAND [options]

KVM guest memory for Node: what this kernel's guest_memfd really does.

Commands:
  probe      what this machine's KVM offers, and why what is missing is missing
  smoke      run the smoke suite on this machine's KVM
  map        draw the memory of a small VM: private, shared, touched
  report     render saved results, side by side, or compare two
  lab        run it on any kernel, in a virtual machine that needs no KVM
  backend    check a memory backend as QEMU's -object takes it, and run a guest on it
  advise     which memory backend to use, and why
  lint       what is wrong with, ignored in or better than the memory of a QEMU command line

  gmem COMMAND --help tells more.  gmem --version prints the version.
`;

type Command = (argv: readonly string[], io: Io) => Promise<number>;

// Loaded when asked for: each command pays only for what it needs.
const commands: Record<string, () => Promise<Command>> = {
  advise: async () => (await import('./advise.ts')).adviseCommand,
  backend: async () => (await import('./backend.ts')).backendCommand,
  lab: async () => (await import('./lab.ts')).labCommand,
  lint: async () => (await import('./lint.ts')).lintCommand,
  map: async () => (await import('./map.ts')).mapCommand,
  probe: async () => (await import('./probe.ts')).probeCommand,
  report: async () => (await import('./report.ts')).reportCommand,
  smoke: async () => (await import('./smoke.ts')).smokeCommand,
};

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === '--version' || name === '-V') {
    process.stdout.write(`${(await import('./tool.ts')).tool.version}\n`);
    return ExitCode.ok;
  }
  if (name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(help);
    return ExitCode.ok;
  }
  if (name === undefined) {
    process.stderr.write(help);
    return ExitCode.usage;
  }
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!load) throw new UsageError(`there is no command "${name}"; gmem --help lists them`);
  return (await load())(rest, process);
}

// A reader that stops reading, as `| head -1` does, is no failure of ours: the command goes on, for its other reports and
// its exit status. Anything else is one: a full disk, say.
let unwritable = false;
process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
  if (code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED' || unwritable) return;
  unwritable = true;
  process.stderr.write(`gmem: standard output could not be written: ${message}\n`);
  process.exitCode ||= ExitCode.failed;
});

try {
  const code = await main(process.argv.slice(2));
  process.exitCode = code || (unwritable ? ExitCode.failed : ExitCode.ok);
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof UsageError) {
    process.stderr.write(`gmem: ${message}\n`);
    process.exitCode = ExitCode.usage;
  } else if (code === 'ERR_ADDON_NOT_BUILT' || code === 'ERR_ADDON_LOAD' || code === 'ERR_UNSUPPORTED_PLATFORM') {
    process.stderr.write(`gmem: ${message}\n`);
    process.exitCode = ExitCode.nothingRan;
  } else throw error;
}
