import type { Architecture } from './image.ts';
import { type Recipe, recipes } from './recipes.ts';

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
