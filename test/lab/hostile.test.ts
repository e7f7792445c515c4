import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'vitest';
import { expectHostile } from '../helpers/hostile.ts';
import { describeLab, runInLab } from './lab.ts';

const path = 'test/helpers/hostile-checks.mjs';

describeLab('checks that crash, hang and throw in a machine', ['sw-protected-7.3'], ([kernel]) => {
  test('are reported as what they are, and the others run on', async () => {
    if (!kernel) return;
    const names = [...readFileSync(path, 'utf8').matchAll(/^ {2}check\('(.+?)'/gm)].map(
      ([, name]) => `hostile/${name}`,
    );
    const result = await runInLab({
      kernel,
      checks: names.map((name) => ({ name, title: name, since: '' })),
      catalogue: `/gmem/${path}`,
      // Where it finds the package as it does in the checkout.
      files: [[`gmem/${path}`, resolve(path)]],
      timeoutSeconds: 10,
    });
    expectHostile(result);
  }, 600_000);
});
