import { options as checkOptions, flag, type U64, u64 } from '../kvm/arguments.ts';
import { Advice, Protection } from '../kvm/constants.ts';
import type { ConversionAnswer, ConversionModel } from '../kvm/conversion-model.ts';
import { KvmError } from '../kvm/errors.ts';
import type { Mapping } from '../kvm/mapping.ts';
import { pageSize } from '../kvm/native.ts';
import type { MemorySlot, Vm } from '../kvm/vm.ts';
import type { GuestRange, MemoryState } from './errors.ts';
import { fileOffset, isOnePool, mappingOffset, type Piece, piecesOf, slotsInOrder, statesOf } from './layout.ts';

/** Options of {@link GuestMemory.map}. */
export interface MemoryMapOptions {
  /** Where the map begins and how far it goes; by default from the first memslot to the last. */
  readonly gpa?: U64;
  readonly size?: U64;
  /**
   * Ask the kernel which pages are in memory and whether it agrees with the books, which takes time that grows with the pages.
   * Default true.
   */
  readonly resident?: boolean;
}

/** A stretch of guest physical memory that is alike. */
export interface MemorySegment extends GuestRange {
  /** 'unbacked' where no memslot lies. */
  readonly state: MemoryState | 'unbacked';
  /** Whether its pages are in memory, on the side that the guest sees; undefined where nobody can know. */
  readonly resident: boolean | undefined;
  /** Bytes in memory on the side that the guest does not see: memory that serves nobody. Undefined where nobody can know. */
  readonly stale: number | undefined;
  /** The memslot's number. */
  readonly slot: number | undefined;
  /** What the guest's pages come from, in words. */
  readonly backing: string;
  /** What the kernel does that contradicts `state`. */
  readonly disagreement?: string;
}

/** A VM's memory at one moment. */
export interface MemoryMap {
  readonly model: ConversionModel;
  /** How the model was found out. */
  readonly reason: string;
  /** By address, without a gap. */
  readonly segments: readonly MemorySegment[];
}

interface PageRun extends GuestRange {
  readonly resident: boolean | undefined;
  readonly disagreement?: string;
}

/** Pages asked of mincore at a time: a byte for each. */
const chunk = 1 << 16;

/** Runs of pages of a mapping that are alike in being in memory, as ranges from 0 on. */
function* residentRuns(
  mapping: Mapping,
  offset: number,
  size: number,
): Generator<{ offset: number; size: number; resident: boolean }> {
  let run: { offset: number; size: number; resident: boolean } | undefined;
  for (let at = 0; at < size; at += chunk * pageSize) {
    for (const [i, resident] of mapping.residency(offset + at, Math.min(chunk * pageSize, size - at)).entries()) {
      if (run?.resident === resident) run.size += pageSize;
      else {
        if (run) yield run;
        run = { offset: at + i * pageSize, size: pageSize, resident };
      }
    }
  }
  if (run) yield run;
}

const residentBytes = (mapping: Mapping, offset: number, size: number) =>
  [...residentRuns(mapping, offset, size)].reduce((sum, run) => sum + (run.resident ? run.size : 0), 0);

/** Whether the host may read all pages of a range, which are in memory already. */
function readable(mapping: Mapping, offset: number, size: number): boolean {
  try {
    mapping.advise(Advice.POPULATE_READ, offset, size);
    return true;
  } catch (error) {
    if (error instanceof KvmError && error.code === 'EFAULT') return false;
    throw error;
  }
}

const contradiction = {
  shared: 'the host cannot read it, so for the kernel it is private',
  private: 'the host can read it, so for the kernel it is shared',
} as const;

