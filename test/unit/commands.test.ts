import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { checks } from '../../lib/smoke/catalogue.ts';
import { gmem } from '../helpers/process.ts';
import { passing, resultOf } from '../helpers/results.ts';

// What the commands say without a KVM.

const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

const commands = ['', 'advise', 'backend', 'lab', 'lint', 'map', 'probe', 'report', 'smoke'];

describe('--help', () => {
  test.each(commands.map((command) => ({ command })))('of gmem $command tells how to call it', async ({ command }) => {
    const { code, stdout, stderr } = await gmem(...command.split(' ').filter(Boolean), '--help');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.startsWith(`Usage: gmem ${command || 'COMMAND'}`)).toBe(true);
    expect(stdout).toMatch(command === 'lint' ? /Exit status:/ : /--help/);
  });

  test('is what gmem and gmem lab say where nothing is asked', async () => {
    for (const words of [[], ['lab']]) {
      const help = await gmem(...words, '--help');
      expect(await gmem(...words)).toMatchObject({ code: 2, stdout: '', stderr: help.stdout });
    }
  });

  test('of a type of backend has all of its properties', async () => {
    const { code, stdout } = await gmem('backend', 'help', 'memory-backend-memfd');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^memory-backend-memfd \(/);
    for (const name of ['size', 'hugetlb', 'seal', 'x-guest-memfd', 'host-nodes'])
      expect(stdout).toMatch(new RegExp(`^ +${name}[=,].*\\(default: `, 'm'));
  });
});

test.each([
  [['smoke', '--timeout', '0'], /--timeout takes seconds above 0/],
  [['smoke', '--timeout', 'soon'], /not "soon"/],
  [['smoke', '--seed', '1.5'], /not "1.5"/],
  [['smoke', '--seed', '4294967296'], /--seed takes a whole number from 0 to 4294967295/],
  [['smoke', '--json'], /--json goes with --list/],
  [['smoke', 'no-such-check'], /no check matches "no-such-check"/],
  [['smoke', checks.find(({ stress }) => stress)?.name ?? ''], /only stress checks match/],
  [['backend', 'memory-backend-ram,id=a,size=4M', '--vm-type', 'x'], /--vm-type takes a number, not "x"/],
  [['lab', 'matrix', '--accel', 'fast'], /--accel takes auto, tcg or kvm, not "fast"/],
  [['lab', 'run', '--kernel', '/nowhere', '--accel', 'fast'], /--accel takes auto, tcg or kvm, not "fast"/],
  [['lint'], /give a QEMU command line/],
])('gmem %j is refused with a sentence and exit 2', async (args, message) => {
  const { code, stdout, stderr } = await gmem(...args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(message);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});

describe('gmem smoke', () => {
  test('lists checks for machines, and explains one', async () => {
    const { code, stdout } = await gmem('smoke', '--list', '--json', 'G16');
    expect(code).toBe(0);
    const wanted = checks.filter(({ upstream }) => upstream?.includes('G16'));
    expect(JSON.parse(stdout).checks).toMatchObject(
      wanted.map(({ name, title, since }) => ({ name, title, since, requires: expect.any(Array), stress: false })),
    );
    const { name = '', title = '' } = wanted[0] ?? {};
    const explained = await gmem('smoke', '--explain', name);
    expect(explained).toMatchObject({ code: 0, stderr: '' });
    expect(explained.stdout).toContain(`${name}\n  ${title}.\n`);
    expect(explained.stdout).toMatch(/needs: +\S/);
  });
});

test.each([['smoke'], ['backend', 'memory-backend-ram,id=a,size=4M', '--run'], ['map']])(
  'gmem %s says what is wrong with a device, and exits with 4',
  async (...args) => {
    for (const device of ['/dev/null', join(folder, 'nowhere')]) {
      const { code, stdout, stderr } = await gmem(...args, '--device', device);
      expect({ code, stdout }).toEqual({ code: 4, stdout: '' });
      expect(stderr).toMatch(new RegExp(`^gmem ${args[0]}: .*${device}.*\\n$`));
    }
  },
);

test('an addon that is not there, or is none, is told with what to do, exit 4', async () => {
  vi.stubEnv('GMEM_ADDON', join(folder, 'nowhere.node'));
  expect(await gmem('probe')).toMatchObject({ code: 4, stderr: expect.stringMatching(/has not been built.*npm run/) });
  const file = join(folder, 'none.node');
  writeFileSync(file, 'no addon');
  vi.stubEnv('GMEM_ADDON', file);
  expect(await gmem('probe')).toMatchObject({ code: 4, stderr: expect.stringMatching(/cannot be loaded: /) });
});

test('gmem lint gives JSON', async () => {
  const { code, stdout } = await gmem('lint', '--json', '-object memory-backend-ram,id=a,size=4M,prealloc=maybe');
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ findings: [{ level: 'error', property: 'prealloc' }] });
});

test('gmem report tells minutes, and that nothing ran on what is to be compared', async () => {
  const file = join(folder, 'result.json');
  const result = resultOf(passing(2));
  writeFileSync(file, JSON.stringify({ ...result, summary: { ...result.summary, durationMs: 61_000 } }));
  expect((await gmem('report', file)).stdout).toMatch(/1 min 1 s/);
  const matrix = join(folder, 'matrix.json');
  const column = { kernel: { name: 'broken' }, problem: 'it panicked' };
  writeFileSync(matrix, JSON.stringify({ schemaVersion: 2, title: 'none', columns: [column] }));
  const { code, stderr } = await gmem('report', '--compare', file, matrix);
  expect({ code, stderr }).toEqual({ code: 2, stderr: 'gmem: --compare: nothing ran on broken: it panicked\n' });
});
