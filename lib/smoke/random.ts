/**
 * A small generator of numbers from 0 to below 1 (mulberry32), enough for choosing steps: the same seed gives the same ones
 * on every machine.
 *
 * @param seed its low 32 bits count
 *
 * @example
 * const random = randomFrom(7);
 * const page = Math.floor(random() * pages);
 */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