/** Asks whether the kernel treats pages that are in memory as the books have them. */
function* checkedRuns(mapping: Mapping, run: PageRun, offset: number, state: MemoryState): Generator<PageRun> {
  // One call does for shared memory. It stops at the first private page, so that private ones are asked one by one.
  if (state === 'shared' && readable(mapping, offset, run.size)) {
    yield run;
    return;
  }
  let last: PageRun | undefined;
  for (let at = 0; at < run.size; at += pageSize) {
    const disagrees = readable(mapping, offset + at, pageSize) !== (state === 'shared');
    if (last && (last.disagreement !== undefined) === disagrees) {
      last = { ...last, size: last.size + pageSize };
      continue;
    }
    if (last) yield last;
    const page = { gpa: run.gpa + at, size: pageSize, resident: run.resident };
    last = disagrees ? { ...page, disagreement: contradiction[state] } : page;
  }
  if (last) yield last;
}

/** What the kernel tells of the pages of one state in a piece. */
function* pagesOf(piece: Piece, part: GuestRange & { state: MemoryState }, onePool: boolean): Generator<PageRun> {
  const { guestMemfd, mapping } = piece.slot;
  const within = part.gpa - piece.gpa;
  if (onePool && guestMemfd && !guestMemfd.closed && guestMemfd.mappable) {
    const offset = fileOffset(piece) + within;
    using window = guestMemfd.map({ offset, length: part.size, protection: Protection.READ });
    for (const { resident, ...run } of residentRuns(window, 0, part.size)) {
      const pages: PageRun = { gpa: part.gpa + run.offset, size: run.size, resident };
      // Asking of a page that is not there would bring it in.
      if (resident) yield* checkedRuns(window, pages, run.offset, part.state);
      else yield pages;
    }
  } else if (!onePool && part.state === 'shared' && mapping && !mapping.closed) {
    for (const run of residentRuns(mapping, mappingOffset(piece) + within, part.size))
      yield { gpa: part.gpa + run.offset, size: run.size, resident: run.resident };
  } else yield { gpa: part.gpa, size: part.size, resident: undefined };
}

function backingOf(slot: MemorySlot, onePool: boolean, state: MemoryState): string {
  const file = `guest_memfd (inode ${slot.guestMemfd?.closed ? 'closed' : slot.guestMemfd?.stat().inode})`;
  if (slot.guestMemfd && (onePool || state === 'private')) return file;
  return slot.mapping ? `mapping at 0x${slot.mapping.address.toString(16)}` : 'an address of this process';
}

/** Makes the map of a VM. */
export function mapMemory(vm: Vm, { model, reason }: ConversionAnswer, given: MemoryMapOptions): MemoryMap {
  const { gpa, size, resident = true } = checkOptions('options', given);
  flag('resident', resident);
  const slots = slotsInOrder(vm);
  const first = Number(slots[0]?.guestPhysAddr ?? 0);
  const last = slots.at(-1);
  const from = gpa === undefined ? first : Number(u64('gpa', gpa));
  const to =
    size === undefined
      ? Math.max(from, last ? Number(last.guestPhysAddr) + Number(last.size) : 0)
      : from + Number(u64('size', size));
  const segments: MemorySegment[] = [];
  let at = from;
  const gap = (end: number) => {
    if (at < end)
      segments.push({
        gpa: at,
        size: end - at,
        state: 'unbacked',
        resident: undefined,
        stale: undefined,
        slot: undefined,
        backing: 'nothing',
      });
  };
  for (const piece of piecesOf(vm, { gpa: from, size: to - from })) {
    gap(piece.gpa);
    at = piece.gpa + piece.size;
    const onePool = isOnePool(piece, model);
    for (const part of statesOf(vm, piece, model)) {
      const backing = backingOf(piece.slot, onePool, part.state);
      const { mapping } = piece.slot;
      const runs = resident ? pagesOf(piece, part, onePool) : [{ ...part, resident: undefined }];
      for (const { state: _, ...run } of runs as Iterable<PageRun & { state?: unknown }>) {
        const other = mappingOffset(piece) + run.gpa - piece.gpa;
        const stale = onePool
          ? 0
          : resident && part.state === 'private' && mapping && !mapping.closed
            ? residentBytes(mapping, other, run.size)
            : part.state === 'shared' && !piece.slot.guestMemfd
              ? 0
              : undefined;
        segments.push({ state: part.state, stale, slot: piece.slot.slot, backing, ...run });
      }
    }
  }
  gap(to);
  return { model, reason, segments };
}
