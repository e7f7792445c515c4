import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { inspectImage } from '../../lib/lab/image.ts';
import type { CachedKernel } from '../../lib/lab/kernel-cache.ts';
import type * as Machine from '../../lib/lab/machine.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { describeLab } from './lab.ts';

const dist = (path: string) => pathToFileURL(resolve('dist', path)).href;

/** Runs the tests of a module inside a machine with this kernel; gives those that did not pass. */
async function runInside(kernel: CachedKernel, file: string, names: readonly string[], commandLine = '') {
  // The compiled ones: the initramfs is made of dist/.
  const { Lab } = (await import(dist('lab/machine.js'))) as typeof Machine;
  const { runChecks } = (await import(dist('smoke/runner.js'))) as typeof Runner;
  const lab = new Lab({
    image: inspectImage(kernel.image),
    cpus: 2,
    memoryMiB: 1024,
    numaNodes: 1,
    accelerator: 'tcg',
    commandLine,
    bootSeconds: 180,
    files: new Map([[`lab/${file}`, resolve('test/lab', file)]]),
  });
  const result = await runChecks({
    checks: names.map((name) => ({ name, title: name, since: '' })),
    device: '/dev/kvm',
    timeoutSeconds: 300,
    tool: { name: 'test', version: '0' },
    launch: lab.launch,
    catalogue: `/lab/${file}`,
  });
  // A splat of the kernel is a result as well.
  expect(result.checks.length).toBeGreaterThanOrEqual(names.length);
  return result.checks.filter((check) => check.status !== 'pass');
}

for (const name of ['sw-protected-7.3', 'in-place-7.3'])
  describeLab(`conversion on ${name}`, [name], ([kernel]) => {
    test('passes its tests', async () => {
      if (!kernel) return;
      // Read, not imported: only the machine has what the module imports.
      const text = readFileSync('test/lab/conversion.mjs', 'utf8');
      const names = [...text.matchAll(/^ {2}test\('(.+?)',/gm)].map(([, title]) => `library/${title}`);
      expect(names.length).toBeGreaterThan(10);
      expect(await runInside(kernel, 'conversion.mjs', names)).toEqual([]);
    });

    // 20,000 steps are run by hand: gmem.steps=20000.
    test('agrees with a model through random steps', async () => {
      if (!kernel) return;
      const seed = Date.now() % 1_000_000;
      const settings = `gmem.seed=${seed} gmem.steps=500`;
      const parts = Array.from({ length: 10 }, (_, part) => `library/stress-${part}`);
      expect(await runInside(kernel, 'conversion-stress.mjs', parts, settings), settings).toEqual([]);
    });
  });
