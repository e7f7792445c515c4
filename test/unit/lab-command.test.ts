import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { gmemLab } from '../helpers/process.ts';

const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const temporary = join(folder, 'tmp');
mkdirSync(temporary);
vi.stubEnv('TMPDIR', temporary);
vi.stubEnv('XDG_CACHE_HOME', join(folder, 'cache'));
afterEach(() => expect(readdirSync(temporary)).toEqual([]));

const text = join(folder, 'text');
writeFileSync(text, 'not a kernel');
const arm64 = join(folder, 'Image');
writeFileSync(arm64, Buffer.from(`${'\0'.repeat(56)}ARMd${'\0'.repeat(4096)}`, 'latin1'));
const notPackage = join(folder, 'kernel.deb');
writeFileSync(notPackage, 'not a package');

test.each([
  [['run'], /--kernel IMAGE is missing/],
  [['run', '--kernel', text], /is not a kernel image/],
  [['run', '--kernel', join(folder, 'nowhere')], /nowhere does not exist/],
  [['run', '--kernel', 'debian-7.3'], /--kernel "\$\(gmem lab kernels path debian-7\.3\)"/],
  [['run', '--kernel', folder], /is a directory/],
  [['run', '--kernel', notPackage], /is not a Debian package/],
  [['run', '--kernel', arm64, '--arch', 'x86_64'], /is a kernel for aarch64, not for x86_64/],
  [['run', '--kernel', arm64, '--arch', 'mips'], /--arch takes x86_64 or aarch64/],
  [['run', '--kernel', arm64, '--memory', '12'], /--memory takes a size from 512M/],
  [['run', '--kernel', arm64, '--cpus', '0'], /--cpus takes 1 to 64/],
  [['run', '--kernel', arm64, '--machines', '0'], /--machines takes 1 to 64/],
  [['run', '--kernel', arm64, '--machines', '2', '--keep'], /give --machines 1 with it/],
  [['run', '--kernel', arm64, '--numa', 'two'], /--numa takes 1 to 8/],
  [['run', '--kernel', arm64, '--timeout', '0'], /--timeout takes 1 to/],
  [['run', '--kernel', arm64, '--modules', '/nowhere'], /--modules: \/nowhere does not exist/],
  [['run', '--kernel', arm64, '--no-such'], /--no-such/],
  [['run', '--kernel', arm64, '--kernel', arm64], /takes one image/],
  [['kernels'], /takes list, fetch, build or path/],
  [['kernels', 'fetch'], /takes names/],
  [['kernels', 'fetch', 'debian-seven'], /"debian-seven" is no name of a kernel/],
  [['kernels', 'build', 'debian-7.3'], /gmem lab kernels build takes one of/],
  [['kernels', 'path', 'debian-7.3', '--mirror', 'elsewhere'], /--mirror takes a URL/],
  [['matrix', 'nonsense'], /"nonsense" is no name of a kernel/],
  [['matrix', '--jobs', '0'], /--jobs takes 1 to 64/],
  [['matrix', '--offline'], /there is no kernel in the cache/],
  [['nonsense'], /gmem lab has no command "nonsense"/],
])('gmem lab %j is refused with a sentence and exit 2', async (args, message) => {
  const { code, stdout, stderr } = await gmemLab(...args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(message);
  expect(stderr.trim().split('\n').length, stderr).toBe(1);
});

test('what is not to be had exits with 4, and says why', async () => {
  const offline = await gmemLab('kernels', 'path', 'debian-7.3', '--offline');
  expect(offline).toMatchObject({ code: 4, stderr: expect.stringContaining('--offline') });
  vi.stubEnv('PATH', folder);
  const emulator = await gmemLab('run', '--kernel', arm64);
  vi.unstubAllEnvs();
  vi.stubEnv('TMPDIR', temporary);
  vi.stubEnv('XDG_CACHE_HOME', join(folder, 'cache'));
  expect(emulator).toMatchObject({ code: 4, stderr: expect.stringContaining('apt-get install qemu-system-arm') });
});

test.each([[], ['run'], ['kernels'], ['matrix']].map((names) => ({ names })))(
  'gmem lab $names --help explains',
  async ({ names }) => {
    const { code, stdout } = await gmemLab(...names, '--help');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Usage: gmem lab/);
  },
);
