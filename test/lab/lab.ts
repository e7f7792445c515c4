import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe } from 'vitest';
import { cacheDirectory } from '../../lib/lab/cache.ts';
import { type CachedKernel, cachedKernel } from '../../lib/lab/kernel-cache.ts';

function missing(names: readonly string[]): string | undefined {
  const kernels = names.map((name) => ({ name, kernel: cachedKernel(name) }));
  const absent = kernels.filter(({ kernel }) => !kernel).map(({ name }) => name);
  if (absent.length > 0) return `${absent.join(', ')} not in ${cacheDirectory('kernels')}`;
  const emulators = new Set(kernels.map(({ kernel }) => `qemu-system-${kernel?.architecture}`));
  for (const program of [...emulators, 'cpio']) {
    try {
      execFileSync(program, ['--version'], { stdio: 'ignore' });
    } catch {
      return `${program} is not installed`;
    }
  }
  if (kernels.some(({ kernel }) => kernel?.architecture === 'aarch64') && !existsSync('build/arm64/guest_memfd.node'))
    return 'the addon has not been built for arm64';
  return undefined;
}

/** A group of tests that need kernels of the lab: skipped where they are not, or failed with GMEM_REQUIRE_LAB=1. */
export function describeLab(name: string, kernels: readonly string[], tests: (kernels: CachedKernel[]) => void): void {
  const reason = missing(kernels);
  if (reason && process.env['GMEM_REQUIRE_LAB'] === '1') throw new Error(`GMEM_REQUIRE_LAB=1, but: ${reason}`);
  if (reason) console.warn(`lab tests "${name}" are skipped: ${reason}. npm run lab:setup gets it`);
  describe.skipIf(reason)(reason ? `${name} (skipped: ${reason})` : name, () =>
    tests(kernels.map(cachedKernel).filter((kernel) => kernel !== undefined)),
  );
}

/** Emulators whose command line names this folder. Others on this machine are nobody's here. */
export function emulatorsOf(folder: string): string[] {
  try {
    return execFileSync('pgrep', ['-f', `qemu-system-.*${folder}`], { encoding: 'utf8' })
      .split('\n')
      .filter(Boolean);
  } catch {
    return []; // pgrep ends with 1 when there is none
  }
}
