import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { cacheDirectory, locked } from '../../lib/lab/cache.ts';
import { newestKernels, packagesOf } from '../../lib/lab/debian-kernel.ts';
import { expectedStatus, surprises } from '../../lib/lab/expectations.ts';
import { cachedKernels } from '../../lib/lab/kernel-cache.ts';
import { parseName } from '../../lib/lab/kernel-names.ts';
import type { Check, CheckResult } from '../../lib/smoke/model.ts';
import { guestMemfd, memoryAttributes, numaNodes } from '../../lib/smoke/requirements.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
  vi.stubEnv('XDG_CACHE_HOME', folder);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

describe('parseName', () => {
  test('takes a name apart', () => {
    expect(parseName('debian-6.18')).toMatchObject({ series: '6.18', architecture: 'x86_64', swProtected: false });
    expect(parseName('debian-7.3-arm64')).toMatchObject({ series: '7.3', architecture: 'aarch64' });
    expect(parseName('sw-protected-7.3-debug')).toMatchObject({ series: '7.3', swProtected: true, debug: true });
  });

  test.each(['', 'debian', 'debian-7', '../debian-7.3', 'sw-protected-7.3-arm64', 'debian-7.3 '])(
    'knows no %j',
    (name) => {
      expect(parseName(name)).toBeUndefined();
    },
  );
});

test('the newest kernel of each series is found among packages, with what it is made of', () => {
  const cloud = (kind: string, version: string, debian = 'amd64') => `linux-${kind}-${version}+deb13-cloud-${debian}`;
  const kernels = newestKernels([
    cloud('image', '6.18.9'),
    cloud('image', '6.18.15'),
    cloud('image', '6.19.14'),
    cloud('binary', '6.19.14'), // its modules are gone
    ...['image', 'base', 'binary', 'modules'].flatMap((kind) => [cloud(kind, '7.3.4'), cloud(kind, '7.3.4', 'arm64')]),
    cloud('image', '7.1.13', 'arm64'),
    cloud('binary', '7.1.13', 'arm64'),
    'linux-image-7.3.4+deb13-rt-amd64',
    'linux-image-cloud-amd64',
    'linux-doc-7.3',
  ]);
  expect(kernels.map((kernel) => [kernel.series, kernel.architecture, packagesOf(kernel)])).toEqual([
    ['6.18', 'x86_64', ['linux-image-6.18.15+deb13-cloud-amd64:amd64']],
    ['6.19', 'x86_64', undefined],
    ['7.3', 'x86_64', ['binary', 'modules', 'base'].map((kind) => `${cloud(kind, '7.3.4')}:amd64`)],
    ['7.1', 'aarch64', ['linux-binary-7.1.13+deb13-cloud-arm64:arm64']],
    ['7.3', 'aarch64', ['binary', 'modules', 'base'].map((kind) => `${cloud(kind, '7.3.4', 'arm64')}:arm64`)],
  ]);
});

describe('the cache', () => {
  test('lies where the XDG specification puts it', () => {
    expect(cacheDirectory('kernels')).toBe(join(folder, 'guest-memfd/kernels'));
    vi.stubEnv('XDG_CACHE_HOME', 'relative');
    expect(cacheDirectory()).toBe(join(homedir(), '.cache/guest-memfd'));
    vi.stubEnv('XDG_CACHE_HOME', '');
    expect(cacheDirectory()).toBe(join(homedir(), '.cache/guest-memfd'));
  });

  test('is empty where there is none', () => {
    expect(cachedKernels()).toEqual([]);
  });

  test('lets one process at a time do a thing, and waits for no dead one', async () => {
    const unneeded = vi.fn();
    await locked('x', unneeded, async () => {});
    expect(unneeded).not.toHaveBeenCalled();
    const holder = spawn('flock', [join(folder, 'guest-memfd/locks/x'), '-c', 'echo; exec cat'], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    const waiting = vi.fn();
    const order: string[] = [];
    const mine = locked('x', waiting, async () => {
      order.push('mine');
    });
    await vi.waitFor(() => expect(waiting).toHaveBeenCalledTimes(1), 20_000);
    // Long enough for one that does not wait.
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(waiting).toHaveBeenCalledTimes(1);
    order.push('theirs ends');
    holder.kill('SIGKILL');
    holder.stdin.destroy();
    await mine;
    expect(order).toEqual(['theirs ends', 'mine']);
  });
});

describe('what is expected of a kernel', () => {
  const kernel = (name: string, version = '1') => {
    const parsed = parseName(name);
    if (!parsed) throw new Error(name);
    return { ...parsed, version };
  };
  const check = (more: Partial<Check>): Check => ({ name: 'a/b', title: '', since: '6.18', run: () => {}, ...more });

  test('follows its series, its kind, its nodes and known bugs', () => {
    const needsMemfd = check({ requires: [guestMemfd] });
    expect(expectedStatus(needsMemfd, kernel('debian-6.17'), 1)).toBe('skip');
    expect(expectedStatus(needsMemfd, kernel('debian-6.18'), 1)).toBe('pass');
    const needsAttributes = check({ requires: [memoryAttributes] });
    expect(expectedStatus(needsAttributes, kernel('debian-7.3'), 1)).toBe('skip');
    expect(expectedStatus(needsAttributes, kernel('sw-protected-7.3'), 1)).toBe('pass');
    const needsNodes = check({ requires: [numaNodes(2)], since: '6.19' });
    expect(expectedStatus(needsNodes, kernel('debian-7.3'), 1)).toBe('skip');
    expect(expectedStatus(needsNodes, kernel('debian-7.3'), 2)).toBe('pass');
    expect(expectedStatus(needsNodes, kernel('debian-6.18'), 2)).toBe('skip');
    const bug = check({ knownBugs: ['B4'] });
    expect(expectedStatus(bug, kernel('debian-6.18', '6.18.15-1'), 1)).toBe('xfail');
    expect(expectedStatus(bug, kernel('debian-7.3', '7.3.4-1'), 1)).toBe('pass');
  });

  test('makes a surprise of every difference, in either direction', () => {
    const result = (name: string, status: CheckResult['status']): CheckResult => ({
      name,
      title: '',
      since: '',
      status,
      durationMs: 0,
      ...(status === 'skip' ? { reason: 'why' } : {}),
    });
    const checks = [check({ name: 'a/pass' }), check({ name: 'a/skip', since: '7.4' })];
    const found = surprises(checks, kernel('debian-7.3'), 1, [
      result('a/pass', 'skip'),
      result('a/skip', 'pass'),
      result('kernel/outside-checks', 'error'),
    ]);
    expect(found).toEqual([
      { kernel: 'debian-7.3', check: 'a/pass', expected: 'pass', got: 'skip', reason: 'why' },
      { kernel: 'debian-7.3', check: 'a/skip', expected: 'skip', got: 'pass', reason: undefined },
      { kernel: 'debian-7.3', check: 'kernel/outside-checks', expected: 'pass', got: 'error', reason: undefined },
    ]);
    const race = check({ name: 'pre-fault/beside-deletion', since: '6.11', knownBugs: ['L1'], race: true });
    expect(surprises([race], kernel('debian-6.12'), 1, [result(race.name, 'pass')])).toEqual([]);
    expect(surprises([race], kernel('debian-6.12'), 1, [result(race.name, 'fail')])).toHaveLength(1);
    expect(surprises(checks, kernel('debian-7.3'), 1, [result('a/pass', 'pass'), result('a/skip', 'skip')])).toEqual(
      [],
    );
  });
});
