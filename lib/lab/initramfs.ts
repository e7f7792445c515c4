import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Assignment } from '../smoke/protocol.ts';
import { makeDirectory } from '../system/make-directory.ts';
import { removedAtEnd } from '../system/removed-at-end.ts';
import { cacheDirectory, makeCacheDirectory } from './cache.ts';
import { LabError } from './error.ts';
import type { Architecture } from './image.ts';
import { execBound } from './process.ts';
import { makeScratch } from './scratch.ts';

const packageRoot = fileURLToPath(new URL('../..', import.meta.url));

/** Where a file of this machine comes to lie in the lab machine. */
type Files = Map<string, string>;

/** Archives a folder of symbolic links to what they lead to, as the kernel unpacks it (newc). */
function archive(files: Files, output: string): void {
  const scratch = makeScratch('gmem-initramfs-');
  const stage = scratch.path;
  try {
    for (const directory of ['dev', 'proc', 'sys', 'tmp']) mkdirSync(join(stage, directory));
    for (const [inside, outside] of files) {
      const path = join(stage, inside);
      makeDirectory(dirname(path));
      symlinkSync(outside, path);
    }
    const list = [...parents([...files.keys()]), ...files.keys(), 'dev', 'proc', 'sys', 'tmp'].join('\n');
    const fd = openSync(output, 'w');
    try {
      execBound('cpio', ['--create', '--format=newc', '--dereference', '--quiet', '--owner=0:0'], {
        cwd: stage,
        input: list,
        stdio: ['pipe', fd, 'pipe'],
      });
    } catch (error) {
      const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: string };
      if (code === 'ENOENT') throw new LabError('cpio is not here', 'Install it (Debian: apt-get install cpio)');
      throw new LabError(`cpio failed: ${stderr?.trim()}`);
    } finally {
      closeSync(fd);
    }
  } finally {
    scratch.remove();
  }
}

/** Every folder above the paths, outermost first. */
function parents(paths: readonly string[]): string[] {
  const found = new Set<string>();
  for (const path of paths)
    for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) found.add(path.slice(0, at));
  return [...found].sort();
}

