import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CheckResult, SuiteResult } from '../../lib/smoke/model.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { expectHostile } from '../helpers/hostile.ts';
import { gmem, node } from '../helpers/process.ts';
import { slowness } from '../helpers/slowness.ts';
import { describeKvm } from './kvm.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gmem-test-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

// The compiled one: its worker is a process that Node itself must be able to run.
const dist = (path: string) => new URL(`../../dist/${path}`, import.meta.url).href;

/** Processes whose parent is `pid`. */
function childrenOf(pid: number | undefined): string[] {
  return readdirSync('/proc').filter((entry) => {
    try {
      return readFileSync(`/proc/${entry}/stat`, 'latin1').split(') ')[1]?.split(' ')[1] === String(pid);
    } catch {
      return false; // not a process, or no longer one
    }
  });
}

describeKvm('gmem smoke', () => {
  test('has no unexpected failure on this machine, and a cause for each skip', async () => {
    const file = join(folder, 'result.json');
    const { code, stdout, stderr } = await gmem('smoke', '--reporter', 'pretty', '--reporter', `json=${file}`);
    const result = JSON.parse(readFileSync(file, 'utf8')) as SuiteResult;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(result).toMatchObject({ schemaVersion: 2, tool: { name: 'guest-memfd' }, summary: { fail: 0, error: 0 } });
    expect(result.checks.length).toBeGreaterThanOrEqual(25);
    for (const check of result.checks.filter((one) => one.status === 'skip'))
      expect(check.reason, check.name).toBeTruthy();
    expect(stdout).toContain(`${result.checks.length} checks: ${result.summary.pass} pass, 0 fail`);
  });

  test('gives JSON alone on standard output when asked to', async () => {
    const { stdout, code } = await gmem('smoke', 'file/stat', '--reporter', 'json');
    expect(JSON.parse(stdout)).toMatchObject({ checks: [{ name: 'file/stat', status: 'pass', upstream: ['G13'] }] });
    expect(code).toBe(0);
  });

  test('meets the known bug as an expected failure, or says that it is not there', async () => {
    const { stdout } = await gmem('smoke', 'G16', '--reporter', 'json');
    const [check] = (JSON.parse(stdout) as SuiteResult).checks as [CheckResult];
    if (check.status === 'xfail') expect(check).toMatchObject({ knownBug: { id: 'B4', fixedBy: 'eba85fee7fc6' } });
    else expect(check.status).toBe('pass');
  });

  test('lists without running', async () => {
    // One by its number upstream, one by its name.
    const { stdout, code } = await gmem('smoke', '--list', 'G13', 'numa/allocation');
    expect(stdout).toMatch(/^file\/stat\s+G13\s+.*\nnuma\/allocation\s+G7\s+.*\n$/);
    expect(code).toBe(0);
  });

  test('says what is wrong with the call, and exits with 2', async () => {
    for (const [args, message] of [
      [['--nope'], /Unknown option '--nope'/],
      [['no-such-check'], /no check matches "no-such-check"/],
      [['--reporter', 'xml'], /no reporter "xml"; there are: pretty, html, json/],
      [['--reporter', 'json='], /file name is missing/],
      [['--timeout', '0'], /seconds above 0/],
      [['--timeout', 'soon'], /not "soon"/],
    ] as const) {
      const { code, stderr, stdout } = await gmem('smoke', ...args);
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
      expect(stderr).toMatch(message);
      expect(stderr.trim().split('\n')).toHaveLength(1);
    }
    expect(await gmem('nothing')).toMatchObject({ code: 2 });
    expect(await gmem()).toMatchObject({ code: 2 });
  });

  test('a device that cannot be used: one paragraph, exit 4', async () => {
    const file = join(folder, 'no-device');
    for (const path of [file, '/dev/null', '/']) {
      const { code, stdout, stderr } = await gmem('smoke', '--device', path);
      expect({ code, stdout }).toEqual({ code: 4, stdout: '' });
      expect(stderr).toMatch(/^gmem smoke: nothing could run\. .+\n$/);
    }
    writeFileSync(file, '', { mode: 0 });
    expect(await gmem('probe', '--device', file)).toMatchObject({ code: 4 });
  });

  test('a report that cannot be written does not keep the others from being complete', async () => {
    const file = join(folder, 'fine.json');
    const bad = join(folder, 'nowhere', 'x.json');
    const { code, stderr } = await gmem(
      'smoke',
      'file/stat',
      '--reporter',
      `json=${bad}`,
      '--reporter',
      `json=${file}`,
    );
    expect(code).toBe(1);
    expect(stderr).toMatch(/json report could not be written to .*: ENOENT/);
    expect(JSON.parse(readFileSync(file, 'utf8')).checks).toHaveLength(1);
  });

  test('Ctrl-C: what ran is reported, exit 130, nothing left running', async () => {
    const file = join(folder, 'interrupted.json');
    const child = spawn(process.execPath, ['dist/cli/main.js', 'smoke', '--reporter', `json=${file}`], {
      stdio: 'ignore',
    });
    // Once its worker is there, the checks are about to run and the handler is in place.
    while (childrenOf(child.pid).length === 0 && child.exitCode === null) await new Promise((go) => setTimeout(go, 5));
    child.kill('SIGINT');
    const code = await new Promise((resolve) => child.on('exit', resolve));
    expect(code).toBe(130);
    expect(childrenOf(child.pid)).toEqual([]);
  });
});

