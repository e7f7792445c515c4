import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What a kernel that is built here is made of besides Debian's source: files of scripts/lab, without their suffixes. */
export interface Recipe {
  /** Parts of its configuration. */
  readonly config: readonly string[];
  /** Changes to the source, applied in this order. */
  readonly patches: readonly string[];
}

export const recipes: Readonly<Record<string, Recipe>> = {
  'sw-protected': { config: ['sw-protected'], patches: [] },
  'in-place': { config: ['sw-protected', 'in-place'], patches: ['in-place-conversion'] },
};
/** Names of kernels that are built here, without series. */
export const builtKernels: readonly string[] = Object.keys(recipes);

const labDirectory = fileURLToPath(new URL('../../scripts/lab/', import.meta.url));
export const configOf = ({ config }: Recipe) =>
  config.map((part) => readFileSync(join(labDirectory, 'config', `${part}.config`), 'utf8')).join('\n');
export const patchesOf = ({ patches }: Recipe) => patches.map((name) => join(labDirectory, 'patches', `${name}.patch`));

/** What distinguishes a built kernel from one of another configuration or with other patches. */
export function digestOf(recipe: Recipe): string {
  const hash = createHash('sha256').update(configOf(recipe));
  for (const patch of patchesOf(recipe)) hash.update('\0').update(readFileSync(patch));
  return hash.digest('hex').slice(0, 16);
}