/** The shared libraries that programs of this machine need, where their loader looks for them. */
export function linked(programs: readonly string[]): Files {
  const files: Files = new Map();
  for (const program of programs) {
    const output = execFileSync('ldd', [program], { encoding: 'utf8' });
    for (const [, path] of output.matchAll(/(?:=> )?(\/\S+) \(0x/g))
      if (path) files.set(path.slice(1), realpathSync(path));
  }
  return files;
}

function walk(directory: string, below: string, accept: (name: string) => boolean): string[] {
  return readdirSync(join(directory, below), { withFileTypes: true }).flatMap((entry) => {
    const path = join(below, entry.name);
    return entry.isDirectory() ? walk(directory, path, accept) : accept(entry.name) ? [path] : [];
  });
}

/** The same processor as this machine's. */
export const hostArchitecture: Architecture = process.arch === 'arm64' ? 'aarch64' : 'x86_64';

function need(path: string, what: string, remedy: string): string {
  if (!existsSync(path)) throw new LabError(`${what} is not there (${path})`, remedy);
  return path;
}

/** Node, the addon, init and their libraries, for one architecture. */
function programs(architecture: Architecture): Files {
  if (architecture === hostArchitecture) {
    const node = realpathSync(process.execPath);
    const remedy = 'Run "npm run build:native" in the folder of guest-memfd';
    const addon = need(
      process.env['GMEM_ADDON'] ?? join(packageRoot, 'build/Release/guest_memfd.node'),
      'the addon',
      remedy,
    );
    const init = need(join(packageRoot, 'build/Release/gm_init'), 'the first program of lab machines', remedy);
    return new Map([
      ['bin/node', node],
      ['gmem/build/Release/guest_memfd.node', addon],
      ['init', init],
      ...linked([node, addon, init]),
    ]);
  }
  if (architecture === 'x86_64')
    throw new LabError('an x86-64 machine on an arm64 host has not been built for', 'Run it on an x86-64 host');
  const remedy = 'Run "npm run lab:setup" in a checkout of guest-memfd';
  const libraries = '/usr/aarch64-linux-gnu/lib';
  return new Map([
    ['bin/node', need(cacheDirectory('node-arm64/bin/node'), 'Node for arm64', remedy)],
    [
      'gmem/build/Release/guest_memfd.node',
      need(join(packageRoot, 'build/arm64/guest_memfd.node'), 'the addon for arm64', remedy),
    ],
    ['init', need(join(packageRoot, 'build/arm64/gm_init'), 'the first program of arm64 lab machines', remedy)],
    ...[
      'ld-linux-aarch64.so.1',
      'libc.so.6',
      'libm.so.6',
      'libdl.so.2',
      'libpthread.so.0',
      'libstdc++.so.6',
      'libgcc_s.so.1',
    ].map((name): [string, string] => [
      `lib/${name}`,
      realpathSync(need(join(libraries, name), `the arm64 library ${name}`, remedy)),
    ]),
  ]);
}

function stateOf(files: Files): string {
  const hash = createHash('sha256');
  for (const [inside, outside] of files) {
    const { size, mtimeMs, ino } = statSync(outside);
    hash.update(`${inside}\0${outside}\0${size}\0${mtimeMs}\0${ino}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}

/** Milliseconds after which an initramfs that no machine was booted with is removed. */
const keepUnused = 2 * 3600 * 1000;

/** The part that every machine of an architecture boots with: about 120 MB, kept until a file in it changes. */
function base(architecture: Architecture): string {
  const files = programs(architecture);
  files.set('gmem/package.json', join(packageRoot, 'package.json'));
  for (const path of walk(packageRoot, 'dist', (name) => name.endsWith('.js')))
    files.set(`gmem/${path}`, join(packageRoot, path));
  const directory = makeCacheDirectory('initramfs');
  const path = join(directory, `${architecture}-${stateOf(files)}.cpio`);
  if (existsSync(path)) {
    utimesSync(path, new Date(), new Date()); // in use
    return path;
  }
  const partial = `${path}.${randomBytes(6).toString('hex')}`;
  const release = removedAtEnd(partial);
  try {
    archive(files, partial);
    renameSync(partial, path);
  } finally {
    rmSync(partial, { force: true });
    release();
  }
  // Each checkout and each build makes its own; another run may be about to boot one that it has just found.
  const old = Date.now() - keepUnused;
  for (const name of readdirSync(directory)) {
    const { mtimeMs } = statSync(join(directory, name), { throwIfNoEntry: false }) ?? { mtimeMs: old };
    if (mtimeMs < old) rmSync(join(directory, name), { force: true });
  }
  return path;
}

/** A kernel module as a file that finit_module takes anywhere, made in `directory`. */
function expand(module: string, directory: string): string {
  const tool = module.endsWith('.xz')
    ? 'xz'
    : module.endsWith('.zst')
      ? 'zstd'
      : module.endsWith('.gz')
        ? 'gzip'
        : undefined;
  if (!tool) return module;
  const output = join(directory, basename(module).replace(/\.(xz|zst|gz)$/, ''));
  const fd = openSync(output, 'w');
  try {
    const { status, stderr, error } = spawnSync(tool, ['-dc', module], { stdio: ['ignore', fd, 'pipe'] });
    if (error)
      throw new LabError(
        `${tool} cannot be started (${error.message})`,
        `Install it (Debian: apt-get install ${tool === 'xz' ? 'xz-utils' : tool})`,
      );
    if (status !== 0) throw new LabError(`${tool} failed on ${module}: ${String(stderr).trim()}`);
  } finally {
    closeSync(fd);
  }
  return output;
}

/** The modules of KVM below a folder and what they depend on, in the order to load them. */
function kvmModules(directory: string, scratch: string): string[] {
  const found = new Map<string, string>();
  for (const path of walk(directory, '', (name) => /\.ko(\.(xz|zst|gz))?$/.test(name)))
    found.set(
      basename(path)
        .replace(/\.ko.*$/, '')
        .replaceAll('-', '_'),
      join(directory, path),
    );
  const order: string[] = [];
  const visit = (name: string) => {
    const path = found.get(name);
    if (!path) return;
    found.delete(name);
    const file = expand(path, scratch);
    let depends: string;
    try {
      depends = execFileSync('modinfo', ['-F', 'depends', file], {
        encoding: 'utf8',
        env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` },
      });
    } catch (error) {
      throw new LabError(
        `modinfo failed on ${path}: ${(error as Error).message}`,
        'Install it (Debian: apt-get install kmod)',
      );
    }
    for (const one of depends.trim().split(',')) if (one) visit(one.replaceAll('-', '_'));
    order.push(file);
  };
  for (const name of ['virtio_pci', 'virtio_console', 'kvm', 'kvm_amd', 'kvm_intel']) visit(name);
  return order;
}

/** What one machine boots with. */
export interface Initramfs {
  readonly path: string;
  /** Names of the modules that it loads. */
  readonly modules: readonly string[];
}

/** Writes the initramfs of one machine into `directory`. */
export function makeInitramfs(
  architecture: Architecture,
  job: Assignment,
  modulesDirectory: string | undefined,
  files: ReadonlyMap<string, string> | undefined,
  directory: string,
): Initramfs {
  const modules = modulesDirectory === undefined ? [] : kvmModules(modulesDirectory, directory);
  const own: Files = new Map(files);
  writeFileSync(join(directory, 'job.json'), JSON.stringify(job));
  own.set('lab/job.json', join(directory, 'job.json'));
  for (const file of modules) own.set(`lab/${basename(file)}`, file);
  writeFileSync(join(directory, 'modules'), modules.map((file) => `/lab/${basename(file)}\n`).join(''));
  own.set('lab/modules', join(directory, 'modules'));
  const overlay = join(directory, 'own.cpio');
  archive(own, overlay);
  const path = join(directory, 'initramfs.cpio');
  // The kernel unpacks archives that follow one another, one over the other.
  execBound('cat', [base(architecture), overlay], { stdio: ['ignore', openSync(path, 'w'), 'inherit'] });
  for (const name of readdirSync(directory))
    if (name.endsWith('.ko') || name === 'own.cpio') rmSync(join(directory, name));
  return { path, modules: modules.map((file) => basename(file).replace(/\.ko$/, '')) };
}
