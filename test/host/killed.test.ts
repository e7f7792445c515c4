import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { randomFrom } from '../../lib/smoke/random.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { kill } from '../helpers/left.mjs';
import { type Mirror, serveMirror } from '../helpers/mirror.ts';
import { gmemLab } from '../helpers/process.ts';
import { anySeed } from '../helpers/seed.ts';
import { expectNothingLeft, killedChecks } from './killed.ts';
import { describeKvm } from './kvm.ts';

// What ends by SIGKILL, at any moment, leaves nothing: no process, no file, no lock.

const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const main = resolve('dist/cli/main.js');

const noApt = ['apt-get', 'dpkg-deb', 'setpriv', 'flock'].find((program) => spawnSync(program, ['--version']).error);

describe.skipIf(noApt)(noApt ? `gmem lab kernels fetch (skipped: no ${noApt} here)` : 'gmem lab kernels fetch', () => {
  const name = 'debian-7.3';
  let mirror: Mirror;
  const cache = (below = '') => join(folder, 'cache/guest-memfd', below);
  const temporary = join(folder, 'tmp');
  mkdirSync(temporary);
  const environment = () => ({
    XDG_CACHE_HOME: join(folder, 'cache'),
    APT_CONFIG: mirror.aptConfig,
    GMEM_DEBIAN_MIRROR: mirror.url,
    TMPDIR: temporary,
  });
  const args = [main, 'lab', 'kernels', 'fetch', name];
  const startAfresh = () => rmSync(cache(), { recursive: true, force: true });

  /** The cache has whole kernels only, and nobody holds a lock. */
  function expectNothingHalf(): void {
    const kernels = join(cache('kernels'), name);
    if (!existsSync(cache())) return;
    if (readdirSync(cache()).includes('kernels') && readdirSync(cache('kernels')).includes(name))
      expect(readdirSync(kernels)).toContain('kernel.json');
    if (!readdirSync(cache()).includes('locks')) return;
    for (const lock of readdirSync(cache('locks')))
      execFileSync('flock', ['--nonblock', join(cache('locks'), lock), 'true']);
  }

  /** The next fetch goes on from there. */
  async function expectFetched(): Promise<void> {
    mirror.slow = 0;
    mirror.stalling = undefined;
    const { stdout, stderr } = await new Promise<{ stdout: string; stderr: string }>((done) =>
      execFile(process.execPath, args, { env: { ...process.env, ...environment() } }, (_error, stdout, stderr) =>
        done({ stdout, stderr }),
      ),
    );
    const image = stdout.trim();
    expect(image, stderr).toBe(join(cache('kernels'), name, 'boot/vmlinuz-7.3.1+deb13-cloud-amd64'));
    expect(readFileSync(image).equals(mirror.image)).toBe(true);
    expect(readdirSync(cache('kernels')).sort()).toEqual([name, 'partial']);
    expect(readdirSync(cache('kernels/partial'))).toEqual([]);
    expectNothingHalf();
  }

  beforeAll(async () => {
    mirror = await serveMirror(folder, '7.3');
  });
  afterAll(() => mirror[Symbol.asyncDispose]());

  test('lists what the archive has and what is here, and says that there is no archive', async () => {
    startAfresh();
    mirror.slow = 0;
    mirror.stalling = undefined;
    for (const [name, value] of Object.entries(environment())) vi.stubEnv(name, value);
    try {
      const list = async () => (await gmemLab('kernels', 'list')).stdout;
      expect(await list()).toMatch(/In the cache .*\n {2}nothing\nTo be fetched:\n {2}debian-7\.3\nTo be built:\n/);
      await expectFetched();
      expect(await list()).toMatch(/In the cache .*\n {2}debian-7\.3 +7\.3\.1-1\nTo be built:\n/);
      expect(await gmemLab('kernels', 'path', name, '--modules')).toMatchObject({ code: 2 });
      expect(await gmemLab('kernels', 'fetch', 'debian-6.18')).toMatchObject({
        code: 4,
        stderr: expect.stringMatching(/the archive has no kernel 6\.18 for x86_64/),
      });
      startAfresh();
      const nowhere = await gmemLab('kernels', 'fetch', name, '--mirror', `${mirror.url}/nowhere`);
      expect(nowhere).toMatchObject({
        code: 4,
        stderr: expect.stringMatching(/fetching the index of the archive failed/),
      });
    } finally {
      vi.unstubAllEnvs();
    }
  });

  const stalls = [/Release$/, /Packages$/, /kernel\.deb$/];
  const ends = [
    { signal: 'SIGKILL', how: 'SIGKILL' },
    { signal: 'SIGINT', how: '130' },
    { signal: 'SIGTERM', how: '130' },
  ] as const;
  test.each(ends.flatMap((end) => stalls.map((file) => ({ ...end, file }))))(
    'leaves nothing behind $signal while $file comes',
    async ({ signal, how, file }) => {
      startAfresh();
      mirror.asked.length = 0;
      mirror.slow = 20;
      mirror.stalling = file;
      const after = () => mirror.asked.some(({ path }) => file.test(path));
      const options = { after, signal, env: environment(), folders: [temporary] };
      expect(await kill(args, options)).toEqual({ how, left: [] });
      expectNothingHalf();
      if (signal === 'SIGKILL') await expectFetched();
    },
  );

  test('takes up a package in the middle', async () => {
    startAfresh();
    mirror.asked.length = 0;
    mirror.slow = 20;
    mirror.stalling = /kernel\.deb$/;
    const some = () => {
      const partial = join(cache('kernels/partial'), name);
      const files = existsSync(partial) ? readdirSync(partial, { recursive: true, withFileTypes: true }) : [];
      return files.some((file) => file.isFile() && statSync(join(file.parentPath, file.name)).size > 1 << 20);
    };
    expect(await kill(args, { after: some, env: environment() })).toMatchObject({ how: 'SIGKILL' });
    await expectFetched();
    const [first, second] = mirror.asked.filter(({ path }) => path.endsWith('.deb'));
    expect(first?.from).toBe(0);
    expect(second?.from).toBeGreaterThan(1 << 20);
  });

  test('leaves nothing whenever it is killed', { timeout: 120_000 }, async () => {
    const random = randomFrom(anySeed('gmem lab kernels fetch'));
    for (let i = 0; i < 9; i++) {
      if (i % 3 === 0) startAfresh();
      mirror.slow = 300;
      const { left } = await kill(args, { after: 50 + random() * 3000, env: environment(), folders: [temporary] });
      expect(left).toEqual([]);
      expectNothingHalf();
      if (i % 3 === 2) await expectFetched();
    }
  });
});

describeKvm('gmem', () => {
  test('leaves nothing behind SIGKILL, and reports whole behind Ctrl-C', { timeout: 300_000 }, async () => {
    const { runChecks } = (await import(pathToFileURL(resolve('dist/smoke/runner.js')).href)) as typeof Runner;
    const result = await runChecks({
      checks: killedChecks,
      device: '/dev/kvm',
      timeoutSeconds: 60,
      tool: { name: 'test', version: '0' },
      catalogue: resolve('test/host/killed.mjs'),
      seed: anySeed('gmem ended at any time'),
    });
    await expectNothingLeft(result);
  });
});
