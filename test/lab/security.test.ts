import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { inspectImage } from '../../lib/lab/image.ts';
import type * as Machine from '../../lib/lab/machine.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { filesOfProgram, withoutStrace } from '../faults/strace.ts';
import { expectPromises, securityChecks } from '../host/security.ts';
import { describeLab } from './lab.ts';

const dist = (path: string) => pathToFileURL(resolve('dist', path)).href;

// One whose guest_memfds can be mapped without being shared, and one with private memory that a guest can use.
describeLab('SECURITY.md', ['debian-7.3', 'sw-protected-7.3'], (kernels) => {
  test.skipIf(withoutStrace()).each(kernels)('is kept by VMs of $name', { timeout: 600_000 }, async (kernel) => {
    // The compiled ones: the initramfs is made of dist/.
    const { Lab } = (await import(dist('lab/machine.js'))) as typeof Machine;
    const { runChecks } = (await import(dist('smoke/runner.js'))) as typeof Runner;
    const lab = new Lab({
      image: inspectImage(kernel.image),
      modules: kernel.modules,
      cpus: 2,
      memoryMiB: 1024,
      numaNodes: 1,
      accelerator: 'tcg',
      commandLine: '',
      bootSeconds: 300,
      files: new Map([
        ['lab/security.mjs', resolve('test/host/security.mjs')],
        ['lab/faults/program.mjs', resolve('test/faults/program.mjs')],
        ['lab/greedy-checks.mjs', resolve('test/host/greedy-checks.mjs')],
        ...filesOfProgram('strace'),
        ...filesOfProgram('mount'),
        ...filesOfProgram('umount'),
      ]),
    });
    const result = await runChecks({
      checks: securityChecks,
      device: '/dev/kvm',
      timeoutSeconds: 120,
      tool: { name: 'test', version: '0' },
      launch: lab.launch,
      catalogue: '/lab/security.mjs',
    });
    expectPromises(result);
    // Debian's kernels have memory cgroups.
    const { notes } = result.checks.at(-2) ?? {};
    expect(notes === undefined).toBe(kernel.name.startsWith('debian'));
  });
});
