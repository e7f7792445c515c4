import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { describeLab, runInLab } from './lab.ts';

describeLab('the library in a machine with attributes and two nodes', ['sw-protected-7.3'], ([kernel]) => {
  test('passes its tests', async () => {
    if (!kernel) return;
    // Read, not imported: only the machine has what the module imports.
    const text = readFileSync('test/lab/library.mjs', 'utf8');
    const names = [...text.matchAll(/^ {2}test\('(.+?)',/gm)].map(([, name]) => `library/${name}`);
    expect(names.length).toBeGreaterThan(3);
    const result = await runInLab({
      kernel,
      checks: names.map((name) => ({ name, title: name, since: '' })),
      catalogue: '/lab/library.mjs',
      files: [['lab/library.mjs', resolve('test/lab/library.mjs')]],
      timeoutSeconds: 60,
      machine: { numaNodes: 2 },
    });
    const failed = result.checks.filter((check) => check.status !== 'pass');
    expect(failed).toEqual([]);
    expect(result.checks).toHaveLength(names.length);
  });
});
