import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { makeDirectory } from '../system/make-directory.ts';
import { Archive, type ArchiveOptions } from './archive.ts';
import { locked, makeCacheDirectory } from './cache.ts';
import { LabError } from './error.ts';
import { type CachedKernel, cachedKernel, need, settle } from './kernel-cache.ts';
import type { NamedKernel } from './kernel-names.ts';
import { execBound, spawnBound } from './process.ts';
import { configOf, digestOf, patchesOf } from './recipes.ts';

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
      return { version: await archive.version(name), files: await archive.download([name], join(partial, 'packages')) };
    });
    options.progress('unpacking the source (1.8 GB)');
    const root = join(partial, 'root');
    rmSync(root, { recursive: true, force: true });
    makeDirectory(root);
    execBound('dpkg-deb', ['-x', files[0] as string, root]);
    execBound('tar', ['-xf', join(root, `usr/src/linux-source-${series}.tar.xz`), '-C', root]);
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
  execBound('cp', ['-al', tree, target]);
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
    makeDirectory(partial);
    copyFileSync(join(output, 'arch/x86/boot/bzImage'), join(partial, 'bzImage'));
    copyFileSync(join(output, '.config'), join(partial, 'config'));
    settle(kernel.name, partial, { version, image: 'bzImage', recipe: digest });
    rmSync(output, { recursive: true, force: true });
    rmSync(tree, { recursive: true, force: true });
    return need(kernel.name);
  });
}
