import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { describeLab, runInLab } from './lab.ts';
import { checks } from './unbreakable.mjs';

/** Files of this folder by where they come to lie in the machine. */
function below(folder: string, wanted: RegExp): [inside: string, outside: string][] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && wanted.test(entry.name))
    .map((entry) => `${entry.parentPath}/${entry.name}`)
    .map((path) => [`gmem/${path}`, resolve(path)]);
}

describeLab('fuzzing, workers and endless rounds with KVM', ['sw-protected-7.3'], ([kernel]) => {
  test('nothing breaks the library', { timeout: 900_000 }, async () => {
    if (!kernel) return;
    const result = await runInLab({
      kernel,
      checks: checks.map(({ name, title, since }) => ({ name, title, since })),
      catalogue: '/lab/unbreakable.mjs',
      files: [
        ['lab/unbreakable.mjs', resolve('test/lab/unbreakable.mjs')],
        ...below('test/fuzz', /\.mjs$/),
        ...below('test/endurance', /\.mjs$/),
        ...below('dist', /\.d\.ts$/),
        ...below('node_modules/fast-check/lib', /^[\w.-]+\.js$/),
        ...below('node_modules/pure-rand/lib/esm', /\.js$|^package\.json$/),
        ['gmem/node_modules/fast-check/package.json', resolve('node_modules/fast-check/package.json')],
        ['gmem/node_modules/pure-rand/package.json', resolve('node_modules/pure-rand/package.json')],
      ],
      timeoutSeconds: 240,
      machine: { memoryMiB: 2048 },
    });
    for (const { name, notes = [] } of result.checks) console.log(`${name}: ${notes.join('; ')}`);
    expect(result.checks.filter((check) => check.status !== 'pass')).toEqual([]);
    expect(result.checks).toHaveLength(checks.length);
  });
});
