import { GuestMemfdFlag, MemoryAttribute } from '../kvm/constants.ts';
import type { ConversionModel } from '../kvm/conversion-model.ts';
import type { MemorySlot, Vm } from '../kvm/vm.ts';
import type { GuestRange, MemoryState } from './errors.ts';

/** A part of a range that lies in one memslot. */
export interface Piece extends GuestRange {
  readonly slot: MemorySlot;
  /** Where in the slot it begins. */
  readonly offset: number;
}

/** Memslots of the first address space by address; the second one is that of system management mode. */
export function slotsInOrder(vm: Vm): MemorySlot[] {
  return [...vm.slots.values()]
    .filter(({ slot }) => slot < 1 << 16)
    .sort((a, b) => Number(a.guestPhysAddr) - Number(b.guestPhysAddr));
}

/** The parts of a range that memslots cover, in order. */
export function piecesOf(vm: Vm, { gpa, size }: GuestRange): Piece[] {
  const end = gpa + size;
  return slotsInOrder(vm).flatMap((slot) => {
    const base = Number(slot.guestPhysAddr);
    const from = Math.max(gpa, base);
    const to = Math.min(end, base + Number(slot.size));
    return from < to ? [{ slot, gpa: from, size: to - from, offset: from - base }] : [];
  });
}

/** The first address of a range that no memslot covers. */
export function firstGap({ gpa, size }: GuestRange, pieces: readonly Piece[]): number | undefined {
  let at = gpa;
  for (const piece of pieces) {
    if (piece.gpa > at) return at;
    at = piece.gpa + piece.size;
  }
  return at < gpa + size ? at : undefined;
}

/** Where a piece begins in its guest_memfd, and in its mapping. */
export const fileOffset = ({ slot, offset }: Piece) => Number(slot.guestMemfdOffset) + offset;
export const mappingOffset = ({ slot, offset }: Piece) => Number(slot.mappingOffset) + offset;

/**
 * Whether the guest sees the guest_memfd's pages in both states: in place, or because KVM takes all of a slot's memory from a
 * guest_memfd that can be mapped.
 */
export function isOnePool({ slot }: Piece, model: ConversionModel): boolean {
  if (!slot.guestMemfd) return false;
  return model === 'in-place' || (BigInt(slot.guestMemfd.flags) & BigInt(GuestMemfdFlag.MMAP)) !== 0n;
}

/** The states that a piece's parts are in, as they were set: by the VM's attributes or the guest_memfd's. */
export function* statesOf(
  vm: Vm,
  piece: Piece,
  model: ConversionModel,
): Generator<GuestRange & { state: MemoryState }> {
  const { slot, gpa, size } = piece;
  const file = fileOffset(piece);
  const [ranges, base] =
    model === 'two-pool'
      ? [vm.attributes(gpa, size), 0]
      : slot.guestMemfd
        ? [slot.guestMemfd.attributes(file, size), file - gpa]
        : [[{ start: gpa, end: gpa + size, value: 0 }], 0];
  for (const { start, end, value } of ranges)
    yield {
      gpa: start - base,
      size: end - start,
      state: value & MemoryAttribute.PRIVATE ? 'private' : 'shared',
    };
}
