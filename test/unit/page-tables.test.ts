import { describe, expect, test } from 'vitest';
import { IdentityPageTables } from '../../lib/guest/page-tables.ts';
import type { Mapping } from '../../lib/kvm/mapping.ts';
import { outOfRange } from '../helpers/thrown.ts';

const base = 0x10_0000n; // where the guest sees the memory
const gib = 1n << 30n;

/** Tables in memory that needs no KVM, and the processor's walk through them. */
function tables(pages: number) {
  const memory = new Uint8Array(256 * 4096);
  const written: [from: number, to: number][] = [];
  const mapping = {
    write(offset: bigint, from: NodeJS.ArrayBufferView) {
      written.push([Number(offset), Number(offset) + from.byteLength]);
      memory.set(new Uint8Array(from.buffer, from.byteOffset, from.byteLength), Number(offset));
    },
  } as unknown as Mapping;
  const from = 0x8000n;
  const to = from + BigInt(pages) * 4096n;
  const view = new DataView(memory.buffer);
  const made = new IdentityPageTables(mapping, base, from, to);
  const entry = (table: bigint, index: bigint) => view.getBigUint64(Number(table - base + index * 8n), true);
  function translate(address: bigint): bigint | undefined {
    let at = made.root;
    for (const shift of [39n, 30n, 21n]) {
      const found = entry(at, (address >> shift) & 511n);
      if ((found & 7n) !== 7n) return undefined; // present, writable, for user mode
      if (found & 0x80n) return (found & 0xf_ffff_ffe0_0000n) | (address & 0x1f_ffffn);
      at = found & 0xf_ffff_ffff_f000n;
    }
    return undefined;
  }
  return { made, translate, written, from: Number(from), to: Number(to) };
}

describe('identity page tables', () => {
  test('map every address of a GiB that was asked for to itself, and no other', () => {
    const { made, translate } = tables(80);
    made.ensure(4n * gib + 5n, 1n);
    for (const address of [4n * gib, 4n * gib + 0x12_3456n, 5n * gib - 1n]) expect(translate(address)).toBe(address);
    expect(translate(4n * gib - 1n)).toBeUndefined();
    expect(translate(5n * gib)).toBeUndefined();
    expect(made.root).toBe(base + 0x8000n);
  });

  test('map both sides of an edge, each GiB once, and nothing for nothing', () => {
    const { made, translate, written } = tables(80);
    made.ensure(0n, 0n);
    expect(written).toEqual([]);
    made.ensure(gib - 1n, 2n);
    expect([translate(gib - 1n), translate(gib)]).toEqual([gib - 1n, gib]);
    const before = written.length;
    made.ensure(0n, 2n * gib);
    expect(written.length).toBe(before);
    made.ensure(0n, 2n * gib + 1n);
    expect(translate(2n * gib)).toBe(2n * gib);
  });

  test('end at 64 GiB, and do not begin beyond', () => {
    const { made, translate } = tables(80);
    made.ensure(63n * gib, gib);
    expect(translate(64n * gib - 1n)).toBe(64n * gib - 1n);
    for (const [gpa, length] of [
      [64n * gib, 1n],
      [64n * gib - 1n, 2n],
      [(1n << 64n) - 1n, 1n],
      [1n << 52n, 1n << 60n],
    ] as const)
      expect(() => made.ensure(gpa, length)).toThrow(outOfRange);
    expect(translate(64n * gib)).toBeUndefined();
  });

  test('stay inside the memory that is theirs, and go on working when it is used up', () => {
    const { made, translate, written, from, to } = tables(4); // root, pointers, two directories
    made.ensure(0n, 1n);
    made.ensure(7n * gib, 1n);
    for (let again = 0; again < 2; again++) expect(() => made.ensure(9n * gib, 1n)).toThrow(outOfRange);
    made.ensure(7n * gib + 5n, 1n);
    expect([translate(1n), translate(7n * gib), translate(9n * gib)]).toEqual([1n, 7n * gib, undefined]);
    for (const [begin, end] of written) {
      expect(begin).toBeGreaterThanOrEqual(from);
      expect(end).toBeLessThanOrEqual(to);
    }
  });
});
