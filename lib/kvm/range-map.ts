/** A stretch of addresses with one value; `end` is the first address behind it. */
export interface Range<T> {
  readonly start: number;
  readonly end: number;
  readonly value: T;
}

/** The highest end of a range: numbers are exact up to here, and no memslot can lie above. */
const limit = Number.MAX_SAFE_INTEGER;

/**
 * A value for every address, kept as stretches of equal value: what it costs grows with their number and not with how much
 * they cover. Ranges are half-open and values are compared with `===`.
 *
 * @example
 * const map = new RangeMap('shared');
 * map.set(0, 2 ** 40, 'private');
 * [...map.ranges(0, 2 ** 41)].length; // 2
 */
export class RangeMap<T> {
  readonly #initial: T;
  /** Those that differ from the initial value, in order, none touching another of the same value. */
  readonly #ranges: Range<T>[] = [];

  constructor(initial: T) {
    this.#initial = initial;
  }

  /** How many stretches differ from the initial value. */
  get size(): number {
    return this.#ranges.length;
  }

  /** The index of the first range that ends behind an address. */
  #indexOf(address: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle] as Range<T>).end > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** The value at an address. */
  get(address: number): T {
    const range = this.#ranges[this.#indexOf(address)];
    return range && range.start <= address ? range.value : this.#initial;
  }

  /** Gives a stretch a value; one that is empty changes nothing. */
  set(start: number, end: number, value: T): void {
    if (start >= Math.min(end, limit)) return;
    let from = start;
    let to = Math.min(end, limit);
    const highest = this.#ranges.at(-1);
    // What a list in order does again and again.
    if (!highest || highest.end < start) {
      if (value !== this.#initial) this.#ranges.push({ start, end: to, value });
      return;
    }
    const first = this.#indexOf(start - 1);
    let last = first;
    const pieces: Range<T>[] = [];
    const behind: Range<T>[] = [];
    for (; last < this.#ranges.length; last++) {
      const range = this.#ranges[last] as Range<T>;
      if (range.start > to) break;
      if (range.value === value) {
        from = Math.min(from, range.start);
        to = Math.max(to, range.end);
        continue;
      }
      if (range.start < start) pieces.push({ ...range, end: Math.min(range.end, start) });
      if (range.end > end) behind.push({ ...range, start: Math.max(range.start, end) });
    }
    if (value !== this.#initial) pieces.push({ start: from, end: to, value });
    this.#ranges.splice(first, last - first, ...pieces, ...behind);
  }

  /** The stretches that make up a range, in order and without a gap. */
  *ranges(start: number, end: number): Generator<Range<T>> {
    let at = start;
    for (let i = this.#indexOf(start); at < end; i++) {
      const range = this.#ranges[i];
      if (!range || range.start >= end) break;
      if (range.start > at) yield { start: at, end: range.start, value: this.#initial };
      const from = Math.max(at, range.start);
      at = Math.min(range.end, end);
      yield { start: from, end: at, value: range.value };
    }
    if (at < end) yield { start: at, end, value: this.#initial };
  }
}
