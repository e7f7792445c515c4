import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { XMLParser } from 'fast-xml-parser';
import { describe, expect, test } from 'vitest';
import { compare } from '../../lib/reporters/compare.ts';
import { github } from '../../lib/reporters/github.ts';
import { html } from '../../lib/reporters/html.ts';
import { json } from '../../lib/reporters/json.ts';
import { junit } from '../../lib/reporters/junit.ts';
import { kcidb } from '../../lib/reporters/kcidb.ts';
import { ktap } from '../../lib/reporters/ktap.ts';
import { lava } from '../../lib/reporters/lava.ts';
import { markdown } from '../../lib/reporters/matrix.ts';
import { pretty } from '../../lib/reporters/pretty.ts';
import { type Report, single } from '../../lib/reporters/report.ts';
import { painter } from '../../lib/reporters/style.ts';
import type { CheckResult, SuiteResult } from '../../lib/smoke/model.ts';
import {
  expectWhole,
  kcidbErrors,
  lavaSignals,
  reportErrors,
  resultErrors,
  tapTests,
  xmlErrors,
  xsd,
} from '../helpers/formats.ts';
import { checks, hostile, passing, resultOf } from '../helpers/results.ts';

const result = resultOf();
const report = single(result);
const two: Report = {
  title: 'two',
  columns: [
    { kernel: { name: '6.18.44' }, result },
    { kernel: { name: '7.3.4' }, result: resultOf(passing(20), '7.3.4') },
    { kernel: { name: 'broken' }, problem: `it panicked\n${hostile}` },
  ],
};
const failing = passing(2).map(
  (check, at): CheckResult => (at === 0 ? { ...check, status: 'fail', failure: { message: 'no' } } : check),
);
const expected = { pass: 3, fail: 2, xfail: 2, skip: 3, error: 3 };
const total = checks.length;

const count = <T>(things: readonly T[], is: (thing: T) => unknown) => things.filter(is).length;

/** The text has no character that a terminal or an XML reader would not take. */
function expectClean(text: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are looked for
  expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e\u2028]|\p{Surrogate}/u);
}

test('the fixture has what the tests count', () => {
  expect(result.summary).toEqual({ ...expected, durationMs: 1234 });
});

test.each(
  Object.entries({
    pretty: (of: Report) => pretty(of, { paint: painter({}, {}) }),
    html,
    json,
    ktap,
    junit,
    kcidb: (of: Report) => kcidb(of, { origin: 'my_lab' }),
    lava,
    markdown,
  }),
)('%s is whole, or not', async (format, render) => {
  const plain = resultOf(checks.filter(({ name }) => !name.startsWith('hostile/')));
  const text = render(single(plain));
  await expectWhole(format, text, plain);
  // Half of it is none, nor is one of fewer checks: by that other tests tell.
  await expect(expectWhole(format, text.slice(0, text.length / 2), plain)).rejects.toThrow();
  const fewer = resultOf(plain.checks.slice(1));
  await expect(expectWhole(format, render(single(fewer)), plain)).rejects.toThrow();
});

