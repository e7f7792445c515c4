import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { describeLab, runInLab } from './lab.ts';

describeLab('a kernel that panics during a check', ['debian-7.3'], ([kernel]) => {
  test('gives that check the kernel’s words, and the others their verdict', async () => {
    if (!kernel) return;
    const result = await runInLab({
      kernel,
      checks: ['before', 'panics', 'after'].map((name) => ({ name: `panic/${name}`, title: name, since: '' })),
      catalogue: '/lab/panic.mjs',
      files: [['lab/panic.mjs', resolve('test/lab/panic.mjs')]],
      timeoutSeconds: 60,
    });
    expect(result.checks.map(({ name, status }) => [name, status])).toEqual([
      ['panic/before', 'pass'],
      ['panic/panics', 'error'],
      ['panic/after', 'pass'],
    ]);
    const [, panicked] = result.checks;
    expect(panicked?.reason).toMatch(/The kernel panicked during the checks: sysrq triggered crash/);
    expect(panicked?.reason).toMatch(/the kernel said during this check \(panic\):[\s\S]*Call Trace/);
    expect(result.lab?.boots).toBe(2);
  });
});
