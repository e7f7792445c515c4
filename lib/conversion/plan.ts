import { Advice, MapFlag, MemoryAttribute } from '../kvm/constants.ts';
import type { ConversionAnswer, ConversionModel } from '../kvm/conversion-model.ts';
import type { ConversionStep } from '../kvm/conversion-steps.ts';
import { pageSize } from '../kvm/native.ts';
import type { Vm } from '../kvm/vm.ts';
import { ConversionError, type GuestRange, hex, type MemoryState } from './errors.ts';
import { fileOffset, firstGap, isOnePool, mappingOffset, type Piece, piecesOf, statesOf } from './layout.ts';

/** A range and what it is to become. */
export interface Conversion extends GuestRange {
  readonly to: MemoryState;
}

/** What a step changes for the guest, once it is done. */
export interface Effect extends GuestRange {
  readonly kind: 'converted' | 'discarded';
  /** What it has become, or the side whose pages were given back. */
  readonly state: MemoryState;
}

/** A kernel call and what comes of it. */
export interface PlannedStep {
  readonly step: ConversionStep;
  /** Where it acts. */
  readonly range: GuestRange;
  readonly effects: readonly Effect[];
}

/** Gives the pages of one side of a piece back; nothing where this process has no hold of them. */
export function discardOf(piece: Piece, range: GuestRange, state: MemoryState, onePool: boolean): PlannedStep[] {
  const { slot } = piece;
  const within = range.gpa - piece.gpa;
  const effects: Effect[] = [{ kind: 'discarded', state, gpa: range.gpa, size: range.size }];
  if (state === 'private' || onePool) {
    if (!slot.guestMemfd) return [];
    const offset = fileOffset(piece) + within;
    return [{ step: { op: 'punchHole', guestMemfd: slot.guestMemfd, offset, length: range.size }, range, effects }];
  }
  const { mapping } = slot;
  if (!mapping || mapping.closed) return [];
  // DONTNEED leaves the pages of a shared mapping in the file; REMOVE has none to take from anonymous private memory.
  const value = mapping.flags & MapFlag.SHARED ? Advice.REMOVE : Advice.DONTNEED;
  const offset = mappingOffset(piece) + within;
  return [{ step: { op: 'advise', mapping, offset, length: range.size, value }, range, effects }];
}

/** Checks a range and finds the memslots under it; without `to` it is one to discard. */
export function backedPieces(vm: Vm, range: GuestRange & { to?: MemoryState }): Piece[] {
  const { gpa, size } = range;
  const refuse = (code: ConversionError['code'], why: string, at?: number): never => {
    throw new ConversionError(code, range, why, at === undefined ? {} : { at });
  };
  if (vm.closed) refuse('ERR_CLOSED', 'the VM is closed');
  if (size === 0) refuse('ERR_CONVERSION_RANGE', 'the range is empty');
  const unaligned = gpa % pageSize ? 'its address' : size % pageSize ? 'its size' : undefined;
  if (unaligned) refuse('ERR_CONVERSION_RANGE', `${unaligned} is no multiple of the page size, ${pageSize}`);
  if (!Number.isSafeInteger(gpa + size)) refuse('ERR_CONVERSION_RANGE', 'it ends beyond the highest address');
  const pieces = piecesOf(vm, range);
  const gap = firstGap(range, pieces);
  if (gap !== undefined) refuse('ERR_CONVERSION_UNBACKED', `no memslot lies at ${hex(gap)}`, gap);
  return pieces;
}

/** The same for a range to convert: every memslot under it must have a guest_memfd, and the VM a way to convert. */
export function convertiblePieces(vm: Vm, conversion: Conversion, { model, reason }: ConversionAnswer): Piece[] {
  const pieces = backedPieces(vm, conversion);
  if (model === 'none')
    throw new ConversionError('ERR_CONVERSION_UNSUPPORTED', conversion, `this VM cannot convert memory: ${reason}`);
  const bare = pieces.find(({ slot }) => !slot.guestMemfd);
  if (bare)
    throw new ConversionError(
      'ERR_CONVERSION_BACKING',
      conversion,
      `memslot ${bare.slot.slot} at ${hex(bare.gpa)} has no guest_memfd, so nothing in it can be private`,
      { at: bare.gpa },
    );
  const gone = pieces.find(({ slot }) => slot.guestMemfd?.closed);
  if (gone)
    throw new ConversionError(
      'ERR_CLOSED',
      conversion,
      `the guest_memfd of memslot ${gone.slot.slot} at ${hex(gone.gpa)} is closed`,
      { at: gone.gpa },
    );
  return pieces;
}

/** The parts of a piece that are not yet as wanted. */
const changing = (vm: Vm, piece: Piece, model: ConversionModel, to: MemoryState) =>
  [...statesOf(vm, piece, model)].filter(({ state }) => state !== to);

/**
 * The kernel calls of one conversion, in order: in place, one for each guest_memfd; with two pools, the attributes first and
 * then the pages of the side that the guest has left, so that there is never twice the memory.
 */
export function planConversion(
  vm: Vm,
  conversion: Conversion,
  pieces: readonly Piece[],
  model: ConversionModel,
  discard: boolean,
): PlannedStep[] {
  const { gpa, size, to } = conversion;
  const value = to === 'private' ? MemoryAttribute.PRIVATE : 0;
  const converted = (ranges: readonly GuestRange[]): Effect[] =>
    ranges.map((range) => ({ kind: 'converted', state: to, gpa: range.gpa, size: range.size }));
  if (model === 'in-place')
    return pieces.flatMap((piece) => {
      const { guestMemfd } = piece.slot;
      if (!guestMemfd) return [];
      const range = { gpa: piece.gpa, size: piece.size };
      return {
        step: { op: 'fileAttributes', guestMemfd, offset: fileOffset(piece), length: piece.size, value },
        range,
        effects: converted(changing(vm, piece, model, to)),
      };
    });
  const changes = pieces.map((piece) => ({ piece, ranges: changing(vm, piece, model, to) }));
  const steps: PlannedStep[] = [
    {
      step: { op: 'vmAttributes', vm, offset: gpa, length: size, value },
      range: { gpa, size },
      effects: converted(changes.flatMap(({ ranges }) => ranges)),
    },
  ];
  const left = to === 'private' ? 'shared' : 'private';
  if (discard)
    for (const { piece, ranges } of changes)
      if (!isOnePool(piece, model)) for (const range of ranges) steps.push(...discardOf(piece, range, left, false));
  return steps;
}
