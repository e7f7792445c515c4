import { accessSync, constants, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { CachedKernel } from '../../lib/lab/kernel-cache.ts';
import { filesOfProgram, librariesOf, withoutStrace } from '../faults/strace.ts';
import { nameOf } from './host.mjs';
import { describeLab, runInLab } from './lab.ts';

const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Those of them that are run in lab machines as checks. */
const otherwise = ['killed.test.ts', 'security.test.ts'];
const files = readdirSync('test/host')
  .filter((name) => name.endsWith('.test.ts') && !otherwise.includes(name))
  .map((name) => `test/host/${name}`)
  .filter((path) => /^describeKvm\(/m.test(readFileSync(path, 'utf8')));

/** Where this machine has KVM, they run on it; GMEM_HOST_IN_LAB=1 runs them in the lab all the same. */
function runsHere(): boolean {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return process.env['GMEM_HOST_IN_LAB'] !== '1';
  } catch {
    return false;
  }
}

/** Everything below a folder of the checkout that is not only there to be read by people or their editors. */
function filesBelow(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/\.(d\.[cm]?ts|map|md|o|d)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
}

describeLab('the host tests in a machine with KVM', ['debian-6.18'], (kernels) => {
  const [kernel] = kernels as [CachedKernel];
  test.skipIf(runsHere())('pass', { timeout: 3_600_000 }, async () => {
    expect(files.length).toBeGreaterThan(8);
    const list = join(folder, 'files.json');
    writeFileSync(list, JSON.stringify(files));
    const checkout = [
      ...['package.json', 'tsconfig.json', 'vitest.config.ts', 'README.md', 'CHANGELOG.md'],
      ...['lib', 'test', 'scripts', 'schema', 'assets', 'dist', 'build/Release', 'node_modules'].flatMap(filesBelow),
    ];
    const { checks } = await runInLab({
      kernel,
      checks: files.map((file) => ({ name: nameOf(file), title: file, since: '' })),
      catalogue: '/lab/host.mjs',
      files: [
        ['lab/host.mjs', resolve('test/lab/host.mjs')],
        ['checkout/host-tests.json', list],
        ...checkout.map((file): [string, string] => [`checkout/${file}`, resolve(file)]),
        // That of another C library is linked to nothing that is here.
        ...checkout.filter((file) => file.endsWith('.node') && !file.includes('musl')).flatMap(librariesOf),
        ...['sh', 'sleep', 'cat', ...(withoutStrace() ? [] : ['strace'])].flatMap(filesOfProgram),
      ],
      timeoutSeconds: 900,
      machine: { memoryMiB: 4096 },
    });
    const told = checks.flatMap(({ notes = [] }) =>
      notes.map((note) => JSON.parse(note) as { test: string; status: string; said?: string }),
    );
    const failed = told.filter(({ status }) => status === 'failed');
    expect(failed).toEqual([]);
    // One that told nothing may have hung.
    expect(checks.filter(({ status }) => status !== 'pass')).toEqual([]);
    const passed = told.filter(({ status }) => status === 'passed').length;
    console.log(`${files.length} files: ${passed} passed, ${told.length - passed} skipped`);
    expect(passed).toBeGreaterThan(100);
  });
});
