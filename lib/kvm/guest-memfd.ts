import { flag, options, type U64, u32, u64 } from './arguments.ts';
import { FallocateMode, GuestMemfdFlag, MapFlag, MemoryAttribute } from './constants.ts';
import { checked, KvmError } from './errors.ts';
import { type MapOptions, Mapping } from './mapping.ts';
import { UsedMappings } from './mapping-uses.ts';
import { type FileStat, readFacts } from './memory-file.ts';
import { native } from './native.ts';
import type { PagePin } from './page-pin.ts';
import { type Range, RangeMap } from './range-map.ts';
import { FdResource, type Owned } from './resource.ts';
import type { Vm } from './vm.ts';

/**
 * A guest_memfd: memory that is made for one VM and owned by KVM. Made by {@link Vm.createGuestMemfd}.
 *
 * Its size never changes. Pages are allocated and zeroed at first use, are never swapped or moved, and go back to the
 * kernel when a hole is punched or the last of file descriptor and mappings is gone.
 */
export class GuestMemfd extends FdResource {
  /** The VM it was made for. */
  readonly vm: Vm;
  /** Bytes. */
  readonly size: U64;
  /** The {@link GuestMemfdFlag}s it was made with. */
  readonly flags: U64;
  readonly #usedMappings = new UsedMappings();
  readonly #attributes: RangeMap<number>;

  /** @internal */
  constructor(handle: Owned, vm: Vm, size: U64, flags: U64) {
    super(handle);
    this.vm = vm;
    this.size = size;
    this.flags = flags;
    this.#attributes = new RangeMap(BigInt(flags) & BigInt(GuestMemfdFlag.INIT_SHARED) ? 0 : MemoryAttribute.PRIVATE);
  }

  /** True when it was made with GuestMemfdFlag.MMAP. */
  get mappable(): boolean {
    return (BigInt(this.flags) & BigInt(GuestMemfdFlag.MMAP)) !== 0n;
  }

  /**
   * mmap (6.18, with GuestMemfdFlag.MMAP): gives the host access to the shared pages.
   *
   * @param given.offset where in the file, page-aligned, default 0
   * @param given.length bytes, default to the end of the file; beyond the end, access fails
   * @param given.protection {@link Protection} bits, default READ | WRITE
   * @param given.flags {@link MapFlag}s, default SHARED; the kernel refuses PRIVATE
   * @param given.populate touch every page now (MAP_POPULATE), default false
   * @param given.alignment of the host address: a power of two, default the page size
   * @param given.guard keep an inaccessible page behind it, default false
   * @throws {KvmError} ENODEV without GuestMemfdFlag.MMAP, EINVAL for MAP_PRIVATE, EPERM for Protection.EXEC
   */
  map(given: MapOptions = {}): Mapping {
    const { offset = 0, length, populate = false, flags = MapFlag.SHARED } = options('options', given);
    const from = u64('offset', offset);
    const rest = BigInt(this.size) - BigInt(from);
    return Mapping.create(
      this.fd,
      from,
      length === undefined ? (rest > 0n ? rest : 0n) : length,
      (u32('flags', flags) | (flag('populate', populate) ? MapFlag.POPULATE : 0)) >>> 0,
      given,
      this.#usedMappings,
    );
  }

  /**
   * fallocate with KEEP_SIZE: allocates the pages of a range now, shared or private. Pages that are there stay as they
   * are.
   *
   * @throws {KvmError} EINVAL for an unaligned range or one beyond the file, ENOMEM
   */
  allocate(offset: U64, length: U64): void {
    this.fallocate(FallocateMode.KEEP_SIZE, offset, length);
  }

  /**
   * fallocate with PUNCH_HOLE | KEEP_SIZE: gives the pages of a range back; they read as zero when touched again, by host
   * and guest. A range beyond the file is accepted and does nothing.
   *
   * @throws {KvmError} EINVAL for an unaligned or empty range
   */
  punchHole(offset: U64, length: U64): void {
    this.fallocate(FallocateMode.KEEP_SIZE | FallocateMode.PUNCH_HOLE, offset, length);
  }

