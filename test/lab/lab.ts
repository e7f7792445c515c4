import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe } from 'vitest';
import { cacheDirectory } from '../../lib/lab/cache.ts';
import { inspectImage } from '../../lib/lab/image.ts';
import { type CachedKernel, cachedKernel } from '../../lib/lab/kernel-cache.ts';
import type * as Machine from '../../lib/lab/machine.ts';
import type { MachineOptions } from '../../lib/lab/machine.ts';
import type { SuiteResult } from '../../lib/smoke/model.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import type { RunnerOptions } from '../../lib/smoke/runner.ts';

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

/** What {@link runInLab} runs, and in what machine. */
export interface LabRun {
  readonly kernel: Pick<CachedKernel, 'image' | 'modules'>;
  readonly checks: RunnerOptions['checks'];
  /** The module with the checks, where the machine has it. */
  readonly catalogue: string;
  /** What else the machine is to have, by path in there. */
  readonly files: readonly (readonly [inside: string, outside: string])[];
  readonly timeoutSeconds: number;
  readonly machine?: Partial<MachineOptions>;
  readonly options?: Partial<RunnerOptions>;
}

/** Runs the checks of a module inside a machine. */
export async function runInLab(run: LabRun): Promise<SuiteResult> {
  // The compiled ones: the initramfs is made of dist/.
  const dist = (path: string) => pathToFileURL(resolve('dist', path)).href;
  const { Lab } = (await import(dist('lab/machine.js'))) as typeof Machine;
  const { runChecks } = (await import(dist('smoke/runner.js'))) as typeof Runner;
  const { kernel, checks, catalogue, files, timeoutSeconds } = run;
  const lab = new Lab({
    image: inspectImage(kernel.image),
    modules: kernel.modules,
    // The same machine everywhere, also where nested virtualisation is.
    accelerator: 'tcg',
    files: new Map(files),
    ...run.machine,
  });
  const result = await runChecks({
    checks,
    device: '/dev/kvm',
    timeoutSeconds,
    tool: { name: 'test', version: '0' },
    launch: lab.launch,
    catalogue,
    ...run.options,
  });
  return { ...result, lab: { image: kernel.image, ...lab.facts } };
}
