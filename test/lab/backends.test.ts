import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { checks } from './backends.mjs';
import { describeLab, runInLab } from './lab.ts';

// One that ignores the NUMA policy of a guest_memfd, one that keeps to it and has private memory, one that converts in place.
describeLab(
  'memory backends in machines of two nodes',
  ['debian-6.18', 'sw-protected-7.3', 'in-place-7.3'],
  (kernels) => {
    test.each(kernels)('pass their tests on $name', { timeout: 900_000 }, async ({ name, image, modules }) => {
      const selected = checks.filter(({ privateVm, inPlace }) =>
        inPlace ? name === 'in-place-7.3' : privateVm ? name === 'sw-protected-7.3' : name !== 'in-place-7.3',
      );
      const result = await runInLab({
        kernel: { image, modules },
        checks: selected.map((check) => ({ name: check.name, title: check.title, since: '' })),
        catalogue: '/lab/backends.mjs',
        files: [['lab/backends.mjs', resolve('test/lab/backends.mjs')]],
        timeoutSeconds: 240,
        machine: { numaNodes: 2 },
      });
      expect(result.checks.filter((check) => check.status !== 'pass')).toEqual([]);
      expect(result.checks).toHaveLength(selected.length);
    });
  },
);
