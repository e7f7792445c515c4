import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { inspectImage } from '../../lib/lab/image.ts';
import type * as Machine from '../../lib/lab/machine.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { describeLab } from './lab.ts';
import { checks } from './unbreakable.mjs';

const dist = (path: string) => pathToFileURL(resolve('dist', path)).href;

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
    // Fuzzing with KVM has not been seen to come to its end yet: on request only, with GMEM_LAB_FUZZ=1.
    const chosen = checks.filter(({ name }) => process.env['GMEM_LAB_FUZZ'] === '1' || !name.includes('in any order'));
    // The compiled ones: the initramfs is made of dist/.
    const { Lab } = (await import(dist('lab/machine.js'))) as typeof Machine;
    const { runChecks } = (await import(dist('smoke/runner.js'))) as typeof Runner;
    const lab = new Lab({
      image: inspectImage(kernel.image),
      cpus: 2,
      memoryMiB: 2048,
      numaNodes: 1,
      accelerator: 'tcg',
      commandLine: '',
      bootSeconds: 120,
      files: new Map([
        ['lab/unbreakable.mjs', resolve('test/lab/unbreakable.mjs')],
        ...below('test/fuzz', /\.mjs$/),
        ...below('test/endurance', /\.mjs$/),
        ...below('dist', /\.d\.ts$/),
        ...below('node_modules/fast-check/lib', /^[\w.-]+\.js$/),
        ...below('node_modules/pure-rand/lib/esm', /\.js$|^package\.json$/),
        ['gmem/node_modules/fast-check/package.json', resolve('node_modules/fast-check/package.json')],
        ['gmem/node_modules/pure-rand/package.json', resolve('node_modules/pure-rand/package.json')],
      ]),
    });
    const result = await runChecks({
      checks: chosen.map(({ name, title, since }) => ({ name, title, since })),
      device: '/dev/kvm',
      timeoutSeconds: 240,
      tool: { name: 'test', version: '0' },
      launch: lab.launch,
      catalogue: '/lab/unbreakable.mjs',
    });
    for (const { name, notes = [] } of result.checks) console.log(`${name}: ${notes.join('; ')}`);
    expect(result.checks.filter((check) => check.status !== 'pass')).toEqual([]);
    expect(result.checks).toHaveLength(chosen.length);
  });
});
