import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { filesOfProgram, withoutStrace } from '../faults/strace.ts';
import { expectPromises, securityChecks } from '../host/security.ts';
import { describeLab, runInLab } from './lab.ts';

// One whose guest_memfds can be mapped without being shared, and one with private memory that a guest can use.
describeLab('SECURITY.md', ['debian-7.3', 'sw-protected-7.3'], (kernels) => {
  test.skipIf(withoutStrace()).each(kernels)('is kept by VMs of $name', { timeout: 600_000 }, async (kernel) => {
    const result = await runInLab({
      kernel,
      checks: securityChecks,
      catalogue: '/lab/security.mjs',
      files: [
        ['lab/security.mjs', resolve('test/host/security.mjs')],
        ['lab/faults/program.mjs', resolve('test/faults/program.mjs')],
        ['lab/greedy-checks.mjs', resolve('test/host/greedy-checks.mjs')],
        ...filesOfProgram('strace'),
        ...filesOfProgram('mount'),
        ...filesOfProgram('umount'),
      ],
      timeoutSeconds: 120,
    });
    expectPromises(result);
    // Debian's kernels have memory cgroups.
    const { notes } = result.checks.at(-2) ?? {};
    expect(notes === undefined).toBe(kernel.name.startsWith('debian'));
  });
});
