import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import type { CachedKernel } from '../../lib/lab/kernel-cache.ts';
import { describeLab, runInLab } from './lab.ts';

/** Runs the tests of a module inside a machine with this kernel; gives those that did not pass, and what the others noted. */
async function runInside(kernel: CachedKernel, file: string, names: readonly string[], commandLine = '') {
  const result = await runInLab({
    kernel,
    checks: names.map((name) => ({ name, title: name, since: '' })),
    catalogue: `/lab/${file}`,
    files: [[`lab/${file}`, resolve('test/lab', file)]],
    timeoutSeconds: 300 + steps / 20,
    machine: { commandLine },
  });
  // A splat of the kernel is a result as well.
  expect(result.checks.length).toBeGreaterThanOrEqual(names.length);
  const notes = result.checks.flatMap((check) => check.notes ?? []);
  return { failed: result.checks.filter((check) => check.status !== 'pass'), notes };
}

// More by hand: GMEM_STRESS_STEPS=20000 GMEM_STRESS_KERNELS=sw-protected-7.3-debug,in-place-7.3-debug.
const steps = Number(process.env['GMEM_STRESS_STEPS'] ?? 500);
const kernels = process.env['GMEM_STRESS_KERNELS']?.split(',') ?? ['sw-protected-7.3', 'in-place-7.3'];

for (const name of kernels)
  describeLab(`conversion on ${name}`, [name], ([kernel]) => {
    test('passes its tests', async () => {
      if (!kernel) return;
      // Read, not imported: only the machine has what the module imports.
      const text = readFileSync('test/lab/conversion.mjs', 'utf8');
      const names = [...text.matchAll(/^ {2}test\('(.+?)',/gm)].map(([, title]) => `library/${title}`);
      expect(names.length).toBeGreaterThan(10);
      expect((await runInside(kernel, 'conversion.mjs', names)).failed).toEqual([]);
    });

    test('agrees with a model through random steps', { timeout: 300_000 + 100 * steps }, async () => {
      if (!kernel) return;
      const seed = Date.now() % 1_000_000;
      const settings = `gmem.seed=${seed} gmem.steps=${steps}`;
      const parts = Array.from({ length: 10 }, (_, part) => `library/stress-${part}`);
      const { failed, notes } = await runInside(kernel, 'conversion-stress.mjs', parts, settings);
      expect(failed, settings).toEqual([]);
      if (steps > 500) console.log(`${name}: ${settings}\n${notes.join('\n')}`);
    });
  });
