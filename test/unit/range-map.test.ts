import { describe, expect, test } from 'vitest';
import { RangeMap } from '../../lib/kvm/range-map.ts';

/** mulberry32, so that a failure can be had again. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

describe('RangeMap', () => {
  test('is what an array of single values is, and as short as can be', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const below = random(seed);
      const map = new RangeMap('a');
      const model: string[] = Array(64).fill('a');
      for (let step = 0; step < 150; step++) {
        const start = below(64);
        const end = start + below(65 - start);
        const value = 'abc'[below(3)] as string;
        map.set(start, end, value);
        model.fill(value, start, end);
        const ranges = [...map.ranges(0, 64)];
        const seen = ranges.flatMap((range) => Array(range.end - range.start).fill(range.value));
        expect(seen, `seed ${seed}, step ${step}`).toEqual(model);
        for (const [i, range] of ranges.entries()) {
          expect(range.end).toBeGreaterThan(range.start);
          if (i > 0) expect(range.value).not.toBe(ranges[i - 1]?.value);
        }
        const at = below(64);
        expect(map.get(at)).toBe(model[at]);
        const from = below(64);
        const to = from + below(65 - from);
        const part = [...map.ranges(from, to)].flatMap((range) => Array(range.end - range.start).fill(range.value));
        expect(part).toEqual(model.slice(from, to));
      }
    }
  });

  test('costs by stretches and not by what they cover', () => {
    const map = new RangeMap(0);
    map.set(2 ** 32, 2 ** 32 + 2 ** 40, 8);
    expect(map.size).toBe(1);
    map.set(2 ** 39, 2 ** 39 + 4096, 0);
    expect([...map.ranges(0, 2 ** 41)]).toEqual([
      { start: 0, end: 2 ** 32, value: 0 },
      { start: 2 ** 32, end: 2 ** 39, value: 8 },
      { start: 2 ** 39, end: 2 ** 39 + 4096, value: 0 },
      { start: 2 ** 39 + 4096, end: 2 ** 32 + 2 ** 40, value: 8 },
      { start: 2 ** 32 + 2 ** 40, end: 2 ** 41, value: 0 },
    ]);
    map.set(0, 2 ** 41, 0);
    expect(map.size).toBe(0);
  });

  test('keeps nothing beyond exact numbers', () => {
    const map = new RangeMap(0);
    map.set(2 ** 60, 2 ** 60 + 4096, 8);
    expect(map.size).toBe(0);
    map.set(2 ** 52, 2 ** 64, 8);
    expect([...map.ranges(2 ** 52, 2 ** 52 + 1)]).toEqual([{ start: 2 ** 52, end: 2 ** 52 + 1, value: 8 }]);
    map.set(5, 5, 8);
    expect(map.get(5)).toBe(0);
  });
});
