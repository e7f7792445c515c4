import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { MapFlag, MemfdFlag } from '../../lib/kvm/constants.ts';
import { mapAnonymous } from '../../lib/kvm/mapping.ts';
import { MemoryFile } from '../../lib/kvm/memory-file.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { withoutStrace } from '../faults/strace.ts';
import { describeKvm } from './kvm.ts';
import { expectPromises, securityChecks } from './security.ts';

const dist = (path: string) => pathToFileURL(resolve('dist', path)).href;
const noStrace = withoutStrace();

/** The file descriptors of this process, with their flags. */
function openDescriptors(): Map<string, number> {
  const open = new Map<string, number>();
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const [, flags = ''] = /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? [];
      open.set(fd, Number.parseInt(flags, 8));
    } catch {
      // by which the folder was read
    }
  }
  return open;
}

test('every file descriptor of memory files, pins and children is closed by exec', () => {
  const before = openDescriptors();
  using memfd = MemoryFile.memfd({ flags: MemfdFlag.ALLOW_SEALING });
  using object = MemoryFile.sharedMemory();
  using zero = MemoryFile.open('/dev/zero');
  object.resize(pageSize);
  using memory = mapAnonymous({ size: pageSize, flags: MapFlag.SHARED });
  using _pin = memory.pin();
  using _child = memory.forkChild();
  const made = [...openDescriptors()].filter(([fd]) => !before.has(fd));
  for (const { fd } of [memfd, object, zero]) expect(made.map(([one]) => one)).toContain(String(fd));
  expect(made.length).toBeGreaterThanOrEqual(6);
  for (const [fd, flags] of made) expect(flags & 0o2000000, `descriptor ${fd}`).not.toBe(0);
});

test.skipIf(noStrace).each(['memory', 'child', 'populate'])(
  'no program is started and no socket opened by the library: part %s',
  (part) => {
    const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
    try {
      const log = join(folder, 'calls');
      const wanted = 'trace=execve,execveat,socket,connect,bind,listen,accept,accept4';
      const program = [process.execPath, '--expose-gc', 'test/faults/program.mjs', resolve('dist/index.js'), '-', part];
      const { stdout, stderr } = spawnSync('strace', ['-f', '-o', log, '-e', wanted, ...program], { encoding: 'utf8' });
      expect(stdout, stderr).toContain('"thrown":[],"closing":[]');
      const calls = readFileSync(log, 'utf8')
        .split('\n')
        .filter((line) => /\w\(/.test(line));
      // The program itself, by which it is seen that calls are.
      expect(calls).toEqual([expect.stringMatching(/execve\(.*program\.mjs/)]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);

describeKvm('SECURITY.md', () => {
  test('is kept by VMs', { timeout: 120_000 }, async () => {
    const { runChecks } = (await import(dist('smoke/runner.js'))) as typeof Runner;
    const result = await runChecks({
      checks: securityChecks,
      device: '/dev/kvm',
      timeoutSeconds: 60,
      tool: { name: 'test', version: '0' },
      catalogue: resolve('test/host/security.mjs'),
    });
    expectPromises(result);
  });
});
