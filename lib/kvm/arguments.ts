import { inspect, types } from 'node:util';

/** An address, a size, an offset or a mask: a safe integer, or a bigint for the whole range of u64. */
export type U64 = number | bigint;

/** A value for a message. Inspecting fails where the value itself does when it is looked at, as a detached DataView does. */
export function shown(value: unknown): string {
  try {
    return inspect(value, { depth: 2, breakLength: Number.POSITIVE_INFINITY });
  } catch {
    return Object.prototype.toString.call(value);
  }
}

/** The name of a value's class; what the value itself does when it is asked must not hide what is wrong with it. */
function classOf(value: object): string {
  try {
    const { name } = value.constructor;
    return typeof name === 'string' ? name : 'an object';
  } catch {
    return 'an object';
  }
}

/** TypeError with Node's ERR_INVALID_ARG_TYPE. */
export function typeError(name: string, expected: string, value: unknown): TypeError {
  const received = value === null || typeof value !== 'object' ? shown(value) : classOf(value);
  return Object.assign(new TypeError(`"${name}" must be ${expected}. Received ${received}`), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
}

/** RangeError with Node's ERR_OUT_OF_RANGE. */
export function rangeError(name: string, expected: string, value: unknown): RangeError {
  return Object.assign(new RangeError(`"${name}" must be ${expected}. Received ${shown(value)}`), {
    code: 'ERR_OUT_OF_RANGE',
  });
}

const u64Max = (1n << 64n) - 1n;

/**
 * Checks that a value can be represented as u64 and nothing more: what the kernel refuses, the kernel shall refuse.
 * Gives a number up to 2^53 - 1 and a bigint above, as the native side expects it.
 */
export function u64(name: string, value: unknown): U64 {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value) && value >= 0) return value;
    throw rangeError(name, 'an integer from 0 to 2^53 - 1, or a bigint from 0 to 2^64 - 1', value);
  }
  if (typeof value === 'bigint') {
    if (value < 0n || value > u64Max) throw rangeError(name, 'an integer from 0 to 2^64 - 1', value);
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
  }
  throw typeError(name, 'a number or a bigint', value);
}

/** An integer that fits in 32 bits without sign. */
export function u32(name: string, value: unknown): number {
  if (typeof value !== 'number') throw typeError(name, 'a number', value);
  if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff)
    throw rangeError(name, 'an integer from 0 to 2^32 - 1', value);
  return value;
}

/** An integer that fits in 32 bits with sign. */
export function i32(name: string, value: unknown): number {
  if (typeof value !== 'number') throw typeError(name, 'a number', value);
  if (!Number.isInteger(value) || value < -0x8000_0000 || value > 0x7fff_ffff)
    throw rangeError(name, 'an integer from -2^31 to 2^31 - 1', value);
  return value;
}

/** An object of named options. */
export function options<T extends object>(name: string, value: T): T {
  if (value === null || typeof value !== 'object') throw typeError(name, 'an object', value);
  return value;
}

/** A string; what goes to the kernel must have no NUL, which would end it there. */
export function text(name: string, value: unknown, given: { nul?: boolean } = {}): string {
  if (typeof value !== 'string') throw typeError(name, 'a string', value);
  if (given.nul === false && value.includes('\0')) throw typeError(name, 'a string without NUL', value);
  return value;
}

/** An array, whose elements are somebody else's to check. */
export function list<T extends readonly unknown[]>(name: string, value: T): T {
  if (!Array.isArray(value)) throw typeError(name, 'an array', value);
  return value;
}

/** An object of a class of this package's or of JavaScript's own. */
export function instance<T extends object>(
  name: string,
  type: { readonly prototype: T; readonly name: string },
  value: T,
): T {
  if (!(value instanceof (type as unknown as abstract new () => T))) throw typeError(name, `a ${type.name}`, value);
  return value;
}

/** A function, or undefined where none is given. */
export function callback<T>(name: string, value: T): T {
  if (value !== undefined && typeof value !== 'function') throw typeError(name, 'a function', value);
  return value;
}

/** An AbortSignal, or undefined where none is given. */
export function abortSignal(name: string, value: AbortSignal | undefined): AbortSignal | undefined {
  return value === undefined ? undefined : instance(name, AbortSignal, value);
}

/** True or false, and nothing that counts as such. */
export function flag(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw typeError(name, 'a boolean', value);
  return value;
}

/** A byte range inside something of `limit` bytes, to its end without a length; gives both as numbers. */
export function range(offset: unknown, length: unknown, limit: number): [offset: number, length: number] {
  const from = u64('offset', offset);
  if (from > limit) throw rangeError('offset', `at most ${limit}, the length of the mapping`, offset);
  const count = length === undefined ? limit - Number(from) : u64('length', length);
  if (count > limit - Number(from))
    throw rangeError('length', `at most ${limit - Number(from)}, what is left of the mapping after offset`, length);
  return [Number(from), Number(count)];
}

/**
 * Any view of bytes, as Uint8Array over the same memory. Ask it for its `length`: `byteLength` is the same and takes V8 8 ns
 * longer, for that getter is not compiled into its callers.
 */
export function bytes(name: string, value: unknown): Uint8Array {
  try {
    // Not `instanceof`: that is true of a proxy too, and of an object that has nothing but the prototype.
    if (types.isUint8Array(value)) return value;
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    if (types.isAnyArrayBuffer(value)) return new Uint8Array(value);
  } catch {
    throw typeError(name, 'bytes that are not detached', value);
  }
  throw typeError(name, 'a TypedArray, a DataView or an ArrayBuffer', value);
}

/** Milliseconds to wait: a non-negative number, Infinity for no limit (0 for the native side). */
export function timeout(name: string, value: unknown): number {
  if (typeof value !== 'number') throw typeError(name, 'a number of milliseconds', value);
  if (Number.isNaN(value) || value <= 0) throw rangeError(name, 'above 0 (Infinity for no limit)', value);
  // The native side counts nanoseconds in 64 bits: what would not fit (over 31 years here) stands for no limit as well.
  return value > 1e12 ? 0 : Math.max(value, 0.001);
}
