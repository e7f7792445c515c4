import { options as checkOptions, text as checkText } from '../kvm/arguments.ts';
import { BackendError } from './error.ts';
import { type Json, JsonSyntaxError, parseJson } from './json.ts';
import { type ObjectOptions, type PropertyRow, type PropertyValue, propertiesOf, propertyOf } from './properties.ts';
import { type ObjectType, objectTypes } from './types.ts';
import { checkObjectOptions, requireType } from './validate.ts';
import { checkValue, expected, formatValue, parseValue } from './values.ts';

/** One `key=value` of a text. */
interface Pair {
  readonly key: string;
  readonly value: string;
  /** Written without `=`: `share` for share=on, `noshare` for share=off. */
  readonly short: boolean;
}

/** Splits `TYPE,key=value,…` at commas that are not doubled. The first word may stand without its key. */
export function splitPairs(text: string): Pair[] {
  const pairs: Pair[] = [];
  for (let at = 0; at < text.length; ) {
    const keyLength = text.slice(at).search(/[=,]|$/);
    const bare = text[at + keyLength] !== '=';
    const named = !bare || pairs.length > 0;
    const key = named ? text.slice(at, at + keyLength) : 'qom-type';
    if (bare && named) {
      const off = key.startsWith('no');
      pairs.push({ key: off ? key.slice(2) : key, value: off ? 'off' : 'on', short: true });
      at += keyLength + 1;
      continue;
    }
    if (!bare) at += keyLength + 1;
    // A value goes on over doubled commas.
    const [value = ''] = /^(?:[^,]|,,)*/.exec(text.slice(at)) ?? [];
    pairs.push({ key, value: value.replaceAll(',,', ','), short: false });
    at += value.length + 1;
  }
  return pairs;
}

function rowOf(type: ObjectType, key: string, value: unknown): PropertyRow {
  const row = propertyOf(type, key);
  if (row) return row;
  const owners = objectTypes.map(({ name }) => name).filter((name) => propertyOf(name, key));
  throw new BackendError(`${type} has no such property`, {
    property: key,
    value,
    remedy:
      owners.length > 0
        ? `Leave it out, or use ${owners.join(' or ')}`
        : `gmem backend help ${type} lists those that there are`,
  });
}

function wrongValue(row: PropertyRow, value: unknown): BackendError {
  return new BackendError(`this is not ${expected(row)}`, { property: row.name, value });
}

function fromText(text: string): Record<string, unknown> {
  const pairs = splitPairs(text);
  // As QEMU has it: the first id counts, of everything else the last.
  const id = pairs.find(({ key }) => key === 'id')?.value;
  const type = requireType(pairs.findLast(({ key }) => key === 'qom-type')?.value);
  const options: Record<string, unknown> = { 'qom-type': type, ...(id === undefined ? {} : { id }) };
  for (const { key, value } of pairs) {
    if (key === 'id' || key === 'qom-type') continue;
    const row = rowOf(type, key, value);
    const parsed = parseValue(row, value);
    if (parsed === undefined) throw wrongValue(row, value);
    const before = options[row.name];
    options[row.name] = Array.isArray(parsed) && Array.isArray(before) ? [...before, ...parsed] : parsed;
  }
  return options;
}

function plain(value: Json): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, one]) => [key, plain(one)]));
  // A float, even one without a fraction, is no integer in JSON as QEMU reads it.
  return typeof value === 'number' ? `the float ${value}` : value;
}

function fromJson(text: string): Record<string, unknown> {
  let json: Json;
  try {
    json = parseJson(text);
  } catch (error) {
    if (error instanceof JsonSyntaxError) throw new BackendError(`not JSON: ${error.message}`);
    throw error;
  }
  if (!(json instanceof Map)) throw new BackendError('not a JSON object');
  const name = json.get('qom-type');
  const type = requireType(name === undefined ? undefined : plain(name));
  const options: Record<string, unknown> = {};
  for (const [key, value] of json) {
    if (key === 'qom-type' || key === 'id') {
      options[key] = plain(value);
      continue;
    }
    const row = rowOf(type, key, plain(value));
    const checked = checkValue(row, plain(value));
    if (checked === undefined) throw wrongJson(row, plain(value));
    options[row.name] = checked;
  }
  return options;
}

const jsonTypes = {
  size: 'an integer of bytes, without suffix or quotes',
  bool: 'true or false',
  uint32: 'an integer from 0 to 4294967295',
  uint16s: 'an array of integers from 0 to 65535',
  string: 'a string',
} as const;

function wrongJson(row: PropertyRow, value: unknown): BackendError {
  const what = row.kind === 'enum' ? expected(row) : jsonTypes[row.kind];
  return new BackendError(`in JSON this must be ${what}`, { property: row.name, value });
}

/**
 * Reads what QEMU takes after `-object`: `TYPE,id=ID,key=value,…` (a comma in a value is doubled) or a JSON object.
 *
 * @throws {BackendError} for the first thing that is wrong: syntax, an unknown type or property, a value that is none, or
 *   values that exclude each other
 *
 * @example
 * parseObjectOption('memory-backend-ram,id=ram0,size=64M,host-nodes=0-1,policy=bind');
 * // { 'qom-type': 'memory-backend-ram', id: 'ram0', size: 67108864, 'host-nodes': [0, 1], policy: 'bind' }
 */
export function parseObjectOption(text: string): ObjectOptions {
  if (checkText('text', text).includes('\0')) throw new BackendError('the text has a NUL character in it');
  return checkObjectOptions(text.startsWith('{') ? fromJson(text) : fromText(text));
}

/**
 * Writes an object as `-object` takes it; {@link parseObjectOption} gives the same object back.
 *
 * @param given.json as a JSON object instead of `key=value`
 */
export function formatObjectOption(options: ObjectOptions, given: { json?: boolean } = {}): string {
  checkOptions('options', given);
  const checked = checkObjectOptions(options);
  const type = checked['qom-type'];
  const values = propertiesOf(type).flatMap((row) => {
    const value = checked[row.name as keyof ObjectOptions] as PropertyValue | undefined;
    return value === undefined ? [] : [{ row, value }];
  });
  if (given.json) {
    const members = [
      ['qom-type', type],
      ['id', checked.id],
      ...values.map(({ row, value }) => [row.name, value] as const),
    ] as const;
    const text = (value: PropertyValue) => (typeof value === 'bigint' ? String(value) : JSON.stringify(value));
    return `{${members.map(([key, value]) => `${JSON.stringify(key)}:${text(value)}`).join(',')}}`;
  }
  const pairs = values.flatMap(({ row, value }) =>
    formatValue(row, value).map((word) => `${row.name}=${word.replaceAll(',', ',,')}`),
  );
  return [type, `id=${checked.id}`, ...pairs].join(',');
}