  /** fallocate with any mode, {@link FallocateMode}s or not: EOPNOTSUPP for all but the two above. */
  fallocate(mode: number, offset: U64, length: U64): void {
    const args = { mode: u32('mode', mode), offset: u64('offset', offset), length: u64('length', length) };
    checked(native.guestMemfdFallocate(this.handle, args.mode, args.offset, args.length), 'fallocate', args);
  }

  /** fstat, fstatfs and F_GETFD of the file. Its `blocks` are 0 on every kernel seen: no measure of memory used. */
  stat(): FileStat {
    return readFacts((words) => native.guestMemfdFacts(this.handle, words));
  }

  /**
   * KVM_SET_MEMORY_ATTRIBUTES2 on the guest_memfd: in-place conversion, contents kept. A pending kernel interface that no
   * release had by November 2026; {@link supportsInPlaceConversion} asks without changing anything.
   *
   * On the way to private, views (see {@link Mapping.view}) of this process over the range are detached first.
   *
   * @param given.offset bytes in the file, page-aligned
   * @param given.attributes {@link MemoryAttribute}.PRIVATE, or 0 for shared
   * @throws {KvmError} ENOTTY where the kernel has it not; EAGAIN with `arguments.errorOffset` where a page is in use
   */
  setMemoryAttributes(given: { offset: U64; size: U64; attributes: U64; flags?: U64 }): void {
    const { offset, size, attributes, flags = 0 } = options('options', given);
    const args = {
      offset: u64('offset', offset),
      size: u64('size', size),
      attributes: u64('attributes', attributes),
      flags: u64('flags', flags),
    };
    const { handle } = this;
    if ((BigInt(args.attributes) & BigInt(MemoryAttribute.PRIVATE)) !== 0n && this.supportsInPlaceConversion())
      this.detachViews(args.offset, args.size);
    const errorOffset = new BigUint64Array(1);
    const result = native.guestMemfdSetMemoryAttributes(
      handle,
      args.offset,
      args.size,
      args.attributes,
      args.flags,
      errorOffset,
    );
    if (result < 0) {
      const where = errorOffset[0] ? { errorOffset: errorOffset[0] } : {};
      throw new KvmError(result, 'ioctl(KVM_SET_MEMORY_ATTRIBUTES2)', { ...args, ...where });
    }
    this.attributesWereSet(args.offset, args.size, args.attributes);
  }

  /**
   * The attributes of a range of the file as flags and {@link setMemoryAttributes} of this object left them, in stretches of
   * equal {@link MemoryAttribute} bits. They count where attributes belong to guest_memfds, and where nothing can be
   * converted; where they belong to VMs, {@link Vm.attributes} counts. Also once it is closed.
   */
  attributes(offset: U64, length: U64): Range<number>[] {
    const start = Number(u64('offset', offset));
    return [...this.#attributes.ranges(start, start + Number(u64('length', length)))];
  }

  /** @internal */
  attributesWereSet(offset: U64, length: U64, attributes: U64): void {
    this.#attributes.set(Number(offset), Number(offset) + Number(length), Number(attributes));
  }

  /** Whether this kernel has in-place conversion switched on, found by asking with a null argument. */
  supportsInPlaceConversion(): boolean {
    return errnoIsFault(native.guestMemfdProbeMemoryAttributes(this.handle));
  }

  /** @internal The mappings made through this object that are open and have been given views, pins or memslots. */
  usedMappings(): Mapping[] {
    return this.#usedMappings.open();
  }

  /** @internal The pins of pages of this file, also those made through mappings that are closed by now. */
  openPins(): { pin: PagePin; offset: number }[] {
    return this.#usedMappings.openPins();
  }

  /** Detaches the views of all mappings of this file that touch a range of it: see {@link Mapping.detachViews}. */
  detachViews(offset: U64, size: U64): void {
    const start = BigInt(u64('offset', offset));
    const length = BigInt(u64('size', size));
    for (const mapping of this.usedMappings()) {
      const begin = start - mapping.fileOffset;
      const end = begin + length;
      const from = begin > 0n ? begin : 0n;
      const to = end < BigInt(mapping.length) ? end : BigInt(mapping.length);
      if (from < to) mapping.detachViews(Number(from), Number(to - from));
    }
  }
}

// The kernel copies the argument in before it looks at anything else, so a null one gives EFAULT just where the ioctl is.
function errnoIsFault(result: number): boolean {
  return result === -14;
}
