import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { json } from '../../lib/reporters/json.ts';
import { pretty } from '../../lib/reporters/pretty.ts';
import { single } from '../../lib/reporters/report.ts';
import { painter } from '../../lib/reporters/style.ts';
import { checks } from '../../lib/smoke/catalogue.ts';
import { compareReleases, expectedBug, knownBugs } from '../../lib/smoke/known-bugs.ts';
import { type CheckResult, type SuiteResult, summarise } from '../../lib/smoke/model.ts';
import { selectChecks } from '../../lib/smoke/select.ts';

describe('the catalogue', () => {
  test('has at least 120 checks with names of their own', () => {
    const names = checks.map((check) => check.name);
    expect(names.length).toBeGreaterThanOrEqual(120);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[a-z-]+\/[a-z0-9-]+$/);
  });

  test('has a check for each selftest, and the documentation names it', () => {
    const rows = readFileSync('docs/checks.md', 'utf8').matchAll(/^\| ([A-Z]\d+) +\|.*\| (`.+?`) +\|$/gm);
    const documented = Object.fromEntries(
      [...rows].map(([, id, names]) => [id, names?.replaceAll('`', '').split(', ')]),
    );
    const range = (letter: string, count: number) => Array.from({ length: count }, (_, i) => `${letter}${i + 1}`);
    const ids = [
      ...range('G', 17),
      ...range('M', 4),
      ...range('P', 5),
      ...range('K', 2),
      ...range('F', 3),
      ...range('V', 1),
      ...range('C', 9),
    ];
    const actual = Object.fromEntries(
      ids.map((id) => [id, checks.filter((check) => check.upstream?.includes(id)).map((check) => check.name)]),
    );
    for (const id of ids) expect(actual[id], id).not.toEqual([]);
    // npm run docs:checks writes the tables.
    expect(documented).toEqual(actual);
    const known = new Set(ids);
    for (const check of checks) for (const id of check.upstream ?? []) expect(known, check.name).toContain(id);
  });

  test('has a row of the documentation for each refusal and each stress check', () => {
    const text = readFileSync('docs/checks.md', 'utf8');
    for (const { name, title, stress } of checks)
      if (name.startsWith('errno/') || stress) expect(text).toContain(`| \`${name}\` | ${title} |`);
  });

  test('says of each check what it asserts, in a sentence of its own', () => {
    const titles = checks.map(({ title }) => title);
    expect(new Set(titles).size).toBe(titles.length);
    for (const { title, since } of checks) {
      expect(title).toMatch(/^.{15,}[^.]$/);
      expect(since).toMatch(/^\d+\.\d+$/);
    }
  });

  test('knows every bug that a check names', () => {
    const ids = knownBugs.map((bug) => bug.id);
    for (const check of checks) for (const id of check.knownBugs ?? []) expect(ids).toContain(id);
  });
});

describe('known bugs', () => {
  test('are expected from their first release until one that is fixed', () => {
    expect(expectedBug(['B4'], '6.18.44-cloud-amd64')?.id).toBe('B4');
    expect(expectedBug(['B4'], '6.8.0')?.id).toBe('B4');
    expect(expectedBug(['B4'], '6.7.9')).toBeUndefined();
    expect(expectedBug(['B4'], '7.3.4')).toBeUndefined();
    expect(expectedBug(undefined, '6.18.44')).toBeUndefined();
    expect(expectedBug(['B5'], '6.18.44')).toBeUndefined();
  });

  test('compare releases by number', () => {
    expect(compareReleases('6.9', '6.18.1')).toBeLessThan(0);
    expect(compareReleases('7.0-rc1', '6.19')).toBeGreaterThan(0);
    expect(compareReleases('6.18.44-fc', '6.18')).toBe(0);
  });
});

