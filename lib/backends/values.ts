import type { U64 } from '../kvm/arguments.ts';
import type { PropertyRow, PropertyValue } from './properties.ts';

const u64Max = (1n << 64n) - 1n;
const suffixes = 'bkmgtpe';
/** How far a range of numbers may reach. */
const rangeSpan = 65_536n;

function narrow(value: bigint): U64 {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

/** C's strtoull with base 0: decimal, 0x or octal, with space or `+` before it; undefined where that is no number. */
function parseUnsigned(text: string): bigint | undefined {
  const match = /^[ \t\n\v\f\r]*\+?(0[xX][0-9a-fA-F]+|[0-9]+)$/.exec(text);
  const digits = match?.[1];
  if (digits === undefined) return undefined;
  const octal = /^0[0-9]/.test(digits);
  if (octal && /[89]/.test(digits)) return undefined;
  const value = BigInt(octal ? `0o${digits.slice(1)}` : digits);
  return value <= u64Max ? value : undefined;
}

/** Bytes: decimal with an optional fraction and a suffix (powers of 1024), or hexadecimal without either. */
export function parseSize(text: string): U64 | undefined {
  const match = /^[ \t\n\v\f\r]*\+?(?:(0[xX][0-9a-fA-F]+)|([0-9]+)(?:\.([0-9]*))?([bkmgtpe])?)$/i.exec(text);
  if (!match) return undefined;
  const [, hexadecimal, whole, fraction = '', suffix = 'b'] = match;
  if (hexadecimal !== undefined) {
    const value = BigInt(hexadecimal);
    return value <= u64Max ? narrow(value) : undefined;
  }
  const scale = 1n << BigInt(10 * suffixes.indexOf(suffix.toLowerCase()));
  if (scale === 1n && /[1-9]/.test(fraction)) return undefined;
  const parts = 10n ** BigInt(fraction.length);
  // Half a byte is rounded up.
  const rest = (BigInt(fraction || 0) * scale * 2n + parts) / (parts * 2n);
  const value = BigInt(whole ?? 0) * scale + rest;
  return value <= u64Max ? narrow(value) : undefined;
}

/** The shortest text of a size that is exact: 64M, 4097. */
export function formatSize(size: U64): string {
  let value = BigInt(size);
  let power = 0;
  while (value !== 0n && value % 1024n === 0n && power < 6) {
    value /= 1024n;
    power++;
  }
  return `${value}${power === 0 ? '' : (suffixes[power] ?? '').toUpperCase()}`;
}

function parseNumbers(text: string): number[] | undefined {
  const single = parseUnsigned(text);
  const [, low, high] = /^([^-]*)-(.*)$/s.exec(text) ?? [];
  const from = single ?? parseUnsigned(low ?? '');
  const to = single ?? parseUnsigned(high ?? '');
  if (from === undefined || to === undefined || from > to || to - from >= rangeSpan || to > 0xffffn) return undefined;
  return Array.from({ length: Number(to - from) + 1 }, (_, i) => Number(from) + i);
}

/** Numbers in order as ranges: 0-3, 5. */
export function formatRanges(numbers: readonly number[]): string[] {
  const ranges: [from: number, to: number][] = [];
  for (const number of [...new Set(numbers)].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last && last[1] + 1 === number) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`));
}

const booleans = new Map([
  ...['on', 'yes', 'true', 'y'].map((word) => [word, true] as const),
  ...['off', 'no', 'false', 'n'].map((word) => [word, false] as const),
]);

/** What the values of a row look like in a text, for messages and help. */
export function expected(row: PropertyRow): string {
  switch (row.kind) {
    case 'size':
      return 'bytes, with k, M, G, T, P or E for powers of 1024, or in hexadecimal without one';
    case 'bool':
      return 'on or off';
    case 'uint32':
      return 'an integer from 0 to 4294967295';
    case 'uint16s':
      return 'a number from 0 to 65535 or a range, 0-3';
    case 'enum':
      return `one of ${row.values?.join(', ')}`;
    case 'string':
      return 'a text';
  }
}

/** A value from a text; undefined where it is none. Numbers of a list come as an array. */
export function parseValue(row: PropertyRow, text: string): PropertyValue | undefined {
  switch (row.kind) {
    case 'size':
      return parseSize(text);
    case 'bool':
      return booleans.get(text);
    case 'uint32': {
      const value = parseUnsigned(text);
      return value !== undefined && value <= 0xffff_ffffn ? Number(value) : undefined;
    }
    case 'uint16s':
      return parseNumbers(text);
    case 'enum':
      return row.values?.includes(text) ? text : undefined;
    case 'string':
      return text;
  }
}

/** A JavaScript or JSON value as the row's; undefined where it is of another type or out of range. */
export function checkValue(row: PropertyRow, value: unknown): PropertyValue | undefined {
  const integer = (max: bigint): U64 | undefined => {
    if (typeof value === 'bigint') return value >= 0n && value <= max ? narrow(value) : undefined;
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && BigInt(value) <= max
      ? value
      : undefined;
  };
  switch (row.kind) {
    case 'size':
      return integer(u64Max);
    case 'uint32': {
      const number = integer(0xffff_ffffn);
      return number === undefined ? undefined : Number(number);
    }
    case 'bool':
      return typeof value === 'boolean' ? value : undefined;
    case 'uint16s': {
      if (!Array.isArray(value)) return undefined;
      const row16: PropertyRow = { ...row, kind: 'uint32' };
      const numbers = value.map((one) => checkValue(row16, one));
      return numbers.every((one): one is number => typeof one === 'number' && one <= 0xffff) ? numbers : undefined;
    }
    case 'enum':
      return typeof value === 'string' && row.values?.includes(value) ? value : undefined;
    case 'string':
      return typeof value === 'string' ? value : undefined;
  }
}

/** The words behind `key=` for a value, several for a list. */
export function formatValue(row: PropertyRow, value: PropertyValue): string[] {
  if (row.kind === 'size') return [formatSize(value as U64)];
  if (typeof value === 'boolean') return [value ? 'on' : 'off'];
  if (typeof value === 'object') return formatRanges(value);
  return [String(value)];
}
