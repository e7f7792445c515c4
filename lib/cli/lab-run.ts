import { existsSync, mkdtempSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { isLacking } from '../lab/error.ts';
import { architectures, type Image, ImageError, inspectImage } from '../lab/image.ts';
import { parseName } from '../lab/kernel-names.ts';
import { chooseAccelerator, Lab } from '../lab/machine.ts';
import { type KernelFiles, unpackKernel } from '../lab/package.ts';
import { makeScratch, type Scratch } from '../lab/scratch.ts';
import type { SuiteResult } from '../smoke/model.ts';
import { NothingRanError } from '../smoke/runner.ts';
import { ExitCode, type Io, parsing, UsageError } from './io.ts';
import { smokeCommand } from './smoke.ts';

const help = `Usage: gmem lab run --kernel IMAGE [options] [-- SMOKE ARGUMENTS]

Boots a kernel in QEMU and runs the smoke suite on its KVM. What follows -- is as with gmem smoke.

Options:
  --kernel IMAGE     a bzImage, vmlinux or arm64 Image; or a Debian package with one inside (give --kernel twice where
                     image and modules are packages of their own)
  --modules DIR      the kernel's modules, where KVM is not built in (make modules_install INSTALL_MOD_PATH=…)
  --arch ARCH        x86_64 or aarch64: refuse an image for another processor
  --machines N       machines at once, 1 to 64, each with a share of the checks (default: one for every 60 checks, and at
                     most one for each processor of this machine)
  --cpus N           processors of each machine, 1 to 64 (default: 2)
  --memory SIZE      memory of each, as 1G or 768M, from 512M (default: 1G)
  --numa N           NUMA nodes that share processors and memory, 1 to 8 (default: 1)
  --accel HOW        tcg: software emulation; kvm: nested virtualisation; auto (default): kvm where it can be
  --cmdline WORDS    more words for the kernel's command line
  --timeout S        seconds from power-on to the first check (default: 120)
  --keep             keep console, initramfs and QEMU's command line of the one machine that runs then, and say where
  --bisect CHECK     for git bisect run: run this check only and exit 0 when it passes, 1 when not, 125 when the kernel does
                     not come to the check or skips it, 128 when the lab itself failed
  -h, --help         this text

Exit status: that of the suite: 0 no unexpected failure, 1 a check failed or the kernel complained, 2 wrong usage or not a
kernel, 4 nothing could run, 130 interrupted.
`;

const units: Record<string, number> = { M: 1, G: 1024 };

function parseMemory(text: string): number {
  const [, digits, unit = 'M'] = /^(\d+)([MG])?$/i.exec(text) ?? [];
  const size = Number(digits) * (units[unit.toUpperCase()] ?? Number.NaN);
  if (!(size >= 512 && size <= 1024 * 1024))
    throw new UsageError(`--memory takes a size from 512M to 1024G, not "${text}"`);
  return size;
}

function parseCount(name: string, text: string, most: number): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1 || count > most)
    throw new UsageError(`--${name} takes 1 to ${most}, not "${text}"`);
  return count;
}

/** A machine costs the seconds of its boot, and the processors of an emulated one are one thread of this one. */
const defaultMachines = (checks: number) => Math.min(availableParallelism(), Math.ceil(checks / 60));

/** What `git bisect run` is told: it takes 125 as "cannot be tested" and 128 and above as "stop". */
const Bisect = { good: 0, bad: 1, untestable: 125, harness: 128 } as const;

function judgeForBisect(result: SuiteResult | NothingRanError): number {
  if (result instanceof NothingRanError) return Bisect.untestable;
  const statuses = result.checks.map((check) => check.status);
  // A known bug is a failure all the same: where it came or went is what is looked for.
  if (statuses.some((status) => status === 'fail' || status === 'xfail' || status === 'error')) return Bisect.bad;
  return statuses.includes('pass') && !statuses.includes('skip') ? Bisect.good : Bisect.untestable;
}

const isPackage = (path: string) => path.endsWith('.deb');

interface Given {
  readonly image: Image;
  readonly modules: string | undefined;
}

/** The image and the modules that the command names, unpacked below `scratch` where they come in packages. */
function findKernel(paths: readonly string[], modules: string | undefined, scratch: string): Given {
  const packages = paths.filter(isPackage);
  const images = paths.filter((path) => !isPackage(path));
  if (images.length > 1) throw new UsageError('--kernel takes one image, or the packages of one kernel');
  for (const path of paths)
    if (!existsSync(path))
      throw new ImageError(
        parseName(path)
          ? `there is no file ${path} here; the kernel that gmem lab kernels calls so is --kernel "$(gmem lab kernels path ${path})"`
          : `${path} does not exist`,
      );
  const found: Partial<KernelFiles> = packages.length > 0 ? unpackKernel(packages, scratch) : {};
  const path = images[0] ?? found.image;
  if (path === undefined)
    throw new ImageError(
      `there is no kernel image in ${packages.join(', ')}; linux-modules and linux-binary belong together`,
    );
  return { image: inspectImage(path), modules: modules ?? found.modules ?? modulesOf(path) };
}