describeKvm('the runner', () => {
  const catalogue = new URL('../helpers/hostile-checks.mjs', import.meta.url).href;

  async function run(options: Partial<Runner.RunnerOptions> = {}): Promise<SuiteResult> {
    const { runChecks } = (await import(dist('smoke/runner.js'))) as typeof Runner;
    const { checks } = (await import(catalogue)) as { checks: Runner.CheckEntry[] };
    const tool = { name: 'test', version: '0' };
    return runChecks({ checks, device: '/dev/kvm', timeoutSeconds: slowness, tool, catalogue, ...options });
  }

  test('tells a check that crashes, hangs or throws from one that fails, and runs all the others', async () => {
    expectHostile(await run());
  });

  test('ends at once when it is interrupted, and says what did not run', async () => {
    const { checks: all } = (await import(catalogue)) as { checks: Runner.CheckEntry[] };
    const names = ['hostile/passes', 'hostile/spins', 'hostile/passes-after-all'];
    const checks = all.filter((check) => names.includes(check.name));
    const abort = new AbortController();
    const result = await run({
      checks,
      timeoutSeconds: 60,
      signal: abort.signal,
      onStart: (name) => name === 'hostile/spins' && setTimeout(() => abort.abort(), 50),
    });
    expect(result.interrupted).toBe(true);
    expect(result.checks.map((check) => check.status)).toEqual(['pass', 'skip', 'skip']);
  });
});

describeKvm('gmem probe', () => {
  test('finds the features of this machine by using them', async () => {
    const { code, stdout, stderr } = await gmem('probe', '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const report = JSON.parse(stdout);
    const status = Object.fromEntries(
      report.features.map((one: { name: string; status: string }) => [one.name, one.status]),
    );
    expect(status).toMatchObject({ 'guest-memfd': 'yes', mmap: 'yes', 'private-refused': 'yes', 'guest-runs': 'yes' });
    for (const feature of report.features)
      if (feature.status !== 'yes')
        expect(feature, feature.name).toMatchObject({ cause: expect.any(String), remedy: expect.any(String) });
  });

  test('prints no colour into a pipe', async () => {
    const { stdout } = await gmem('probe');
    expect(stdout).toMatch(/^Host\n/);
    expect(stdout).not.toContain('\x1b');
  });
});

describeKvm('the README', () => {
  test('has a script of some 50 lines that works when pasted', async () => {
    const text = /```js\n([\s\S]*?)```/.exec(readFileSync('README.md', 'utf8'))?.[1] ?? '';
    expect(text.split('\n').length).toBeLessThanOrEqual(55);
    // In the clone, as the README says: there the package finds itself by its name.
    const { code, stdout, stderr } = await node('--input-type=module', '-e', text);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/the guest reads aaaaaaaaaaaaaaaa\nthe host reads 8877665544332211\n/);
    expect(stdout).toMatch(/\ntrue cannot read at offset 0x0/);
  });
});
