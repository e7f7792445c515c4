import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { SuiteResult } from '../../lib/smoke/model.ts';
import { expectWhole } from '../helpers/formats.ts';

/** The names in killed.mjs, which only a machine with KVM can run. */
const formats = JSON.parse(
  /const formats = (\[.*\]);/.exec(readFileSync('test/host/killed.mjs', 'utf8'))?.[1]?.replaceAll("'", '"') ?? '[]',
) as string[];
export const killedChecks = [
  'smoke killed at any time leaves nothing',
  'backends killed at any time leave nothing',
  ...formats.map((format) => `Ctrl-C leaves a whole report on standard output as ${format}`),
  'Ctrl-C leaves whole reports in all files',
].map((title) => ({ name: `killed/${title.replaceAll(' ', '-')}`, title, since: '6.18' }));

/** What came of killed.mjs: nothing was left, and every report of an interrupted run is whole. */
export async function expectNothingLeft({ checks }: SuiteResult): Promise<void> {
  expect(checks.map(({ name, status, failure, reason }) => ({ name, status, failure, reason }))).toEqual(
    killedChecks.map(({ name }) => ({ name, status: 'pass' })),
  );
  const notes = checks.flatMap(({ notes = [] }) => notes);
  for (const note of notes.slice(0, 2)) console.log(note);
  const reports = notes.slice(2).map((note) => JSON.parse(note) as { format: string; result: string; text: string });
  expect(reports.map(({ format }) => format)).toEqual([...formats, ...formats]);
  for (const { format, result, text } of reports) {
    const interrupted = JSON.parse(result) as SuiteResult;
    expect(interrupted.interrupted).toBe(true);
    expect(interrupted.summary.pass, format).toBeGreaterThanOrEqual(2);
    expect(interrupted.summary.skip, format).toBeGreaterThan(0);
    await expectWhole(format, text, interrupted);
  }
}
