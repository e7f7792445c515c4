import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compareReleases } from '../smoke/known-bugs.ts';
import { Archive, type ArchiveOptions } from './archive.ts';
import { cacheDirectory, locked, makeCacheDirectory } from './cache.ts';
import { LabError } from './error.ts';
import type { Architecture } from './image.ts';
import { unpackKernel } from './package.ts';
import { spawnBound } from './process.ts';

/** A kernel that goes by a name: one of Debian's, or one that is built here. */
export interface NamedKernel {
  /** As 'debian-6.18', 'debian-7.3-arm64', 'sw-protected-7.3'. */
  readonly name: string;
  /** Major and minor version. */
  readonly series: string;
  readonly architecture: Architecture;
  /** Whether it has software-protected VMs, which no kernel of Debian's has. */
  readonly swProtected: boolean;
  /** Whether it converts memory in place, and so has no attributes of VMs. */
  readonly inPlace: boolean;
  /** Whether it looks for its own mistakes: KASAN, lockdep, DEBUG_VM. */
  readonly debug: boolean;
  /** What it is built from; undefined for a kernel of Debian's. */
  readonly recipe?: Recipe;
}

/** What a kernel that is built here is made of besides Debian's source: files of scripts/lab, without their suffixes. */
export interface Recipe {
  /** Parts of its configuration. */
  readonly config: readonly string[];
  /** Changes to the source, applied in this order. */
  readonly patches: readonly string[];
}

const recipes: Readonly<Record<string, Recipe>> = {
  'sw-protected': { config: ['sw-protected'], patches: [] },
  'in-place': { config: ['sw-protected', 'in-place'], patches: ['in-place-conversion'] },
};
/** Names of kernels that are built here, without series. */
export const builtKernels: readonly string[] = Object.keys(recipes);

/** A kernel in the cache. */
export interface CachedKernel extends NamedKernel {
  /** The package version that it came from. */
  readonly version: string;
  readonly image: string;
  readonly modules: string | undefined;
}

/** The series that Debian's suites have been seen with; `list` asks the archive. */
export const debianSeries = ['6.12', '6.16', '6.17', '6.18', '6.19', '7.0', '7.1', '7.2', '7.3'] as const;
/** The series that software-protected kernels are built of. */
export const sourceSeries = '7.3';

/** Says what a name means, whether or not there is such a kernel. */
export function parseName(name: string): NamedKernel | undefined {
  const debian = /^debian-(\d+\.\d+)(-arm64)?$/.exec(name);
  if (debian)
    return {
      name,
      series: debian[1] as string,
      architecture: debian[2] ? 'aarch64' : 'x86_64',
      swProtected: false,
      inPlace: false,
      debug: false,
    };
  const [, kind = '', series = '', debug] = /^([a-z-]+)-(\d+\.\d+)(-debug)?$/.exec(name) ?? [];
  const recipe = Object.hasOwn(recipes, kind) ? recipes[kind] : undefined;
  if (!recipe) return undefined;
  return {
    name,
    series,
    architecture: 'x86_64',
    swProtected: true,
    inPlace: kind === 'in-place',
    debug: debug !== undefined,
    recipe: debug ? { ...recipe, config: [...recipe.config, 'debug'] } : recipe,
  };
}

const directoryOf = (name: string) => cacheDirectory('kernels', name);

const labDirectory = fileURLToPath(new URL('../../scripts/lab/', import.meta.url));
const configOf = ({ config }: Recipe) =>
  config.map((part) => readFileSync(join(labDirectory, 'config', `${part}.config`), 'utf8')).join('\n');
const patchesOf = ({ patches }: Recipe) => patches.map((name) => join(labDirectory, 'patches', `${name}.patch`));

/** What distinguishes a built kernel from one of another configuration or with other patches. */
function digestOf(recipe: Recipe): string {
  const hash = createHash('sha256').update(configOf(recipe));
  for (const patch of patchesOf(recipe)) hash.update('\0').update(readFileSync(patch));
  return hash.digest('hex').slice(0, 16);
}

/** The kernel of a name, when it is in the cache, and when it is built here, built from what lies in scripts/lab now. */
export function cachedKernel(name: string): CachedKernel | undefined {
  const kernel = parseName(name);
  if (!kernel) return undefined;
  try {
    const { version, image, modules, recipe } = JSON.parse(
      readFileSync(join(directoryOf(name), 'kernel.json'), 'utf8'),
    ) as KernelFiles;
    if (kernel.recipe && recipe !== digestOf(kernel.recipe)) return undefined;
    const at = (path: string) => join(directoryOf(name), path);
    return { ...kernel, version, image: at(image), modules: modules === undefined ? undefined : at(modules) };
  } catch {
    return undefined;
  }
}

