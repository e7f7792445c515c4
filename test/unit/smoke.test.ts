import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { checks } from '../../lib/smoke/catalogue.ts';
import { compareReleases, expectedBug, knownBugs } from '../../lib/smoke/known-bugs.ts';
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
