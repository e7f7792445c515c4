import type { MemoryRange } from '../../smoke/model.ts';
import { bytes } from '../report.ts';
import { html, type Markup } from './markup.ts';

const states: Readonly<Record<MemoryRange['state'], string>> = {
  shared: 'Shared: host and guest see it',
  private: 'Private: only the guest sees it',
  untouched: 'Untouched: no page has been allocated',
  hole: 'Hole: the page was punched out',
};

/** Bytes from one range's beginning to its end; bigints, as addresses go to 2^52 and sums beyond. */
const endOf = ({ gpa, size }: MemoryRange) => `0x${(BigInt(gpa) + BigInt(size)).toString(16)}`;

/** The memory under test: a strip with a field for each range, which says in words what it is. */
export function memoryPicture(memory: readonly MemoryRange[]): Markup {
  // A page among gigabytes must still be seen, so fields grow with the logarithm of their size.
  const weight = (size: number) => Math.max(1, Math.log2(Math.max(size, 4096) / 4096) + 1).toFixed(2);
  const used = (Object.keys(states) as MemoryRange['state'][]).filter((state) =>
    memory.some((range) => range.state === state),
  );
  return html`<figure class="memory"><figcaption>Memory under test</figcaption><ol class="strip">${memory.map(
    (range) =>
      html`<li style="flex-grow:${weight(range.size)}"><span class="field m-${range.state}" title="${range.gpa} to ${endOf(range)}"><b>${range.state}</b> ${bytes(range.size)}</span><code>${range.gpa}</code></li>`,
  )}</ol><ul class="legend">${used.map((state) => html`<li><i class="m-${state}"></i>${states[state]}</li>`)}</ul></figure>`;
}
