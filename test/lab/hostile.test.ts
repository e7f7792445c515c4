import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'vitest';
import { inspectImage } from '../../lib/lab/image.ts';
import type * as Machine from '../../lib/lab/machine.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { expectHostile } from '../helpers/hostile.ts';
import { describeLab } from './lab.ts';

const dist = (path: string) => pathToFileURL(resolve('dist', path)).href;
const path = 'test/helpers/hostile-checks.mjs';

describeLab('checks that crash, hang and throw in a machine', ['sw-protected-7.3'], ([kernel]) => {
  test('are reported as what they are, and the others run on', async () => {
    if (!kernel) return;
    const { Lab } = (await import(dist('lab/machine.js'))) as typeof Machine;
    const { runChecks } = (await import(dist('smoke/runner.js'))) as typeof Runner;
    const names = [...readFileSync(path, 'utf8').matchAll(/^ {2}check\('(.+?)'/gm)].map(
      ([, name]) => `hostile/${name}`,
    );
    const lab = new Lab({
      image: inspectImage(kernel.image),
      cpus: 2,
      memoryMiB: 1024,
      numaNodes: 1,
      accelerator: 'tcg',
      commandLine: '',
      bootSeconds: 180,
      // Where it finds the package as it does in the checkout.
      files: new Map([[`gmem/${path}`, resolve(path)]]),
    });
    const result = await runChecks({
      checks: names.map((name) => ({ name, title: name, since: '' })),
      device: '/dev/kvm',
      timeoutSeconds: 10,
      tool: { name: 'test', version: '0' },
      launch: lab.launch,
      catalogue: `/gmem/${path}`,
    });
    expectHostile(result);
  }, 600_000);
});