describe('selecting', () => {
  const names = (...patterns: string[]) => selectChecks(checks, patterns).selected.map((check) => check.name);

  test('goes by part of a name, glob and upstream id', () => {
    expect(names('guest/')).toEqual(checks.map((c) => c.name).filter((name) => name.includes('guest/')));
    expect(names('file/*-punch')).toEqual(['file/invalid-punch']);
    expect(names('g16')).toEqual(['binding/offset-overflow', 'binding/far-offset']);
    expect(names('G5', 'file/stat')).toEqual(['file/stat', 'host-mapping/read-write-punch']);
    expect(names()).toHaveLength(checks.length);
  });

  test('tells patterns that match nothing', () => {
    expect(selectChecks(checks, ['G99', 'stat', '(['])).toMatchObject({ unmatched: ['G99', '(['] });
  });
});

const base = { title: 'It holds', durationMs: 1.25, since: '6.8' };
const results: CheckResult[] = [
  { ...base, name: 'a/passes', status: 'pass', notes: ['a note'], upstream: ['G1'] },
  {
    ...base,
    name: 'a/fails',
    status: 'fail',
    failure: { message: 'it did not', expected: '0x1', got: '0x2', configuration: 'VM type 0' },
  },
  {
    ...base,
    name: 'b/is-known',
    status: 'xfail',
    failure: { message: 'accepted' },
    knownBug: { id: 'B4', title: 'overflow', fixedBy: 'eba85fee7fc6' },
  },
  {
    ...base,
    name: 'b/is-fixed',
    status: 'pass',
    unexpectedPass: true,
    knownBug: { id: 'B4', title: 'overflow', fixedBy: 'eba85fee7fc6' },
  },
  { ...base, name: 'b/skipped', status: 'skip', reason: 'one node', remedy: 'Use two' },
  { ...base, name: 'b/skipped-too', status: 'skip', reason: 'one node', remedy: 'Use two' },
  { ...base, name: 'b/broke', status: 'error', reason: 'line one\nline two' },
];
const suite: SuiteResult = {
  schemaVersion: 2,
  tool: { name: 'guest-memfd', version: '0' },
  startedAt: '2026-11-24T00:00:00Z',
  host: {
    kernelRelease: '6.18.44',
    kernelVersion: '#1',
    architecture: 'x64',
    cpu: 'CPU',
    cpus: 1,
    memoryBytes: 1,
    pageSize: 4096,
    numaNodes: 1,
    nodeVersion: 'v20',
    capabilities: {},
    vmTypes: [0],
  },
  summary: summarise(results, 1234),
  checks: results,
};

describe('reporters', () => {
  test('counts', () => {
    expect(suite.summary).toEqual({ pass: 2, fail: 1, xfail: 1, skip: 2, error: 1, durationMs: 1234 });
  });

  test('pretty shows failures in full, skips by cause, and known bugs', () => {
    const text = pretty(single(suite), { paint: painter({}, {}) });
    expect(text).toContain('FAIL   fails 1.3 ms');
    expect(text).toMatch(/expected: 0x1\n\s+got: {6}0x2\n\s+with: {5}VM type 0/);
    expect(text).toContain('known kernel bug B4: overflow; fixed by commit eba85fee7fc6');
    expect(text).toContain('fixed by a backport of eba85fee7fc6?');
    expect(text).toContain('  one node. Use two\n    b/skipped, b/skipped-too\n');
    expect(text).toMatch(/line one\n\s+line two/);
    expect(text.endsWith('7 checks: 2 pass, 1 fail, 1 xfail, 2 skip, 1 error in 1.23 s\n')).toBe(true);
    expect(text).not.toContain('\x1b');
  });

  test('colours are for terminals, and as the environment wants', () => {
    const coloured = (stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv) => painter(stream, env)('red', 'x') !== 'x';
    expect(coloured({ isTTY: true }, {})).toBe(true);
    expect(coloured({}, {})).toBe(false);
    expect(coloured({ isTTY: true }, { NO_COLOR: '1' })).toBe(false);
    expect(coloured({ isTTY: true }, { TERM: 'dumb' })).toBe(false);
    expect(coloured({}, { FORCE_COLOR: '1' })).toBe(true);
    expect(coloured({ isTTY: true }, { FORCE_COLOR: '0' })).toBe(false);
  });

  test('json is the model itself', () => {
    expect(JSON.parse(json(single(suite)))).toEqual(suite);
  });
});
