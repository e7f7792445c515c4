import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { bytes, flag, i32, range, timeout, u32, u64 } from '../../lib/kvm/arguments.ts';

const type = expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE', name: 'TypeError' });
const outOfRange = expect.objectContaining({ code: 'ERR_OUT_OF_RANGE', name: 'RangeError' });
const noNumbers = [undefined, null, '1', true, {}, [], Symbol('x'), () => 1, new Date()];

describe('arguments', () => {
  test('u64 takes what can be represented and gives what the addon expects', () => {
    expect([0, 4096, 2 ** 53 - 1, 0n, 5n].map((value) => u64('x', value))).toEqual([0, 4096, 2 ** 53 - 1, 0, 5]);
    expect(u64('x', 1n << 63n)).toBe(1n << 63n);
    expect(u64('x', (1n << 64n) - 1n)).toBe((1n << 64n) - 1n);
    for (const bad of [-1, 0.5, Number.NaN, Infinity, 2 ** 53, -1n, 1n << 64n])
      expect(() => u64('x', bad)).toThrow(outOfRange);
    for (const bad of noNumbers) expect(() => u64('x', bad)).toThrow(type);
  });

  test('u32 and i32 never wrap', () => {
    expect([u32('x', 0), u32('x', 2 ** 32 - 1), i32('x', -(2 ** 31)), i32('x', 2 ** 31 - 1)]).toEqual([
      0,
      2 ** 32 - 1,
      -(2 ** 31),
      2 ** 31 - 1,
    ]);
    for (const bad of [-1, 2 ** 32, 1.5, Number.NaN]) expect(() => u32('x', bad)).toThrow(outOfRange);
    for (const bad of [-(2 ** 31) - 1, 2 ** 31, 1.5]) expect(() => i32('x', bad)).toThrow(outOfRange);
    for (const bad of [...noNumbers, 1n]) expect(() => u32('x', bad)).toThrow(type);
  });

  test('range stays inside', () => {
    expect(range(0, 10, 10)).toEqual([0, 10]);
    expect(range(10n, 0, 10)).toEqual([10, 0]);
    for (const [offset, length] of [
      [11, 0],
      [0, 11],
      [5, 6],
      [(1n << 64n) - 1n, 1],
      [1, (1n << 64n) - 1n],
    ] as const)
      expect(() => range(offset, length, 10)).toThrow(outOfRange);
  });

  test('bytes takes every kind of view over its own part', () => {
    const buffer = new ArrayBuffer(16);
    expect(bytes('x', new Uint16Array(buffer, 2, 3))).toMatchObject({ byteOffset: 2, byteLength: 6 });
    expect(bytes('x', new DataView(buffer, 4))).toMatchObject({ byteOffset: 4, byteLength: 12 });
    expect(bytes('x', new SharedArrayBuffer(3)).byteLength).toBe(3);
    for (const bad of [1, 'abc', null, [1, 2]]) expect(() => bytes('x', bad)).toThrow(type);
  });

  test('bytes takes those of another realm', () => {
    const [array, buffer] = runInNewContext('[new Uint16Array([1, 2]), new ArrayBuffer(3)]');
    expect([array instanceof Uint16Array, buffer instanceof ArrayBuffer]).toEqual([false, false]);
    expect([bytes('x', array).byteLength, bytes('x', buffer).byteLength]).toEqual([4, 3]);
  });

  test('range without a length is the rest', () => {
    expect([range(3, undefined, 10), range(10n, undefined, 10)]).toEqual([
      [3, 7],
      [10, 0],
    ]);
    expect(() => range(11, undefined, 10)).toThrow(outOfRange);
    expect(() => range(Symbol('x'), undefined, 10)).toThrow(type);
  });

  test('flag takes nothing but true and false', () => {
    expect([flag('x', true), flag('x', false)]).toEqual([true, false]);
    for (const bad of [undefined, null, 0, 1, '', 'true', {}]) expect(() => flag('x', bad)).toThrow(type);
  });

  test('timeouts are positive, and Infinity is none', () => {
    expect([timeout('t', 5), timeout('t', Infinity), timeout('t', 1e13), timeout('t', 1e-9)]).toEqual([5, 0, 0, 0.001]);
    for (const bad of [0, -1, Number.NaN]) expect(() => timeout('t', bad)).toThrow(outOfRange);
    expect(() => timeout('t', '5')).toThrow(type);
  });

  test('messages name argument and value', () => {
    expect(() => u64('size', -1)).toThrow(
      '"size" must be an integer from 0 to 2^53 - 1, or a bigint from 0 to 2^64 - 1. Received -1',
    );
    expect(() => u64('size', new Map())).toThrow('"size" must be a number or a bigint. Received Map');
  });
});