/** Names of all kernels in the cache. */
export function cachedKernels(): CachedKernel[] {
  const directory = cacheDirectory('kernels');
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .map(cachedKernel)
    .filter((kernel) => kernel !== undefined)
    .sort(
      (a, b) =>
        a.architecture.localeCompare(b.architecture) * -1 ||
        compareReleases(a.series, b.series) ||
        a.name.localeCompare(b.name),
    );
}

/** One version of a kernel in the archive, with the kinds of packages that it has. */
interface ArchiveKernel {
  readonly series: string;
  readonly architecture: Architecture;
  /** As in the names of packages: '7.3.4+deb13-cloud-amd64'. */
  readonly release: string;
  readonly kinds: ReadonlySet<string>;
}

/** The newest version of each series, of the flavour for clouds: it is the smallest. */
export function newestKernels(packageNames: readonly string[]): ArchiveKernel[] {
  const versions = new Map<string, ArchiveKernel & { kinds: Set<string> }>();
  for (const name of packageNames) {
    const [, kind, release, series, debian] =
      /^linux-(image|binary|modules)-((\d+\.\d+)\.\d+\+deb\d+(?:\.\d+)*-cloud-(amd64|arm64))$/.exec(name) ?? [];
    if (!kind || !release || !series) continue;
    const architecture = debian === 'arm64' ? 'aarch64' : 'x86_64';
    const version = versions.get(release) ?? { series, architecture, release, kinds: new Set() };
    version.kinds.add(kind);
    versions.set(release, version);
  }
  const newest = new Map<string, ArchiveKernel>();
  for (const version of versions.values()) {
    const key = `${version.series} ${version.architecture}`;
    const other = newest.get(key)?.release ?? '';
    if (version.release.localeCompare(other, 'en', { numeric: true }) > 0) newest.set(key, version);
  }
  return [...newest.values()].sort(
    (a, b) => b.architecture.localeCompare(a.architecture) || compareReleases(a.series, b.series),
  );
}

/** The packages that a kernel is made of; undefined where the archive lacks one. */
export function packagesOf({ release, architecture, kinds }: ArchiveKernel): string[] | undefined {
  const of = (kind: string) => `linux-${kind}-${release}:${architecture === 'aarch64' ? 'arm64' : 'amd64'}`;
  if (kinds.has('modules')) return [of('binary'), of('modules')];
  // Before 6.19 one package has everything; where there is a linux-binary, linux-image is empty.
  if (!kinds.has('binary')) return [of('image')];
  // On arm64 KVM is built in, on x86-64 it is a module, and Debian has removed those of some series.
  return architecture === 'aarch64' ? [of('binary')] : undefined;
}

/** What to download for a kernel. */
function findPackages(archive: Archive, { series, architecture }: NamedKernel): string[] {
  const found = newestKernels(archive.names('linux-')).find(
    (kernel) => kernel.series === series && kernel.architecture === architecture,
  );
  if (!found)
    throw new LabError(
      `the archive has no kernel ${series} for ${architecture}`,
      'gmem lab kernels list shows what there is',
    );
  const packages = packagesOf(found);
  if (!packages)
    throw new LabError(
      `the archive has the image of ${found.release} but not its modules, and KVM is one of them`,
      'Take another series',
    );
  return packages;
}

/** Kernels that can be fetched. */
export function archiveKernels(options: ArchiveOptions): { series: string; architecture: Architecture }[] {
  return newestKernels(new Archive(options).names('linux-')).filter((kernel) => packagesOf(kernel) !== undefined);
}

/** What lies in a kernel's folder of the cache, as its kernel.json tells. */
interface KernelFiles {
  readonly version: string;
  readonly image: string;
  readonly modules?: string;
  /** The digest of what it was built from. */
  readonly recipe?: string;
}

/** Moves a finished folder into its place: there is a whole kernel there, or none. */
function settle(name: string, from: string, files: KernelFiles): void {
  writeFileSync(join(from, 'kernel.json'), `${JSON.stringify(files, null, 2)}\n`);
  const target = directoryOf(name);
  rmSync(target, { recursive: true, force: true });
  renameSync(from, target);
}

function need(name: string): CachedKernel {
  const kernel = cachedKernel(name);
  if (!kernel) throw new LabError(`${name} is not in the cache, although it should be by now`);
  return kernel;
}

