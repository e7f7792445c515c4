import { expect } from 'vitest';
import type { KvmError, MemoryAccessError } from '../../lib/kvm/errors.ts';

/** What a call throws, to be looked at from several sides. */
export function thrown(call: () => unknown): KvmError & MemoryAccessError {
  try {
    call();
  } catch (error) {
    return error as KvmError & MemoryAccessError;
  }
  throw new Error('nothing was thrown');
}

export const wrongType = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
export const outOfRange = expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });

export const noNumbers: readonly unknown[] = [null, '1', 'x', true, {}, [], Symbol('x'), () => 1];

/** Values that must be refused, by the kind of argument: a value of no number at all, and numbers that do not fit. */
export const bad = {
  u64: {
    type: noNumbers,
    range: [-1, -1n, 0.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 2 ** 53, 2 ** 64, 1n << 64n],
  },
  u32: { type: [...noNumbers, 1n], range: [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32, 2 ** 53, 2 ** 64] },
  i32: { type: [...noNumbers, 1n], range: [-(2 ** 31) - 1, 2 ** 31, 0.5, Number.NaN, 2 ** 53, 2 ** 64] },
  byte: { type: [...noNumbers, 1n], range: [-1, 256, 0.5, Number.NaN, 2 ** 32] },
  u64Bigint: { type: [...noNumbers, 1, -1, Number.NaN], range: [-1n, 1n << 64n] },
  flag: { type: [null, 0, 1, 'yes', {}], range: [] },
  bytes: { type: [null, undefined, 1, 'abc', [1, 2], {}, Symbol('x')], range: [] },
  timeout: { type: [...noNumbers, 1n], range: [0, -1, Number.NaN, Number.NEGATIVE_INFINITY] },
  options: { type: [null, 'x', 5, 5n, true, Symbol('x')], range: [] },
} as const satisfies Record<string, { type: readonly unknown[]; range: readonly unknown[] }>;

export type Kind = keyof typeof bad;

/** Calls with every bad value of a kind, and demands the error that Node gives for such a one. */
export function refuses(kind: Kind, name: string, call: (value: never) => unknown): void {
  for (const [values, error] of [
    [bad[kind].type, wrongType],
    [bad[kind].range, outOfRange],
  ] as const)
    for (const value of values) expect(() => call(value as never), `${name}: ${String(value)}`).toThrow(error);
}