describe('KTAP', () => {
  const text = ktap(report);

  test('is TAP on every level, with the counts of the run', () => {
    const tests = tapTests(text, 1);
    expect(tests).toHaveLength(total);
    expect(count(tests, (one) => one.skip)).toBe(expected.skip);
    expect(count(tests, (one) => one.ok && !one.skip)).toBe(expected.pass + expected.xfail);
    expect(count(tests, (one) => !one.ok)).toBe(expected.fail + expected.error);
    expect(tapTests(text, 0).map(({ ok }) => ok)).toEqual([false, false, true, false]);
    expect(text.match(/# XFAIL/g)).toHaveLength(expected.xfail);
    expect(text.match(/^ *not ok .* # TIMEOUT/gm)).toHaveLength(1);
    expect(text.match(/^ *not ok .* # ERROR/gm)).toHaveLength(2);
    expect(text).toContain('# Totals: pass:3 fail:2 xfail:2 xpass:0 skip:3 error:3\n');
    expectClean(text);
  });

  test('has a level of its own for each run of several', () => {
    expect(tapTests(ktap(two), 2)).toHaveLength(total + 20);
    expect(tapTests(ktap(two), 0).map(({ ok, name }) => [ok, name])).toMatchObject([
      [false, '6.18.44'],
      [true, '7.3.4'],
      [false, expect.stringContaining('broken')],
    ]);
  });

  const kunit = join(homedir(), '.cache/guest-memfd/source/linux-source-7.3/tools/testing/kunit');
  const missing = existsSync(join(kunit, 'kunit_parser.py')) ? undefined : 'no kernel source in the cache of the lab';
  if (missing) console.warn(`the kernel's own KTAP parser is not asked: ${missing}`);

  test.skipIf(missing)("is read by the kernel's own parser, with the same counts", () => {
    const script = `
import io, json, sys
sys.path.insert(0, sys.argv[1])
import kunit_parser
from kunit_printer import Printer
class Quiet(Printer):
    def __init__(self): super().__init__(io.StringIO())
lines = open(sys.argv[2], encoding='utf-8').read().split('\\n')
test = kunit_parser.parse_run_tests(lines, Quiet())
c = test.counts
print(json.dumps(dict(passed=c.passed, failed=c.failed, crashed=c.crashed, skipped=c.skipped, errors=c.errors)))
`;
    const folder = mkdtempSync(join(tmpdir(), 'gmem-ktap-'));
    try {
      writeFileSync(join(folder, 'x.ktap'), text);
      const out = execFileSync('python3', ['-c', script, kunit, join(folder, 'x.ktap')], { encoding: 'utf8' });
      expect(JSON.parse(out.trim().split('\n').at(-1) ?? '')).toEqual({
        passed: expected.pass + expected.xfail,
        failed: expected.fail + expected.error,
        crashed: 0,
        skipped: expected.skip,
        errors: 0,
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('JUnit', () => {
  test('is valid by the schema of Jenkins, for one run and for several', async () => {
    expect(await xmlErrors(junit(report))).toEqual([]);
    expect(await xmlErrors(junit(two))).toEqual([]);
    // The validator does find what is wrong.
    expect(await xmlErrors(junit(report).replace('<testcase', '<test-case'))).not.toEqual([]);
  });

  test('is valid by the schema of Ant, which is older than skipped tests', async () => {
    const list = checks.filter(({ status }) => status !== 'skip' && status !== 'xfail');
    const text = junit(single(resultOf(list))).replaceAll(' skipped="0"', '');
    expect(await xmlErrors(text, xsd('JUnit.xsd'))).toEqual([]);
  });

  test('has the counts of the run, and texts as they were', () => {
    const text = junit(report);
    expectClean(text);
    const parsed = new XMLParser({
      ignoreAttributes: false,
      attributeNamePrefix: '',
      isArray: (name) => name === 'testsuite' || name === 'testcase',
    }).parse(text).testsuites;
    const suites = parsed.testsuite as Record<string, unknown>[];
    const cases = suites.flatMap((suite) => suite['testcase'] as Record<string, unknown>[]);
    expect(cases).toHaveLength(total);
    for (const [element, attribute, number] of [
      ['failure', 'failures', expected.fail],
      ['error', 'errors', expected.error],
      ['skipped', 'skipped', expected.skip + expected.xfail],
    ] as const) {
      expect(count(cases, (one) => element in one)).toBe(number);
      expect(suites.reduce((sum, suite) => sum + Number(suite[attribute]), 0)).toBe(number);
    }
    expect(count(cases, (one) => JSON.stringify(one['skipped'])?.includes('known kernel bug'))).toBe(expected.xfail);
    const failures = cases.flatMap((one) => (one['failure'] ? [one['failure'] as Record<string, string>] : []));
    expect(failures[1]?.['message']).toContain('"quoted" <b>&amp; \'x\' # SKIP not a directive ]]> --> <!-- ::error');
    expect(failures[1]?.['message']).toContain('ü€😀');
    expect(failures[0]?.['#text']).toMatch(
      /ioctl\(KVM_CREATE_VM\) type=0 → 7[\s\S]*0x100001000 +4 KiB +hole|hole[\s\S]*KVM_CREATE_VM/,
    );
  });

  test('a kernel that did not run is a test in error', () => {
    expect(junit(two)).toMatch(/<testsuite name="broken\/lab"[\s\S]*<error message="it panicked"/);
  });
});

describe('JSON', () => {
  test('a run is as the published schema has it, with no property that it does not tell of', () => {
    expect(resultErrors(json(report))).toBeNull();
    expect(JSON.parse(json(report))).toEqual(JSON.parse(JSON.stringify(result)));
    expect(resultErrors(JSON.stringify({ ...result, more: 1 }))).toMatchObject([{ keyword: 'additionalProperties' }]);
  });

  test('several runs are too, with what was compared', () => {
    const compared = {
      ...two,
      comparison: compare(result, resultOf(passing(2))),
      surprises: [{ kernel: 'x', check: 'a/b', expected: 'pass', got: 'fail' } as const],
    };
    expect(reportErrors(json(compared))).toBeNull();
  });
});

describe('KCIDB', () => {
  const identity = { origin: 'my_lab' };

  test('is as its schema has it, with the counts of the run', () => {
    for (const given of [report, two]) expect(kcidbErrors(kcidb(given, identity))).toBeNull();
    const { tests, incidents, issues } = JSON.parse(kcidb(report, identity)) as Record<
      string,
      Record<string, string>[]
    >;
    const of = (status: string) => count(tests ?? [], (one) => one['status'] === status);
    expect(tests).toHaveLength(total);
    expect(of('PASS')).toBe(expected.pass);
    expect(of('FAIL')).toBe(expected.fail + expected.xfail);
    expect(of('SKIP')).toBe(expected.skip);
    expect(of('ERROR')).toBe(expected.error);
    expect(count(incidents ?? [], (one) => one['present'])).toBe(expected.xfail);
    expect(issues).toHaveLength(2);
    // Everything that is referred to is there.
    for (const { test_id, issue_id } of incidents ?? []) {
      expect(tests?.some(({ id }) => id === test_id)).toBe(true);
      expect(issues?.some(({ id }) => id === issue_id)).toBe(true);
    }
  });

  test('has the same ids when it is rendered again, others for another run, and the build that is given', () => {
    const ids = (of: string) => (JSON.parse(of).tests as { id: string }[]).map(({ id }) => id);
    expect(ids(kcidb(report, identity))).toEqual(ids(kcidb(report, identity)));
    const later = single({ ...result, startedAt: '2026-11-25T00:00:00Z' });
    expect(ids(kcidb(later, identity))).not.toContain(ids(kcidb(report, identity))[0]);
    const data = JSON.parse(kcidb(report, { origin: 'my_lab', buildId: 'maestro:1' }));
    expect(data).toMatchObject({ checkouts: [], builds: [], tests: expect.any(Array) });
    expect(data.tests[0].build_id).toBe('maestro:1');
    expect(JSON.parse(kcidb(two, identity)).tests.at(-1)).toMatchObject({ status: 'MISS' });
  });
});

describe('LAVA', () => {
  test('has a signal for each check, and its text is never taken for one', () => {
    const bad: SuiteResult = resultOf([
      ...checks,
      {
        name: 'x/y',
        title: 't',
        since: '',
        durationMs: 1,
        status: 'error',
        reason: '<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=fake RESULT=pass>',
      },
    ]);
    const text = lava(single(bad));
    const { signals, cases } = lavaSignals(text);
    const of = (outcome: string) => count(cases, (one) => one.RESULT === outcome);
    expect(cases).toHaveLength(total + 1);
    expect([of('pass'), of('fail'), of('skip'), of('unknown')]).toEqual([
      expected.pass,
      expected.fail,
      expected.skip + expected.xfail,
      expected.error + 1,
    ]);
    const sets = signals.filter(([, kind]) => kind === 'TESTSET').map(([, , words]) => words?.split(' ')[0]);
    expect(sets.join(' ')).toBe('START STOP '.repeat(5).trim());
    expectClean(text);
  });

  test('has a signal for a kernel that did not run, and says why', () => {
    const { cases } = lavaSignals(lava(two));
    expect(cases.at(-1)).toEqual({ TEST_CASE_ID: 'broken/boot', RESULT: 'unknown' });
    expect(lava(two)).toMatch(/broken: it panicked/);
  });
});

describe('GitHub', () => {
  test('annotates failures, bugs that are gone and bugs that are there, ten of each at most', () => {
    const text = github(report);
    const lines = text.trimEnd().split('\n');
    for (const line of lines) expect(line).toMatch(/^::(error|warning|notice) title=[^:,\n]*::./);
    expect(lines.map((line) => line.split(' ')[0])).toEqual([
      ...Array(expected.fail + expected.error).fill('::error'),
      '::warning',
      '::notice',
      '::notice',
    ]);
    expectClean(text);
    const many = resultOf(passing(50).map((check) => ({ ...check, status: 'fail', failure: { message: 'no' } })));
    const shown = github(single(many)).trimEnd().split('\n');
    expect(shown).toHaveLength(10);
    expect(shown[9]).toContain('41 more');
    expect(github(single(resultOf(passing(3))))).toBe('');
  });

  test('annotates what regressed and what could not run first', () => {
    const comparison = compare(resultOf(passing(2)), resultOf(failing));
    const lines = github({ ...two, comparison }).split('\n');
    expect(lines.slice(0, 2)).toEqual([
      '::error title=subject-0/property-0%3A regression::was pass, is fail',
      expect.stringMatching(/^::error title=broken could not run::it panicked%0A/),
    ]);
  });

  test('the summary is Markdown that no text of a check breaks out of', () => {
    const text = markdown(report);
    expectClean(text);
    expect(text).toMatch(/\| \*\*passed\*\* \| 3 \|/);
    expect(text).not.toMatch(/[^\\]<b>/);
    for (const line of markdown(two)
      .split('\n')
      .filter((one) => one.startsWith('|')))
      expect(line.match(/(?<!\\)\|/g), line).toHaveLength(two.columns.length + 2);
  });

  test('the summary tells in a sentence what was compared, and what was expected', () => {
    const comparing = (after: readonly CheckResult[]) =>
      markdown({ ...single(resultOf(after)), comparison: compare(resultOf(passing(2)), resultOf(after)) });
    expect(comparing(failing)).toMatch(
      /\nRegressions:\n\n- subject-0\/property-0: pass → fail\n[\s\S]*\n1 regressed\.\n$/,
    );
    expect(comparing(passing(2))).toMatch(/\nNo regression\.\n$/);
    const surprise = { kernel: '7.3.4', check: 'a/b', expected: 'pass', got: 'fail', reason: 'no\nwhy' } as const;
    expect(markdown({ ...two, surprises: [surprise] })).toMatch(
      /- 7\.3\.4, a\/b: expected pass, got fail: no\n\n1 not as expected\.\n$/,
    );
    expect(markdown({ ...two, surprises: [] })).toMatch(/\nEverything is as expected of these releases\.\n$/);
  });
});

describe('pretty', () => {
  const plain = { paint: painter({}, {}) };

  test('breaks lines where the terminal ends, and nowhere in a pipe', () => {
    const wide = (text: string) => Math.max(...text.split('\n').map((line) => line.length));
    const list = [
      { ...passing(1)[0], status: 'skip', reason: 'because '.repeat(40).trim() } as (typeof checks)[number],
    ];
    expect(wide(pretty(single(resultOf(list)), { ...plain, width: 60 }))).toBeLessThanOrEqual(60);
    expect(wide(pretty(single(resultOf(list)), plain))).toBeGreaterThan(300);
  });

  test('shows what a failure has: calls, vCPU, memory', () => {
    const text = pretty(report, plain);
    expect(text).toMatch(/0\.200 ms {2}fallocate offset=0x1000 length=1 → EINVAL \(0\.003 ms\)/);
    expect(text).toMatch(/run → had not come back|run {1,2}→ had not come back/);
    expect(text).toMatch(/0x100202000 +1 GiB {2}untouched/);
    expect(text).toMatch(/rip +0xfffff010/);
    expect(text).toContain('no verdict: it did not end in time');
    expect(text).toMatch(/one node\. Use two\n {4}because there is one\n {4}because no more were built\n/);
    expectClean(text);
  });

  test('shows several runs as a table, by numbers where names do not fit', () => {
    const table = pretty(two, plain);
    expect(table).toMatch(/^ +6\.18\.44 +7\.3\.4 +broken$/m);
    expect(table).toMatch(/^file\/fails +FAIL$/m);
    expect(table).toMatch(/Could not run\n {2}broken: it panicked\n/);
    const narrow = pretty(two, { ...plain, width: 40 });
    expect(narrow).toMatch(/ #1 {2}6\.18\.44\n/);
    expectClean(table);
  });
});