/** Fetches a kernel of Debian's, unless it is in the cache. */
export async function fetchKernel(kernel: NamedKernel, options: ArchiveOptions): Promise<CachedKernel> {
  const there = cachedKernel(kernel.name);
  if (there) return there;
  const waiting = () => options.progress(`waiting for another process that fetches ${kernel.name}`);
  return locked(`kernel-${kernel.name}`, waiting, async () => {
    const made = cachedKernel(kernel.name);
    if (made) return made;
    const partial = join(makeCacheDirectory('kernels', 'partial'), kernel.name);
    const packages = await locked('apt', waiting, async () => {
      const archive = new Archive(options);
      const names = findPackages(archive, kernel);
      return {
        version: archive.version(names[0] as string),
        files: await archive.download(names, join(partial, 'packages')),
      };
    });
    const root = join(partial, 'root');
    rmSync(root, { recursive: true, force: true });
    const found = unpackKernel(packages.files, root);
    if (!found.image) throw new LabError(`${packages.files.join(', ')} hold no kernel image`);
    const below = (path: string) => path.slice(root.length + 1);
    settle(kernel.name, root, {
      version: packages.version,
      image: below(found.image),
      ...(found.modules ? { modules: below(found.modules) } : {}),
    });
    rmSync(partial, { recursive: true, force: true });
    return need(kernel.name);
  });
}

/** What a kernel's build calls for, and the Debian package that has it. */
const buildTools: readonly [program: string, debianPackage: string][] = [
  ['make', 'make'],
  ['gcc', 'gcc'],
  ['flex', 'flex'],
  ['bison', 'bison'],
  ['bc', 'bc'],
  ['xz', 'xz-utils'],
  ['tar', 'tar'],
  ['patch', 'patch'],
];

function checkBuildTools(): void {
  const missing = buildTools.filter(([program]) => !isInstalled(program)).map(([, debianPackage]) => debianPackage);
  for (const [header, debianPackage] of [
    ['libelf.h', 'libelf-dev'],
    ['openssl/ssl.h', 'libssl-dev'],
  ] as const)
    if (!existsSync(join('/usr/include', header))) missing.push(debianPackage);
  if (missing.length > 0)
    throw new LabError(
      `a kernel cannot be built here: ${missing.join(', ')} missing`,
      `Debian: apt-get install ${missing.join(' ')}`,
    );
}

