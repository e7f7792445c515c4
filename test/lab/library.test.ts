import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { inspectImage } from '../../lib/lab/image.ts';
import type * as Machine from '../../lib/lab/machine.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { describeLab } from './lab.ts';

const dist = (path: string) => pathToFileURL(resolve('dist', path)).href;

describeLab('the library in a machine with attributes and two nodes', ['sw-protected-7.3'], ([kernel]) => {
  test('passes its tests', async () => {
    if (!kernel) return;
    // The compiled ones: the initramfs is made of dist/.
    const { Lab } = (await import(dist('lab/machine.js'))) as typeof Machine;
    const { runChecks } = (await import(dist('smoke/runner.js'))) as typeof Runner;
    // Read, not imported: only the machine has what the module imports.
    const text = readFileSync('test/lab/library.mjs', 'utf8');
    const names = [...text.matchAll(/^ {2}test\('(.+?)',/gm)].map(([, name]) => `library/${name}`);
    expect(names.length).toBeGreaterThan(3);
    const lab = new Lab({
      image: inspectImage(kernel.image),
      cpus: 2,
      memoryMiB: 1024,
      numaNodes: 2,
      accelerator: 'tcg',
      commandLine: '',
      bootSeconds: 120,
      files: new Map([['lab/library.mjs', resolve('test/lab/library.mjs')]]),
    });
    const result = await runChecks({
      checks: names.map((name) => ({ name, title: name, since: '' })),
      device: '/dev/kvm',
      timeoutSeconds: 60,
      tool: { name: 'test', version: '0' },
      launch: lab.launch,
      catalogue: '/lab/library.mjs',
    });
    const failed = result.checks.filter((check) => check.status !== 'pass');
    expect(failed).toEqual([]);
    expect(result.checks).toHaveLength(names.length);
  });
});
