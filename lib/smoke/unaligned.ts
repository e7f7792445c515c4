import { pageSize } from '../kvm/native.ts';

/**
 * Numbers below a page that are no multiple of it: the first few, every single bit, and what is missing of a page for each.
 * All 4095 would find nothing more, as a kernel looks at bits, and cost seconds under software emulation.
 */
export const unaligned: readonly number[] = (() => {
  const found = new Set([1, 2, 3, 5, 7, 9, 511, 513, pageSize / 2 - 1, pageSize / 2 + 1]);
  for (let bit = 1; bit < pageSize; bit *= 2) found.add(bit).add(pageSize - bit);
  return [...found].sort((a, b) => a - b);
})();
