import { parseArgs } from 'node:util';
import type { ArchiveOptions } from '../lab/archive.ts';
import { buildKernel } from '../lab/build-kernel.ts';
import { cacheDirectory } from '../lab/cache.ts';
import { archiveKernels } from '../lab/debian-kernel.ts';
import { isLacking } from '../lab/error.ts';
import { cachedKernel, cachedKernels } from '../lab/kernel-cache.ts';
import { parseName, sourceSeries } from '../lab/kernel-names.ts';
import { provide } from '../lab/kernels.ts';
import { builtKernels } from '../lab/recipes.ts';
import { ExitCode, type Io, parsing, UsageError } from './io.ts';

const help = `Usage: gmem lab kernels list
       gmem lab kernels fetch NAME…
       gmem lab kernels build sw-protected|in-place [--debug]
       gmem lab kernels path NAME [--modules]

Kernels for the lab, kept in a cache. Names:
  debian-6.18         Debian's newest 6.18 for x86-64 (its flavour for clouds); debian-7.3-arm64 for arm64
  sw-protected-7.3    built here from Debian's source: software-protected VMs, for conversions between shared and private
  in-place-7.3        the same with in-place conversion, which no released kernel has: a patch of this project's
                      (scripts/lab/patches) stands in for the pending interface
  sw-protected-7.3-debug, in-place-7.3-debug    with KASAN, lockdep, DEBUG_VM, GUP_TEST and MEMORY_FAILURE

Commands:
  list     what is in the cache, and what could be fetched
  fetch    fetch kernels that are not in the cache (built ones are built)
  build    build one of those that Debian does not have (5 to 15 minutes on two cores; goes on where it was interrupted)
  path     print where the kernel's image is, fetching or building it first when it is not there

Options:
  --debug          build: with the kernel's own checkers
  --modules        path: print the folder of the kernel's modules instead
  --mirror URL     Debian's archive; default: $GMEM_DEBIAN_MIRROR, or the mirror that this machine's apt uses
  --offline        fetch nothing
  -h, --help       this text

The cache is \${XDG_CACHE_HOME:-~/.cache}/guest-memfd.
Exit status: 0 done, 2 wrong usage, 4 not to be had (the message says why), 130 interrupted.
`;

/** Options of every command that may have to fetch something. */
export const archiveFlags = { mirror: { type: 'string' }, offline: { type: 'boolean' } } as const;

export function archiveOptions(
  values: { mirror?: string | undefined; offline?: boolean | undefined },
  io: Io,
): ArchiveOptions {
  const mirror = values.mirror ?? process.env['GMEM_DEBIAN_MIRROR'];
  if (mirror !== undefined && !/^(https?|file):\/\//.test(mirror))
    throw new UsageError(`--mirror takes a URL, not "${mirror}"`);
  return {
    mirror,
    offline: values.offline === true,
    progress: (line) => io.stderr.write(`${line}\n`),
  };
}

/** Lets Ctrl-C end a long step with 130; children end with it, and 'exit' handlers clean up. */
export async function interruptible(action: () => Promise<number>): Promise<number> {
  const stop = () => process.exit(ExitCode.interrupted);
  process.on('SIGINT', stop).on('SIGTERM', stop);
  try {
    return await action();
  } finally {
    // What came while a program ran to its end, as unpackers do, is heard of now.
    await new Promise((heard) => setImmediate(heard));
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

async function list(options: ArchiveOptions, io: Io): Promise<void> {
  const cached = cachedKernels();
  io.stdout.write(`In the cache (${cacheDirectory('kernels')}):\n`);
  for (const kernel of cached) io.stdout.write(`  ${kernel.name.padEnd(24)} ${kernel.version}\n`);
  if (cached.length === 0) io.stdout.write('  nothing\n');
  let known: string[];
  try {
    known = (await archiveKernels(options)).map(
      ({ series, architecture }) => `debian-${series}${architecture === 'aarch64' ? '-arm64' : ''}`,
    );
  } catch (error) {
    if (!isLacking(error)) throw error;
    io.stdout.write(`What Debian's archive has is not known: ${error.message}\n`);
    known = [];
  }
  const rest = known.filter((name) => !cachedKernel(name));
  if (rest.length > 0) io.stdout.write(`To be fetched:\n${rest.map((name) => `  ${name}\n`).join('')}`);
  const built = builtKernels
    .flatMap((kind) => [`${kind}-${sourceSeries}`, `${kind}-${sourceSeries}-debug`])
    .filter((name) => !cachedKernel(name));
  if (built.length > 0) io.stdout.write(`To be built:\n${built.map((name) => `  ${name}\n`).join('')}`);
}

/** `gmem lab kernels`. */
export async function labKernelsCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parsing(() =>
    parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        ...archiveFlags,
        debug: { type: 'boolean' },
        modules: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }),
  );
  if (values.help) {
    io.stdout.write(help);
    return ExitCode.ok;
  }
  const [command, ...names] = positionals;
  const options = archiveOptions(values, io);
  const named = (wanted: readonly string[]) => {
    for (const name of wanted)
      if (!parseName(name)) throw new UsageError(`"${name}" is no name of a kernel; gmem lab kernels list shows them`);
    return wanted;
  };
  try {
    return await interruptible(async () => {
      if (command === 'list') await list(options, io);
      else if (command === 'fetch') {
        if (names.length === 0)
          throw new UsageError('gmem lab kernels fetch takes names; gmem lab kernels list shows them');
        for (const name of named(names)) io.stdout.write(`${(await provide(name, options)).image}\n`);
      } else if (command === 'build') {
        if (names.length !== 1 || !builtKernels.includes(names[0] as string))
          throw new UsageError(`gmem lab kernels build takes one of ${builtKernels.join(', ')}`);
        const kernel = parseName(`${names[0]}-${sourceSeries}${values.debug ? '-debug' : ''}`);
        if (kernel) io.stdout.write(`${(await buildKernel(kernel, options)).image}\n`);
      } else if (command === 'path') {
        if (names.length !== 1) throw new UsageError('gmem lab kernels path takes one name');
        const kernel = await provide(named(names)[0] as string, options);
        if (values.modules && !kernel.modules)
          throw new UsageError(`${kernel.name} has no modules: everything is built in`);
        io.stdout.write(`${values.modules ? kernel.modules : kernel.image}\n`);
      } else
        throw new UsageError(
          command
            ? `gmem lab kernels has no command "${command}"`
            : 'gmem lab kernels takes list, fetch, build or path',
        );
      return ExitCode.ok;
    });
  } catch (error) {
    if (!isLacking(error)) throw error;
    io.stderr.write(`gmem lab kernels: ${error.message}\n`);
    return ExitCode.nothingRan;
  }
}
