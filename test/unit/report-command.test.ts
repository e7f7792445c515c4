import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compare } from '../../lib/reporters/compare.ts';
import { ResultError, readColumns, readResult } from '../../lib/reporters/read.ts';
import type { CheckResult, Status } from '../../lib/smoke/model.ts';
import { gmem } from '../helpers/process.ts';
import { passing, resultOf } from '../helpers/results.ts';

let folder = '';
const path = (name: string) => join(folder, name);
const save = (name: string, value: unknown) => {
  writeFileSync(path(name), typeof value === 'string' ? value : JSON.stringify(value));
  return path(name);
};
const statusOf = (name: string, status: Status): CheckResult => ({
  name,
  title: name,
  since: '',
  durationMs: 1,
  status,
});

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gmem-report-'));
  save('full.json', resultOf());
  save('green.json', resultOf(passing(200), '7.3.4'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const wrongUsage = (stderr: RegExp) => ({ code: 2, stdout: '', stderr: expect.stringMatching(stderr) });

describe('reading results', () => {
  test('takes the version before, which has the same meaning', () => {
    const { seed: _seed, ...old } = resultOf(passing(3));
    expect(readResult(JSON.stringify({ ...old, schemaVersion: 1 }))).toEqual({ ...old, schemaVersion: 2 });
    const column = { kernel: { name: 'debian-6.18' }, result: { ...old, schemaVersion: 1 } };
    const matrix = { schemaVersion: 1, columns: [column, { kernel: { name: 'x' }, problem: 'no' }] };
    expect(readColumns(JSON.stringify(matrix))).toMatchObject([{ result: { schemaVersion: 2 } }, { problem: 'no' }]);
  });

  test('says what is wrong with anything else', () => {
    const good = resultOf(passing(2));
    const [first] = good.checks;
    for (const [text, message] of [
      ['', /^it is empty$/],
      ['{"schemaVersion":', /^it is not JSON: .*JSON/],
      ['[]', /not an object/],
      ['null', /not an object/],
      ['{}', /no schemaVersion/],
      ['{"schemaVersion":1,"features":[]}', /report of gmem probe/],
      ['{"schemaVersion":3}', /schema version is 3, and this gmem reads 1 and 2: it needs a later gmem/],
      ['{"schemaVersion":"2"}', /schemaVersion is "2", not 1 or 2/],
      ['{"schemaVersion":2}', /at the top: .*"tool"/],
      [{ ...good, checks: {} }, /at checks: .*array/],
      [{ ...good, checks: [first, { ...first, status: 'passed' }] }, /at checks\.1\.status: /],
      [{ ...good, host: { ...good.host, cpus: '2' } }, /at host\.cpus: .*(integer|number)/],
      [{ ...good, checks: [first] }, /^its summary has 2 pass, its checks 1$/],
      [{ schemaVersion: 2, columns: [{ kernel: {} }] }, /at columns\.0\.kernel: .*"name"/],
    ] as const) {
      const read = () => readColumns(typeof text === 'string' ? text : JSON.stringify(text));
      expect(read, JSON.stringify(text).slice(0, 80)).toThrow(ResultError);
      expect(read).toThrow(message);
    }
  });
});

describe('comparing', () => {
  test('tells regressions, fixes, new and gone apart, worst first', () => {
    const pairs: [name: string, before: Status | undefined, after: Status | undefined][] = [
      ['a/same', 'pass', 'pass'],
      ['a/still-bad', 'fail', 'fail'],
      ['a/worse', 'pass', 'fail'],
      ['a/broke', 'skip', 'error'],
      ['a/known-now', 'pass', 'xfail'],
      ['a/known-no-more', 'xfail', 'fail'],
      ['a/fixed', 'fail', 'pass'],
      ['a/fixed-bug', 'xfail', 'pass'],
      ['a/can-run-now', 'skip', 'pass'],
      ['a/cannot-run-now', 'pass', 'skip'],
      ['a/other-trouble', 'fail', 'error'],
      ['a/new', undefined, 'fail'],
      ['a/gone', 'pass', undefined],
    ];
    const side = (at: 1 | 2) => resultOf(pairs.flatMap((pair) => (pair[at] ? [statusOf(pair[0], pair[at])] : [])));
    expect(compare(side(1), side(2)).map(({ check, change }) => [check.slice(2), change])).toEqual([
      ['worse', 'regression'],
      ['broke', 'regression'],
      ['known-now', 'regression'],
      ['known-no-more', 'regression'],
      ['fixed', 'fix'],
      ['fixed-bug', 'fix'],
      ['new', 'new'],
      ['gone', 'gone'],
      ['can-run-now', 'other'],
      ['cannot-run-now', 'other'],
      ['other-trouble', 'other'],
    ]);
  });

  test('ends with 1 on a regression, with 0 on anything else', async () => {
    const old = save('old.json', resultOf([statusOf('a/b', 'pass'), statusOf('a/c', 'fail')]));
    const worse = save('worse.json', resultOf([statusOf('a/b', 'fail'), statusOf('a/c', 'pass')]));
    const { code, stdout, stderr } = await gmem('report', '--compare', old, worse);
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    expect(stdout).toContain('Regressions\n  a/b: pass → fail\n');
    expect(stdout).toContain('Fixed\n  a/c: fail → pass\n');
    // The same kernel twice is told apart by its file.
    expect(stdout).toMatch(/ 6\.18\.44 \(old\) +6\.18\.44 \(worse\)\n/);
    expect(await gmem('report', '--compare', old, old)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('No regression.'),
    });
    expect(await gmem('report', '--compare', old)).toMatchObject(wrongUsage(/two results, not 1/));
  });
});

describe('gmem report', () => {
  test('renders a saved result as everything at once, and again from its own JSON', async () => {
    const names = ['pretty', 'html', 'json', 'ktap', 'junit', 'kcidb', 'lava', 'github', 'markdown'];
    const flags = names.flatMap((name) => ['--reporter', `${name}=${path(`out.${name}`)}`]);
    const run = await gmem('report', path('full.json'), ...flags);
    expect(run).toEqual({ code: 0, signal: null, stdout: '', stderr: '' });
    for (const name of names) expect(readFileSync(path(`out.${name}`), 'utf8').length, name).toBeGreaterThan(100);
    const again = await gmem('report', path('out.json'), '--reporter', 'ktap');
    expect(again.stdout).toBe(readFileSync(path('out.ktap'), 'utf8'));
    const { stdout } = await gmem('report', path('full.json'), '--title', 'My <title>', '--reporter', 'html');
    expect(stdout).toContain('<h1>My &lt;title&gt;</h1>');
  });

  test('merges runs, tells the same kernel twice apart, and reads what it merged', async () => {
    mkdirSync(path('x'), { recursive: true });
    mkdirSync(path('y'), { recursive: true });
    const same = [save('node-1.json', resultOf()), save('node-2.json', resultOf()), save('x/r.json', resultOf())];
    const merged = await gmem(
      'report',
      ...same,
      save('y/r.json', resultOf()),
      path('green.json'),
      '--reporter',
      'json',
    );
    const names = (text: string) =>
      JSON.parse(text).columns.map(({ kernel }: { kernel: { name: string } }) => kernel.name);
    expect(names(merged.stdout)).toEqual([
      '6.18.44 (node-1)',
      '6.18.44 (node-2)',
      '6.18.44 (r) #1',
      '6.18.44 (r) #2',
      '7.3.4',
    ]);
    const again = await gmem('report', save('merged.json', merged.stdout), path('green.json'), '--reporter', 'json');
    expect(names(again.stdout)).toHaveLength(6);
    expect(new Set(names(again.stdout)).size).toBe(6);
  });

  test('says which file is at fault, and writes nothing then', async () => {
    const bad = save('bad.json', '{"schemaVersion": 2}');
    const out = path('never.html');
    for (const [args, message] of [
      [[bad], /bad\.json is not a result: at the top: /],
      [[path('green.json'), save('text.json', 'hello')], /text\.json is not a result: it is not JSON/],
      [[path('nowhere.json')], /ENOENT.*nowhere\.json/],
      [[folder], /EISDIR/],
      [[], /needs the result of a run/],
      [[path('green.json'), '--reporter', 'xml'], /no reporter "xml"; there are: pretty, html, json/],
      [[path('green.json'), '--reporter', 'json='], /file name is missing/],
      [[path('green.json'), '--reporter', `ktap=${out}`], /two reporters write to .*never\.html/],
      [[path('green.json'), '--nope'], /--nope/],
    ] as const) {
      const ended = await gmem('report', ...args, '--reporter', `html=${out}`);
      expect(ended).toMatchObject(wrongUsage(message));
      expect(ended.stderr.trim().split('\n')).toHaveLength(1);
      expect(existsSync(out)).toBe(false);
    }
  });

  /** A command line of the shell, with the exit status of its first command. */
  const shell = (line: string, env: NodeJS.ProcessEnv = {}) =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      const command = `gmem() { ${process.execPath} dist/cli/main.js "$@"; }; ${line}; exit \${PIPESTATUS[0]}`;
      const child = execFile(
        'bash',
        ['-c', command],
        { env: { ...process.env, NODE_OPTIONS: '', NO_COLOR: '1', ...env }, maxBuffer: 1 << 26 },
        (_error, stdout, stderr) => resolve({ code: child.exitCode ?? -1, stdout, stderr }),
      );
    });

  test('survives a reader that has read enough: the others are complete, and the status is that of the result', async () => {
    const many = save('many.json', resultOf(passing(5000)));
    const file = path('complete.json');
    const line = `gmem report '${many}' --reporter ktap --reporter 'json=${file}' --reporter ktap | head -1`;
    expect(await shell(line)).toEqual({ code: 0, stdout: 'KTAP version 1\n', stderr: '' });
    expect(readResult(readFileSync(file, 'utf8')).checks).toHaveLength(5000);
    const old = save('was.json', resultOf([statusOf('a/b', 'pass')]));
    const worse = save('is.json', resultOf([statusOf('a/b', 'fail'), ...passing(5000)]));
    expect(await shell(`gmem report --compare '${old}' '${worse}' | head -1`)).toMatchObject({ code: 1, stderr: '' });
  });

  test('a full disk or a FILE that cannot be written: a clear error, exit 1, and the others are complete', async () => {
    const locked = path('locked');
    mkdirSync(locked, { recursive: true });
    chmodSync(locked, 0o500);
    for (const [where, why] of [
      ['/dev/full', /the junit report could not be written to \/dev\/full: ENOSPC/],
      [path('nowhere/x.xml'), /the junit report could not be written to .*x\.xml: ENOENT/],
      [folder, /the junit report could not be written to .*: EISDIR/],
      ...(process.getuid?.() === 0 ? [] : [[join(locked, 'x.xml'), /EACCES/] as const]),
    ] as const) {
      const file = path('other.json');
      const flags = ['--reporter', `junit=${where}`, '--reporter', `json=${file}`, '--reporter', 'ktap'];
      const { code, stdout, stderr } = await gmem('report', path('full.json'), ...flags);
      expect({ code, lines: stderr.trim().split('\n').length }).toEqual({ code: 1, lines: 1 });
      expect(stderr).toMatch(why);
      expect(stdout).toMatch(/^KTAP version 1\n[\s\S]*# Totals: .*\n$/);
      expect(readResult(readFileSync(file, 'utf8')).checks.length).toBeGreaterThan(5);
      rmSync(file);
    }
    const file = path('other.json');
    const line = `gmem report '${path('full.json')}' --reporter ktap --reporter 'json=${file}' >/dev/full`;
    const { code, stderr } = await shell(line);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/^gmem: standard output .*ENOSPC.*\n$/),
    });
    expect(existsSync(file)).toBe(true);
  });

  test('half a report that a full disk left is taken away', async ({ skip }) => {
    const disk = path('disk');
    mkdirSync(disk);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', disk], { stdio: 'ignore' });
    } catch {
      skip('a small disk can be mounted by root only');
    }
    try {
      const many = save('many.json', resultOf(passing(2000)));
      const { code, stderr } = await gmem('report', many, '--reporter', `html=${join(disk, 'x.html')}`);
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/html report .*ENOSPC/) });
      expect(existsSync(join(disk, 'x.html'))).toBe(false);
    } finally {
      execFileSync('umount', [disk]);
    }
  });

  test('under GitHub Actions annotates by itself, on standard error, and writes the summary of the step', async () => {
    const summary = save('summary.md', 'before\n');
    const env = { GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: summary };
    const quiet = await shell(`gmem report '${path('full.json')}' --reporter json`, env);
    expect(JSON.parse(quiet.stdout).schemaVersion).toBe(2);
    expect(quiet.stderr).toMatch(/^::error title=file\/fails::/);
    expect(readFileSync(summary, 'utf8')).toMatch(/^before\n## guest\\_memfd/);
    const asked = await shell(`gmem report '${path('full.json')}' --reporter github`, env);
    expect(asked).toMatchObject({ code: 0, stdout: expect.stringMatching(/^::error/), stderr: '' });
  });

  test('refuses an identity that KCIDB would refuse', async () => {
    const line = `gmem report '${path('green.json')}' --reporter kcidb`;
    expect(await shell(line, { KCIDB_ORIGIN: 'My Lab' })).toMatchObject(wrongUsage(/KCIDB_ORIGIN .* "My Lab"/));
    expect(await shell(line, { KCIDB_BUILD_ID: '1' })).toMatchObject(wrongUsage(/KCIDB_BUILD_ID is origin:id/));
    const { stdout } = await shell(line, { KCIDB_ORIGIN: 'my_lab', KCIDB_BUILD_ID: 'my_lab:1' });
    expect(JSON.parse(stdout).tests[0]).toMatchObject({ origin: 'my_lab', build_id: 'my_lab:1' });
  });
});