function isInstalled(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Of two kernels that differ in a patch, ccache compiles the second in a fraction of the time. */
const compilers = () => (isInstalled('ccache') ? ['CC=ccache gcc', 'HOSTCC=ccache gcc'] : []);

/** Files that a build of the plain kernel compiles, for telling how far it is; measured with 7.3.4. */
const objectsExpected = { plain: 2050, debug: 2200 } as const;

/** Runs make and tells how far it is. */
async function make(
  args: readonly string[],
  cwd: string,
  expected: number,
  progress: (line: string) => void,
  log: string,
): Promise<void> {
  const started = performance.now();
  let objects = 0;
  let output = '';
  const child = spawnBound('make', args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const take = (text: string) => {
    output += text;
    objects += text.match(/^ {2}(CC|AS) /gm)?.length ?? 0;
  };
  child.stdout?.setEncoding('utf8').on('data', take);
  child.stderr?.setEncoding('utf8').on('data', take);
  const timer = setInterval(() => {
    const seconds = (performance.now() - started) / 1000;
    const done = Math.min(0.99, objects / expected);
    const left = done > 0.02 ? `, about ${Math.ceil((seconds * (1 - done)) / done / 10) * 10} s left` : '';
    progress(`  ${objects} files compiled, about ${Math.floor(done * 100)} %${left}`);
  }, 10_000);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
    writeFileSync(log, output);
    if (code !== 0) {
      const errors = output
        .split('\n')
        .filter((line) => /error|Error/.test(line))
        .slice(0, 5)
        .join('\n');
      throw new LabError(`make ended with ${code}; its output is in ${log}\n${errors}`);
    }
  } finally {
    clearInterval(timer);
  }
}

/** Unpacks the newest source of the series, once for all builds; gives its folder and version. */
async function sourceTree(series: string, options: ArchiveOptions): Promise<{ tree: string; version: string }> {
  const directory = makeCacheDirectory('source');
  const waiting = () => options.progress('waiting for another process that fetches the source');
  return locked('source', waiting, async () => {
    const tree = join(directory, `linux-source-${series}`);
    const record = join(directory, `linux-source-${series}.version`);
    if (existsSync(tree) && existsSync(record)) return { tree, version: readFileSync(record, 'utf8') };
    const partial = join(directory, 'partial');
    const { version, files } = await locked('apt', waiting, async () => {
      const archive = new Archive(options);
      const name = `linux-source-${series}`;
      return { version: archive.version(name), files: await archive.download([name], join(partial, 'packages')) };
    });
    options.progress('unpacking the source (1.8 GB)');
    const root = join(partial, 'root');
    rmSync(root, { recursive: true, force: true });
    mkdirSync(root, { recursive: true });
    execFileSync('dpkg-deb', ['-x', files[0] as string, root]);
    execFileSync('tar', ['-xf', join(root, `usr/src/linux-source-${series}.tar.xz`), '-C', root]);
    rmSync(tree, { recursive: true, force: true });
    renameSync(join(root, `linux-source-${series}`), tree);
    writeFileSync(record, version);
    rmSync(partial, { recursive: true, force: true });
    return { tree, version };
  });
}

/**
 * The source with patches: links to the files of the plain one, save for those that change. All kernels are built from the
 * same place, for compilers are told the path of every file, and what ccache knows of one kernel is to serve the next.
 */
function ownTree(tree: string, patches: readonly string[]): string {
  const target = join(makeCacheDirectory('build'), 'source');
  rmSync(target, { recursive: true, force: true });
  execFileSync('cp', ['-al', tree, target]);
  for (const patch of patches)
    try {
      // It writes a new file and renames it, so that the file behind the link stays as it is.
      execFileSync('patch', ['-p1', '--force', '--silent', '--no-backup-if-mismatch', '--input', patch], {
        cwd: target,
        stdio: 'pipe',
      });
    } catch (error) {
      const { stdout } = error as { stdout?: Buffer };
      throw new LabError(`${patch} does not apply to this source:\n${stdout ?? (error as Error).message}`);
    }
  return target;
}

/** Builds a kernel from Debian's source by its recipe, unless it is in the cache. */
export async function buildKernel(kernel: NamedKernel, options: ArchiveOptions): Promise<CachedKernel> {
  const { recipe } = kernel;
  if (!recipe) throw new LabError(`${kernel.name} is not built here but fetched`);
  const there = cachedKernel(kernel.name);
  if (there) return there;
  checkBuildTools();
  const waiting = () => options.progress('waiting for another process that builds a kernel');
  return locked('kernel-build', waiting, async () => {
    const made = cachedKernel(kernel.name);
    if (made) return made;
    const source = await sourceTree(kernel.series, options);
    const { version } = source;
    const output = makeCacheDirectory('build', kernel.name);
    const tree = ownTree(source.tree, patchesOf(recipe));
    const fragment = configOf(recipe);
    const digest = digestOf(recipe);
    writeFileSync(join(output, 'fragment.config'), fragment);
    const log = join(output, 'make.log');
    options.progress(`building ${kernel.name} from ${version}`);
    await make(
      [`O=${output}`, ...compilers(), 'allnoconfig', `KCONFIG_ALLCONFIG=${join(output, 'fragment.config')}`],
      tree,
      1,
      () => {},
      log,
    );
    const config = readFileSync(join(output, '.config'), 'utf8').split('\n');
    const refused = fragment.split('\n').filter((line) => line.startsWith('CONFIG_') && !config.includes(line));
    if (refused.length > 0) throw new LabError(`this source does not take ${refused.join(', ')}`);
    const jobs = `-j${cpus().length + 1}`;
    await make(
      [`O=${output}`, ...compilers(), jobs, 'bzImage'],
      tree,
      objectsExpected[kernel.debug ? 'debug' : 'plain'],
      options.progress,
      log,
    );
    const partial = join(makeCacheDirectory('kernels', 'partial'), kernel.name);
    rmSync(partial, { recursive: true, force: true });
    mkdirSync(partial, { recursive: true });
    copyFileSync(join(output, 'arch/x86/boot/bzImage'), join(partial, 'bzImage'));
    copyFileSync(join(output, '.config'), join(partial, 'config'));
    settle(kernel.name, partial, { version, image: 'bzImage', recipe: digest });
    rmSync(output, { recursive: true, force: true });
    rmSync(tree, { recursive: true, force: true });
    return need(kernel.name);
  });
}

/** Makes sure that a kernel is in the cache. */
export async function provide(name: string, options: ArchiveOptions): Promise<CachedKernel> {
  const kernel = parseName(name);
  if (!kernel) throw new LabError(`"${name}" is no name of a kernel`, 'gmem lab kernels list shows them');
  return kernel.recipe ? buildKernel(kernel, options) : fetchKernel(kernel, options);
}
