import { native } from './native.ts';
import { KernelResource, type Owned } from './resource.ts';

/**
 * References to the pages of a range, as a device that does DMA holds them. Made by {@link Mapping.pin}.
 *
 * While it is open the pages keep their contents for the holder, whatever becomes of the mapping, and in-place conversion
 * of them to private fails with EAGAIN.
 */
export class PagePin extends KernelResource {
  /** Where in the mapping it begins, in bytes. */
  readonly offset: number;
  readonly length: number;
  /**
   * What holds the pages: a registered buffer of io_uring, pinned as for DMA (5.1), or a pipe that they were spliced into
   * by vmsplice, where io_uring is not to be had.
   */
  readonly kind: 'io_uring' | 'vmsplice';

  /** @internal */
  constructor(handle: Owned, offset: number, length: number) {
    super(handle);
    this.offset = offset;
    this.length = length;
    this.kind = native.pinKind(this.handle) === 0 ? 'io_uring' : 'vmsplice';
  }
}
