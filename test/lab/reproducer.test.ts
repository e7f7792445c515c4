import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CachedKernel } from '../../lib/lab/kernel-cache.ts';
import type { SuiteResult } from '../../lib/smoke/model.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { describeLab, runInLab } from './lab.ts';

const folder = mkdtempSync(join(tmpdir(), 'gmem-reproducer-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the checks of a module of this folder inside a machine. */
async function run(
  kernel: CachedKernel,
  module: string,
  names: readonly string[],
  files: ReadonlyMap<string, string>,
  options: Partial<Runner.RunnerOptions> = {},
): Promise<SuiteResult> {
  return runInLab({
    kernel,
    checks: names.map((name) => ({ name, title: name, since: '', knownBugs: ['B4'] })),
    catalogue: `/lab/${module}`,
    files: [...files, [`lab/${module}`, resolve('test/lab', module)]],
    timeoutSeconds: 60,
    options,
  });
}

/** The programs of checks that fail on a kernel, compiled, by the check's name. */
async function reproducersOf(kernel: CachedKernel, names: readonly string[]): Promise<Map<string, string>> {
  const programs = new Map<string, string>();
  await run(kernel, 'wrong-checks.mjs', names, new Map(), {
    onReproducer: (name, { source, problem }) => {
      expect(source, `${name}: ${problem}`).toBeDefined();
      const path = join(folder, name.replaceAll('/', '-'));
      writeFileSync(`${path}.c`, source ?? '');
      // Lab machines have no libraries but Node's.
      const compiler = kernel.architecture === 'aarch64' ? 'aarch64-linux-gnu-gcc' : 'cc';
      execFileSync(compiler, ['-Wall', '-Werror', '-static', '-o', path, `${path}.c`], { stdio: 'pipe' });
      programs.set(name, path);
    },
  });
  return programs;
}

/** What the programs say on a kernel: exit codes by the check's name. */
async function verdicts(kernel: CachedKernel, programs: ReadonlyMap<string, string>): Promise<Record<string, string>> {
  const inside = new Map([...programs].map(([name, path]) => [name.replaceAll('/', '-'), path]));
  const files = new Map([...inside].map(([name, path]) => [`lab/reproducers/${name}`, path]));
  const names = [...inside.keys()].map((name) => `reproducer/${name}`);
  const { checks } = await run(kernel, 'run-reproducers.mjs', names, files);
  return Object.fromEntries(
    [...programs.keys()].map((name, i) => [name, checks[i]?.notes?.[0]?.split(':')[0] ?? checks[i]?.reason ?? '']),
  );
}

const everywhere = [
  'refused',
  'accepted',
  'faults',
  'accessible',
  'bytes',
  'pattern',
  'guest-value',
  'guest-exit',
  'guest-conversation',
  'threads',
  'hangs',
  'file-call',
  'child',
  'child-faults',
  'pinned',
].map((name) => `wrong/${name}`);
const before = ['wrong/later-errno', 'wrong/later-file-system', 'binding/offset-overflow'];
/** Milliseconds for a machine and what runs in it. */
const bootTime = 300_000;
const all = (names: readonly string[], code: string) => Object.fromEntries(names.map((name) => [name, code]));

describeLab(
  'reproducers, on the kernel that failed and on one that does not',
  ['debian-6.18', 'debian-7.3'],
  (kernels) => {
    const [older, newer] = kernels as [CachedKernel, CachedKernel];
    let programs = new Map<string, string>();
    beforeAll(async () => {
      programs = await reproducersOf(older, [...everywhere, ...before]);
    }, bootTime);

    test('compile without a warning, one for each check', () => {
      expect([...programs.keys()]).toEqual([...everywhere, ...before]);
    });

    test('exit with 1 where the check failed', async () => {
      expect(await verdicts(older, programs)).toEqual(all([...everywhere, ...before], '1'));
    });

    test('exit with 0 where the kernel does what the check asserts', async () => {
      expect(await verdicts(newer, programs)).toEqual({ ...all(everywhere, '1'), ...all(before, '0') });
    });
  },
);

// Ports are the business of x86-64.
const onArm64 = everywhere.filter((name) => name !== 'wrong/guest-conversation');

describeLab('reproducers for arm64', ['debian-7.3-arm64'], (kernels) => {
  const [kernel] = kernels as [CachedKernel];
  test('exit with 1 where the check failed', { timeout: 2 * bootTime }, async () => {
    expect(await verdicts(kernel, await reproducersOf(kernel, onArm64))).toEqual(all(onArm64, '1'));
  });
});

const needPrivate = ['wrong/conversion', 'wrong/pre-fault', 'wrong/attributes'];

describeLab('reproducers that need private memory', ['sw-protected-7.3', 'debian-7.3'], (kernels) => {
  const [able, unable] = kernels as [CachedKernel, CachedKernel];
  let programs = new Map<string, string>();
  beforeAll(async () => {
    programs = await reproducersOf(able, needPrivate);
  }, bootTime);

  test('exit with 1 where the check failed', async () => {
    expect(await verdicts(able, programs)).toEqual(all(needPrivate, '1'));
  });

  test('exit with 4 where it cannot be asked', async () => {
    expect(await verdicts(unable, programs)).toEqual(all(needPrivate, '4'));
  });
});
