import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compareReleases } from '../smoke/known-bugs.ts';
import { cacheDirectory } from './cache.ts';
import { LabError } from './error.ts';
import { type NamedKernel, parseName } from './kernel-names.ts';
import { digestOf } from './recipes.ts';

/** A kernel in the cache. */
export interface CachedKernel extends NamedKernel {
  /** The package version that it came from. */
  readonly version: string;
  readonly image: string;
  readonly modules: string | undefined;
}

const directoryOf = (name: string) => cacheDirectory('kernels', name);

/** What lies in a kernel's folder of the cache, as its kernel.json tells. */
export interface KernelFiles {
  readonly version: string;
  readonly image: string;
  readonly modules?: string;
  /** The digest of what it was built from. */
  readonly recipe?: string;
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

/** Moves a finished folder into its place: there is a whole kernel there, or none. */
export function settle(name: string, from: string, files: KernelFiles): void {
  writeFileSync(join(from, 'kernel.json'), `${JSON.stringify(files, null, 2)}\n`);
  const target = directoryOf(name);
  rmSync(target, { recursive: true, force: true });
  renameSync(from, target);
}

export function need(name: string): CachedKernel {
  const kernel = cachedKernel(name);
  if (!kernel) throw new LabError(`${name} is not in the cache, although it should be by now`);
  return kernel;
}
