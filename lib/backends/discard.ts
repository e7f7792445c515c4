import { range, type U64 } from '../kvm/arguments.ts';
import { Advice } from '../kvm/constants.ts';
import { pageSize as systemPageSize } from '../kvm/native.ts';
import type { Allocation } from './allocation.ts';
import { BackendError } from './error.ts';

/**
 * Gives pages back: a hole in the file, where there is one, and the pages of this process. A private mapping's own pages
 * are in no file, so it needs both.
 */
export function discard(allocation: Allocation, share: boolean, offset: U64, length: U64): void {
  const { mapping, file, guestMemfd, rom = false, fileOffset = 0, pageSize, path } = allocation;
  const [at, count] = range(offset, length, mapping.length);
  if (rom)
    throw new BackendError('nothing can be thrown away of a file that is read only', {
      property: 'readonly',
      value: true,
    });
  // The file is there before and after this backend, and may be what other guests start from.
  if (!share && path !== undefined)
    throw new BackendError('the hole would be in the file itself, which share=off protects', {
      property: 'share',
      value: false,
      remedy: 'Use share=on, or write zeros',
    });
  const source = guestMemfd ?? file;
  if (source) source.punchHole(BigInt(fileOffset) + BigInt(at), count);
  // Huge pages (hugetlb) leave with the hole.
  if (pageSize !== systemPageSize || guestMemfd) return;
  mapping.advise(share && !file ? Advice.REMOVE : Advice.DONTNEED, at, count);
}
