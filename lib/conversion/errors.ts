/** What a range of guest memory is to become, or is. */
export type MemoryState = 'shared' | 'private';

/** A range of guest physical memory, in bytes. */
export interface GuestRange {
  readonly gpa: number;
  readonly size: number;
}

/**
 * - `ERR_CONVERSION_RANGE`: empty, unaligned, or it wraps.
 * - `ERR_CONVERSION_UNBACKED`: a part of it lies in no memslot.
 * - `ERR_CONVERSION_BACKING`: a part of it lies in a memslot without guest_memfd.
 * - `ERR_CONVERSION_UNSUPPORTED`: this VM's memory cannot be converted.
 * - `ERR_CONVERSION_BUSY`: a page was still in use when the time was over.
 * - `ERR_CONVERSION_FAILED`: the kernel refused; `cause` is its error.
 * - `ERR_CONVERSION_REFUSED`: the policy refused the guest's request.
 * - `ERR_CLOSED`: the VM was closed before or meanwhile, or the guest_memfd of a memslot before.
 */
export type ConversionErrorCode =
  | 'ERR_CONVERSION_RANGE'
  | 'ERR_CONVERSION_UNBACKED'
  | 'ERR_CONVERSION_BACKING'
  | 'ERR_CONVERSION_UNSUPPORTED'
  | 'ERR_CONVERSION_BUSY'
  | 'ERR_CONVERSION_FAILED'
  | 'ERR_CONVERSION_REFUSED'
  | 'ERR_CLOSED';

export interface ConversionErrorDetails {
  readonly cause?: Error;
  /** The address where it stopped. */
  readonly at?: number;
  /** The offset in the guest_memfd of the page that is in use. */
  readonly offset?: number;
  /** What of this process may hold that page, in words. */
  readonly holders?: readonly string[];
  /** What had been converted before. */
  readonly converted?: readonly GuestRange[];
}

export const hex = (value: number | bigint) => `0x${value.toString(16)}`;

/** A conversion that could not be done, or not wholly. The memory map tells what is what afterwards as well as before. */
export class ConversionError extends Error {
  readonly code: ConversionErrorCode;
  /** What was to be converted. */
  readonly gpa: number | bigint;
  readonly size: number | bigint;
  /** What it was to become; undefined where its pages were to be given back. */
  readonly to: MemoryState | undefined;
  /** The guest physical address where it stopped, where it is one page or slot that stopped it. */
  readonly at: number | undefined;
  /** For ERR_CONVERSION_BUSY, the offset in its guest_memfd of the first page in use. */
  readonly offset: number | undefined;
  /** For ERR_CONVERSION_BUSY, what of this process may hold the page. Empty: somebody else does. */
  readonly holders: readonly string[];
  /** The ranges that were converted before it stopped, and stay so. */
  readonly converted: readonly GuestRange[];

  /** @internal */
  constructor(
    code: ConversionErrorCode,
    { gpa, size, to }: { gpa: number | bigint; size: number | bigint; to?: MemoryState },
    reason: string,
    { cause, at, offset, holders = [], converted = [] }: ConversionErrorDetails = {},
  ) {
    const done = converted.map((range) => `${hex(range.gpa)}+${hex(range.size)}`).join(', ');
    super(
      `cannot ${to ? 'convert' : 'discard'} ${hex(gpa)}+${hex(size)}${to ? ` to ${to}` : ''}: ${reason}${done ? `. Converted before and staying so: ${done}` : ''}`,
      cause ? { cause } : undefined,
    );
    this.code = code;
    this.gpa = gpa;
    this.size = size;
    this.to = to;
    this.at = at;
    this.offset = offset;
    this.holders = holders;
    this.converted = converted;
  }
}
Object.defineProperty(ConversionError.prototype, 'name', {
  value: 'ConversionError',
  configurable: true,
  writable: true,
});
