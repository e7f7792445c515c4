import { resolve } from 'node:path';
import { test } from 'vitest';
import { anySeed } from '../helpers/seed.ts';
import { expectNothingLeft, killedChecks } from '../host/killed.ts';
import { describeLab, runInLab } from './lab.ts';

describeLab('gmem ended at any time', ['sw-protected-7.3'], ([kernel]) => {
  test('leaves nothing behind SIGKILL, and reports whole behind Ctrl-C', { timeout: 600_000 }, async () => {
    if (!kernel) return;
    const result = await runInLab({
      kernel,
      checks: killedChecks,
      catalogue: '/gmem/test/host/killed.mjs',
      files: ['test/host/killed.mjs', 'test/helpers/left.mjs', 'assets/report.css', 'assets/report.js'].map((path) => [
        `gmem/${path}`,
        resolve(path),
      ]),
      timeoutSeconds: 180,
      options: { seed: anySeed('gmem ended at any time') },
    });
    await expectNothingLeft(result);
  });
});
