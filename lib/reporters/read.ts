import { readFileSync } from 'node:fs';
import { type Schema, Validator } from '@cfworker/json-schema';
import { type SuiteResult, summarise } from '../smoke/model.ts';
import type { Column } from './report.ts';

/** A text that is no result. The message tells what is wrong with it, and does not begin with a capital. */
export class ResultError extends Error {}

/** Versions that are understood; {@link SuiteResult} is the last of them. */
const versions = [1, 2];

function load(name: string): Schema {
  return JSON.parse(readFileSync(new URL(`../../schema/${name}.schema.json`, import.meta.url), 'utf8')) as Schema;
}

const loaded = new Map<string, Validator>();

function validator(name: 'result' | 'report'): Validator {
  let found = loaded.get(name);
  if (!found) {
    found = new Validator(load(name), '2020-12');
    if (name === 'report') found.addSchema(load('result'));
    loaded.set(name, found);
  }
  return found;
}

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function parse(text: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (text.trim() === '') throw new ResultError('it is empty');
    throw new ResultError(`it is not JSON: ${(error as Error).message}`);
  }
  if (!isObject(value)) throw new ResultError('it is JSON, but not an object');
  if ('features' in value) throw new ResultError('it is a report of gmem probe; results come from gmem smoke');
  if (!('schemaVersion' in value)) throw new ResultError('it has no schemaVersion, so it is no result of gmem smoke');
  const { schemaVersion } = value;
  if (typeof schemaVersion === 'number' && schemaVersion > Math.max(...versions))
    throw new ResultError(
      `its schema version is ${schemaVersion}, and this gmem reads ${versions.join(' and ')}: it needs a later gmem`,
    );
  if (!versions.includes(schemaVersion as number))
    throw new ResultError(`its schemaVersion is ${JSON.stringify(schemaVersion)}, not ${versions.join(' or ')}`);
  return value;
}

/** Version 1 lacks what later properties hold; nothing of it has another meaning. */
const upgrade = (value: Json): Json => ({ ...value, schemaVersion: 2 });

/** These only tell that something below is wrong. */
const containers = ['properties', 'items', '$ref', 'additionalProperties'];

function check(name: 'result' | 'report', value: Json): void {
  const { valid, errors } = validator(name).validate(value);
  if (valid) return;
  const worst = errors.find(({ keyword }) => !containers.includes(keyword)) ?? errors[0];
  const at = worst?.instanceLocation.replace(/^#\/?/, '').replaceAll('/', '.');
  throw new ResultError(`${at ? `at ${at}` : 'at the top'}: ${worst?.error.replace(/\.$/, '')}`);
}

function checkCounts(result: SuiteResult): SuiteResult {
  const counted = summarise(result.checks, 0);
  for (const status of ['pass', 'fail', 'xfail', 'skip', 'error'] as const)
    if (counted[status] !== result.summary[status])
      throw new ResultError(`its summary has ${result.summary[status]} ${status}, its checks ${counted[status]}`);
  return result;
}

function resultOf(value: Json): SuiteResult {
  const result = upgrade(value);
  check('result', result);
  return checkCounts(result as unknown as SuiteResult);
}

/**
 * The result in a text that `--reporter json` has written, of this version or an older one.
 *
 * @throws {ResultError} that says what is wrong with it
 *
 * @example
 * readResult(readFileSync('result.json', 'utf8')).summary.fail; // 0
 */
export function readResult(text: string): SuiteResult {
  return resultOf(parse(text));
}

/**
 * The runs in a text that `--reporter json` of any command has written: one, or the columns of a matrix.
 *
 * @throws {ResultError} that says what is wrong with it
 */
export function readColumns(text: string): Column[] {
  const value = parse(text);
  const { columns } = value;
  if (!Array.isArray(columns)) {
    const result = resultOf(value);
    return [{ kernel: { name: result.host.kernelRelease }, result }];
  }
  const upgraded = columns.map((column) =>
    isObject(column) && isObject(column['result']) ? { ...column, result: upgrade(column['result']) } : column,
  );
  check('report', { ...upgrade(value), columns: upgraded });
  for (const { result } of upgraded as Column[]) if (result) checkCounts(result);
  return upgraded as Column[];
}
