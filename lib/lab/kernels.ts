import type { ArchiveOptions } from './archive.ts';
import { buildKernel } from './build-kernel.ts';
import { fetchKernel } from './debian-kernel.ts';
import { LabError } from './error.ts';
import type { CachedKernel } from './kernel-cache.ts';
import { parseName } from './kernel-names.ts';

/** Makes sure that a kernel is in the cache. */
export async function provide(name: string, options: ArchiveOptions): Promise<CachedKernel> {
  const kernel = parseName(name);
  if (!kernel) throw new LabError(`"${name}" is no name of a kernel`, 'gmem lab kernels list shows them');
  return kernel.recipe ? buildKernel(kernel, options) : fetchKernel(kernel, options);
}
