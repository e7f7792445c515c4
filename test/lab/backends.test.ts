import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { inspectImage } from '../../lib/lab/image.ts';
import type * as Machine from '../../lib/lab/machine.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { checks } from './backends.mjs';
import { describeLab } from './lab.ts';

const dist = (path: string) => pathToFileURL(resolve('dist', path)).href;

// One that ignores the NUMA policy of a guest_memfd, one that keeps to it and has private memory, one that converts in place.
describeLab(
  'memory backends in machines of two nodes',
  ['debian-6.18', 'sw-protected-7.3', 'in-place-7.3'],
  (kernels) => {
    test.each(kernels)('pass their tests on $name', { timeout: 900_000 }, async ({ name, image, modules }) => {
      // The compiled ones: the initramfs is made of dist/.
      const { Lab } = (await import(dist('lab/machine.js'))) as typeof Machine;
      const { runChecks } = (await import(dist('smoke/runner.js'))) as typeof Runner;
      const lab = new Lab({
        image: inspectImage(image),
        modules,
        cpus: 2,
        memoryMiB: 1024,
        numaNodes: 2,
        accelerator: 'tcg',
        commandLine: '',
        bootSeconds: 300,
        files: new Map([['lab/backends.mjs', resolve('test/lab/backends.mjs')]]),
      });
      const selected = checks.filter(({ privateVm, inPlace }) =>
        inPlace ? name === 'in-place-7.3' : privateVm ? name === 'sw-protected-7.3' : name !== 'in-place-7.3',
      );
      const result = await runChecks({
        checks: selected.map((check) => ({ name: check.name, title: check.title, since: '' })),
        device: '/dev/kvm',
        timeoutSeconds: 240,
        tool: { name: 'test', version: '0' },
        launch: lab.launch,
        catalogue: '/lab/backends.mjs',
      });
      expect(result.checks.filter((check) => check.status !== 'pass')).toEqual([]);
      expect(result.checks).toHaveLength(selected.length);
    });
  },
);
