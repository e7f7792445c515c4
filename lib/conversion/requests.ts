import { HypercallNumber } from '../kvm/constants.ts';
import type { VcpuExit } from '../kvm/exits.ts';
import { pageSize } from '../kvm/native.ts';
import type { GuestRange, MemoryState } from './errors.ts';

/** A guest's wish that a range become private or shared. */
export interface ConversionRequest extends GuestRange {
  readonly to: MemoryState;
  /** By KVM_HC_MAP_GPA_RANGE, which can be refused with a number, or by an access of the other kind (KVM_EXIT_MEMORY_FAULT). */
  readonly by: 'hypercall' | 'fault';
  /** For a hypercall, the size of page that the guest would like, in bytes: a hint. */
  readonly pageSize?: number;
}

/** What an exit is about. */
export type DecodedRequest =
  | { readonly request: ConversionRequest }
  /** A request that breaks the rules of its interface. */
  | { readonly malformed: string; readonly by: ConversionRequest['by'] }
  /** Something else. */
  | undefined;

/** KVM_MAP_GPA_RANGE_*: bits 0 to 3 choose a page size, bit 4 says encrypted, the others are reserved. */
const encrypted = 1n << 4n;
const pageSizes = [1 << 12, 1 << 21, 1 << 30] as const;
/** KVM_MEMORY_EXIT_FLAG_PRIVATE, the only flag there is. */
const faultPrivate = 1n << 3n;
/** KVM_HC_MAP_GPA_RANGE counts in these, whatever pages the host has. */
const hypercallPage = 4096n;

const exact = (value: bigint): number | undefined =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : undefined;

/** A range that the page size of this host divides, or why it is none. */
function rangeOf(gpa: bigint, size: bigint): GuestRange | string {
  const range = { gpa: exact(gpa), size: exact(size) };
  if (range.gpa === undefined || range.size === undefined || exact(gpa + size) === undefined)
    return 'the range reaches beyond the highest address';
  if (range.size === 0) return 'the range is empty';
  if (range.gpa % pageSize !== 0 || range.size % pageSize !== 0) return 'the range is not page-aligned';
  return range as GuestRange;
}

/**
 * Reads a conversion request out of an exit: KVM_HC_MAP_GPA_RANGE (exits since 5.14, x86) or a memory fault (6.8). Bits that
 * have no meaning yet make it malformed rather than be ignored.
 */
export function decodeRequest(exit: VcpuExit): DecodedRequest {
  if (exit.reason === 'HYPERCALL' && exit.number === BigInt(HypercallNumber.MAP_GPA_RANGE)) {
    const by = 'hypercall';
    const [gpa = 0n, pages = 0n, attributes = 0n] = exit.args;
    const order = Number(attributes & 15n);
    if (attributes & ~(encrypted | 15n)) return { by, malformed: `unknown attributes 0x${attributes.toString(16)}` };
    if (!pageSizes[order]) return { by, malformed: `unknown page size ${order}` };
    const range = rangeOf(gpa, pages * hypercallPage);
    if (typeof range === 'string') return { by, malformed: range };
    return { request: { ...range, to: attributes & encrypted ? 'private' : 'shared', by, pageSize: pageSizes[order] } };
  }
  // EHWPOISON tells of a broken page, which no conversion mends.
  if (exit.reason === 'MEMORY_FAULT' && exit.code === 'EFAULT') {
    const by = 'fault';
    if (exit.flags & ~faultPrivate) return { by, malformed: `unknown flags 0x${exit.flags.toString(16)}` };
    const range = rangeOf(exit.guestPhysAddr, exit.size);
    if (typeof range === 'string') return { by, malformed: range };
    return { request: { ...range, to: exit.isPrivate ? 'private' : 'shared', by } };
  }
  return undefined;
}
