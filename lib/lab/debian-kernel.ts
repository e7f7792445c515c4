import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { compareReleases } from '../smoke/known-bugs.ts';
import { Archive, type ArchiveOptions } from './archive.ts';
import { cacheDirectory, locked } from './cache.ts';
import { LabError } from './error.ts';
import type { Architecture } from './image.ts';
import { type CachedKernel, cachedKernel, need, settle } from './kernel-cache.ts';
import type { NamedKernel } from './kernel-names.ts';
import { unpackKernel } from './package.ts';

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
      /^linux-(image|base|binary|modules)-((\d+\.\d+)\.\d+\+deb\d+(?:\.\d+)*-cloud-(amd64|arm64))$/.exec(name) ?? [];
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
  // What linux-base has of use is the configuration.
  const base = kinds.has('base') ? [of('base')] : [];
  if (kinds.has('modules')) return [of('binary'), of('modules'), ...base];
  // Before 6.19 one package has everything; where there is a linux-binary, linux-image is empty.
  if (!kinds.has('binary')) return [of('image')];
  // On arm64 KVM is built in, on x86-64 it is a module, and Debian has removed those of some series.
  return architecture === 'aarch64' ? [of('binary'), ...base] : undefined;
}

/** What to download for a kernel. */
async function findPackages(archive: Archive, { series, architecture }: NamedKernel): Promise<string[]> {
  const found = newestKernels(await archive.names('linux-')).find(
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
export async function archiveKernels(
  options: ArchiveOptions,
): Promise<{ series: string; architecture: Architecture }[]> {
  return newestKernels(await new Archive(options).names('linux-')).filter((kernel) => packagesOf(kernel) !== undefined);
}

/** Fetches a kernel of Debian's, unless it is in the cache. */
export async function fetchKernel(kernel: NamedKernel, options: ArchiveOptions): Promise<CachedKernel> {
  const there = cachedKernel(kernel.name);
  const partial = cacheDirectory('kernels', 'partial', kernel.name);
  // One that was killed at its very end has left its packages.
  if (there && !existsSync(partial)) return there;
  const waiting = () => options.progress(`waiting for another process that fetches ${kernel.name}`);
  return locked(`kernel-${kernel.name}`, waiting, async () => {
    const made = cachedKernel(kernel.name);
    if (made) {
      rmSync(partial, { recursive: true, force: true });
      return made;
    }
    const packages = await locked('apt', waiting, async () => {
      const archive = new Archive(options);
      const names = await findPackages(archive, kernel);
      return {
        version: await archive.version(names[0] as string),
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
