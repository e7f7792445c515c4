import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { inspectImage } from '../../lib/lab/image.ts';
import type * as Machine from '../../lib/lab/machine.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { describeLab } from './lab.ts';

const dist = (path: string) => pathToFileURL(resolve('dist', path)).href;

describeLab('a kernel that panics during a check', ['debian-7.3'], ([kernel]) => {
  test('gives that check the kernel’s words, and the others their verdict', async () => {
    if (!kernel) return;
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
      bootSeconds: 180,
      files: new Map([['lab/panic.mjs', resolve('test/lab/panic.mjs')]]),
    });
    const result = await runChecks({
      checks: ['before', 'panics', 'after'].map((name) => ({ name: `panic/${name}`, title: name, since: '' })),
      device: '/dev/kvm',
      timeoutSeconds: 60,
      tool: { name: 'test', version: '0' },
      launch: lab.launch,
      catalogue: '/lab/panic.mjs',
    });
    expect(result.checks.map(({ name, status }) => [name, status])).toEqual([
      ['panic/before', 'pass'],
      ['panic/panics', 'error'],
      ['panic/after', 'pass'],
    ]);
    const [, panicked] = result.checks;
    expect(panicked?.reason).toMatch(/The kernel panicked during the checks: sysrq triggered crash/);
    expect(panicked?.reason).toMatch(/the kernel said during this check \(panic\):[\s\S]*Call Trace/);
    expect(lab.facts.boots).toBe(2);
  });
});