/** Where the modules of an image lie, as Debian and modules_install lay them out: around it, or beside /boot by its release. */
function modulesOf(image: string): string | undefined {
  const release = /^vmlinuz-(.+)$/.exec(basename(image))?.[1];
  const root = join(dirname(image), '..');
  const places = release ? ['usr/lib/modules', 'lib/modules'].map((below) => join(root, below, release)) : [];
  return [dirname(image), ...places].find((place) => existsSync(join(place, 'kernel')));
}

/** `gmem lab run`. */
export async function labRunCommand(argv: readonly string[], io: Io): Promise<number> {
  const separator = argv.indexOf('--');
  const own = separator === -1 ? argv : argv.slice(0, separator);
  const smokeArguments = separator === -1 ? [] : argv.slice(separator + 1);
  const bisecting = own.some((word) => word === '--bisect' || word.startsWith('--bisect='));
  let scratch: Scratch | undefined;
  try {
    scratch = makeScratch('gmem-kernel-');
    return await run(own, smokeArguments, scratch.path, io);
  } catch (error) {
    const usage = error instanceof UsageError || error instanceof ImageError;
    if (!usage && !isLacking(error)) throw error;
    io.stderr.write(`gmem lab run: ${error.message}\n`);
    if (bisecting) return Bisect.harness;
    return usage ? ExitCode.usage : ExitCode.nothingRan;
  } finally {
    scratch?.remove();
  }
}

async function run(
  own: readonly string[],
  smokeArguments: readonly string[],
  scratch: string,
  io: Io,
): Promise<number> {
  const { values } = parsing(() =>
    parseArgs({
      args: [...own],
      options: {
        kernel: { type: 'string', multiple: true },
        modules: { type: 'string' },
        arch: { type: 'string' },
        machines: { type: 'string' },
        cpus: { type: 'string', default: '2' },
        memory: { type: 'string', default: '1G' },
        numa: { type: 'string', default: '1' },
        accel: { type: 'string', default: 'auto' },
        cmdline: { type: 'string', default: '' },
        timeout: { type: 'string', default: '120' },
        keep: { type: 'boolean' },
        bisect: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }),
  );
  if (values.help) {
    io.stdout.write(help);
    return ExitCode.ok;
  }
  if (!values.kernel) throw new UsageError('--kernel IMAGE is missing; gmem lab kernels lists kernels to be had');
  const { arch, accel } = values;
  if (arch !== undefined && !architectures.some((one) => one === arch))
    throw new UsageError(`--arch takes ${architectures.join(' or ')}, not "${arch}"`);
  if (accel !== 'auto' && accel !== 'tcg' && accel !== 'kvm')
    throw new UsageError(`--accel takes auto, tcg or kvm, not "${accel}"`);
  const machines = values.machines === undefined ? undefined : parseCount('machines', values.machines, 64);
  if (values.keep && machines !== undefined && machines > 1)
    throw new UsageError('--keep keeps what one machine leaves: give --machines 1 with it');
  const cpus = parseCount('cpus', values.cpus, 64);
  const numaNodes = parseCount('numa', values.numa, 8);
  const memoryMiB = parseMemory(values.memory);
  const bootSeconds = parseCount('timeout', values.timeout, 86_400);
  if (values.modules !== undefined && !existsSync(values.modules))
    throw new UsageError(`--modules: ${values.modules} does not exist`);
  const { image, modules } = findKernel(values.kernel, values.modules, scratch);
  if (arch !== undefined && arch !== image.architecture)
    throw new UsageError(`${image.path} is a kernel for ${image.architecture}, not for ${arch}`);
  const keep = values.keep ? mkdtempSync(join(tmpdir(), 'gmem-lab-kept-')) : undefined;
  if (keep) io.stderr.write(`gmem lab run: console.log, command.json and initramfs.cpio are kept in ${keep}\n`);

  const lab = new Lab({
    image,
    modules,
    cpus,
    memoryMiB,
    numaNodes,
    accelerator: chooseAccelerator(accel, image.architecture),
    commandLine: values.cmdline,
    bootSeconds,
    keep,
  });
  const given = values.kernel.join(' ');
  return smokeCommand(values.bisect === undefined ? smokeArguments : [values.bisect, ...smokeArguments], io, {
    command: 'gmem lab run',
    launch: lab.launch,
    workers: (checks) => (values.keep ? 1 : (machines ?? defaultMachines(checks))),
    timeout: '30',
    describe: (result) => {
      const { host, schemaVersion, tool, startedAt, ...rest } = result;
      return { schemaVersion, tool, startedAt, host, lab: { image: given, ...lab.facts }, ...rest };
    },
    ...(values.bisect === undefined ? {} : { judge: judgeForBisect }),
  });
}
