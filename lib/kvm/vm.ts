import { flag, i32, options, rangeError, typeError, type U64, u32, u64 } from './arguments.ts';
import { MemoryRegionFlag } from './constants.ts';
import { type AttributeRange, setAttributesOfRanges } from './conversion-steps.ts';
import { checked, KvmError } from './errors.ts';
import { GuestMemfd } from './guest-memfd.ts';
import { Mapping } from './mapping.ts';
import { native } from './native.ts';
import { type Range, RangeMap } from './range-map.ts';
import { FdResource, type Owned, owned } from './resource.ts';
import { Vcpu } from './vcpu.ts';

/** A memslot, as {@link Vm.setUserMemoryRegion} takes it. */
export interface UserMemoryRegion {
  /** The slot's number; bits 16 and up choose the address space. */
  slot: number;
  /** {@link MemoryRegionFlag}s; GUEST_MEMFD is added when `guestMemfd` is given. Default 0. */
  flags?: number;
  /** Where the slot begins in the guest's physical memory, page-aligned. */
  guestPhysAddr: U64;
  /** Bytes, page-aligned; 0 deletes the slot. */
  size: U64;
  /**
   * The host memory behind the slot. While the slot exists its addresses stay reserved, even when the mapping is closed:
   * the guest then gets a memory fault and never somebody else's memory.
   */
  mapping?: Mapping;
  /** Where in `mapping` the slot begins, in bytes. Default 0. */
  mappingOffset?: U64;
  /** A bare host address instead of `mapping`: the caller answers for what lies there as long as the slot exists. */
  userspaceAddr?: U64;
  /** A guest_memfd of this VM, or the number of any file descriptor to see what the kernel says to it. */
  guestMemfd?: GuestMemfd | number;
  /** Where in the guest_memfd the slot begins, in bytes, page-aligned. Default 0. */
  guestMemfdOffset?: U64;
  /** Use the older KVM_SET_USER_MEMORY_REGION, which knows no guest_memfd. Default false. */
  legacy?: boolean;
}

/** A memslot that was set through this object. */
export interface MemorySlot {
  readonly slot: number;
  readonly guestPhysAddr: U64;
  readonly size: U64;
  readonly mapping: Mapping | undefined;
  readonly mappingOffset: U64;
  readonly guestMemfd: GuestMemfd | undefined;
  readonly guestMemfdOffset: U64;
}

/** A virtual machine. Made by {@link Kvm.createVm}. */
export class Vm extends FdResource {
  /** The type it was created with. */
  readonly type: U64;
  /** The path of the KVM device that it was made by. */
  readonly device: string;
  readonly #slots = new Map<number, MemorySlot>();
  readonly #attributes = new RangeMap<number>(0);

  /** @internal */
  constructor(handle: Owned, type: U64, device: string) {
    super(handle);
    this.type = type;
    this.device = device;
  }

  /** The memslots set through this object, by number. They keep what lies behind them from being collected. */
  get slots(): ReadonlyMap<number, MemorySlot> {
    return this.#slots;
  }

  /** KVM_CHECK_EXTENSION on this VM (since 2.6.38): 0 where the capability is absent for it. */
  checkExtension(capability: number): number {
    const number = u32('capability', capability);
    return checked(native.vmCheckExtension(this.handle, number), 'ioctl(KVM_CHECK_EXTENSION)', { capability: number });
  }

  /**
   * KVM_ENABLE_CAP on this VM.
   *
   * @param args up to four values of the capability's own
   * @throws {KvmError} EINVAL for a capability or argument that cannot be enabled
   */
  enableCapability(capability: number, args: readonly U64[] = [], flags = 0): void {
    const number = u32('capability', capability);
    if (!Array.isArray(args)) throw typeError('args', 'an array of up to four numbers or bigints', args);
    if (args.length > 4) throw rangeError('args', 'of at most four values', args.length);
    const [a, b, c, d] = [0, 1, 2, 3].map((i) => u64(`args[${i}]`, i < args.length ? args[i] : 0)) as [
      U64,
      U64,
      U64,
      U64,
    ];
    checked(native.vmEnableCapability(this.handle, number, u32('flags', flags), a, b, c, d), 'ioctl(KVM_ENABLE_CAP)', {
      capability: number,
      flags,
      args0: a,
    });
  }

  /**
   * KVM_CREATE_GUEST_MEMFD (6.8): memory that only KVM owns, made for this VM alone. Close-on-exec.
   *
   * @param options.size bytes, a multiple of the page size, below 2^63; the kernel sets no other limit
   * @param options.flags {@link GuestMemfdFlag}s (6.18), default 0
   * @throws {KvmError} EINVAL for a size or flag the kernel refuses, ENOTTY where it has no guest_memfd
   *
   * @example
   * using gmem = vm.createGuestMemfd({ size: 1 << 20, flags: GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED });
   */
  createGuestMemfd(given: { size: U64; flags?: U64 }): GuestMemfd {
    const { size, flags = 0 } = options('options', given);
    const args = { size: u64('size', size), flags: u64('flags', flags) };
    const handle = owned(
      native.vmCreateGuestMemfd(this.handle, args.size, args.flags),
      'ioctl(KVM_CREATE_GUEST_MEMFD)',
      args,
    );
    return new GuestMemfd(handle, this, args.size, args.flags);
  }

  /**
   * KVM_SET_USER_MEMORY_REGION2 (6.8), or KVM_SET_USER_MEMORY_REGION with `legacy`: creates, changes, moves or (size 0)
   * deletes a memslot.
   *
   * Give a mapping of the same guest_memfd at the same offset along with a guest_memfd that can be mapped: KVM reads
   * instructions it has to emulate through the mapping.
   *
   * @throws {KvmError} EINVAL, EEXIST (overlap), EBADF (guestMemfd not open); the error tells which rule was broken
   */
  setUserMemoryRegion(region: UserMemoryRegion): void {
    const {
      slot,
      flags = 0,
      guestPhysAddr,
      size,
      mapping,
      mappingOffset = 0,
      userspaceAddr,
      guestMemfd,
      guestMemfdOffset = 0,
      legacy = false,
    } = options('region', region);
    if (mapping !== undefined && !(mapping instanceof Mapping)) throw typeError('mapping', 'a Mapping', mapping);
    if (mapping && userspaceAddr !== undefined)
      throw Object.assign(new TypeError('give "mapping" or "userspaceAddr", not both'), {
        code: 'ERR_INVALID_ARG_VALUE',
      });
    if (guestMemfd !== undefined && typeof guestMemfd !== 'number' && !(guestMemfd instanceof GuestMemfd))
      throw typeError('guestMemfd', 'a GuestMemfd or a file descriptor', guestMemfd);
    const within = u64('mappingOffset', mappingOffset);
    const fd =
      guestMemfd === undefined ? -1 : typeof guestMemfd === 'number' ? i32('guestMemfd', guestMemfd) : guestMemfd.fd;
    const older = flag('legacy', legacy);
    // Beyond the mapping lies memory of somebody else in this process, so this is not left to the kernel.
    if (mapping && BigInt(within) + BigInt(u64('size', size)) > BigInt(mapping.length))
      throw rangeError(
        'size',
        `at most what the mapping holds after mappingOffset (${mapping.length - Number(within)})`,
        size,
      );
    const args = {
      slot: u32('slot', slot),
      flags: (u32('flags', flags) | (guestMemfd === undefined ? 0 : MemoryRegionFlag.GUEST_MEMFD)) >>> 0,
      guestPhysAddr: u64('guestPhysAddr', guestPhysAddr),
      size: u64('size', size),
      userspaceAddr: mapping
        ? u64('mappingOffset', mapping.address + BigInt(within))
        : u64('userspaceAddr', userspaceAddr === undefined ? 0 : userspaceAddr),
      guestMemfd: fd,
      guestMemfdOffset: u64('guestMemfdOffset', guestMemfdOffset),
    };
    checked(
      native.vmSetUserMemoryRegion(
        this.handle,
        args.slot,
        args.flags,
        args.guestPhysAddr,
        args.size,
        args.userspaceAddr,
        fd,
        args.guestMemfdOffset,
        older ? 1 : 0,
        mapping?.handle ?? 0,
      ),
      older ? 'ioctl(KVM_SET_USER_MEMORY_REGION)' : 'ioctl(KVM_SET_USER_MEMORY_REGION2)',
      args,
    );
    this.#slots.get(args.slot)?.mapping?.leaveSlot(this, args.slot);
    if (args.size === 0) {
      this.#slots.delete(args.slot);
      return;
    }
    this.#slots.set(args.slot, {
      slot: args.slot,
      guestPhysAddr: args.guestPhysAddr,
      size: args.size,
      mapping,
      mappingOffset: within,
      guestMemfd: typeof guestMemfd === 'object' ? guestMemfd : undefined,
      guestMemfdOffset: args.guestMemfdOffset,
    });
    mapping?.enterSlot(this, args.slot, Number(within), args.guestPhysAddr, args.size);
  }

  /** Deletes a memslot: `setUserMemoryRegion` with size 0. EINVAL where there is none. */
  deleteUserMemoryRegion(slot: number): void {
    this.setUserMemoryRegion({ slot, guestPhysAddr: 0, size: 0 });
  }

  /**
   * KVM_SET_MEMORY_ATTRIBUTES (6.8): makes a range of guest physical memory private or shared, slots or not.
   *
   * @param options.attributes {@link MemoryAttribute}.PRIVATE, or 0 for shared; replaces all bits
   * @throws {KvmError} ENOTTY where the kernel has no per-VM attributes, EINVAL where this VM has none
   */
  setMemoryAttributes(given: { address: U64; size: U64; attributes: U64; flags?: U64 }): void {
    const { address, size, attributes, flags = 0 } = options('options', given);
    const args = {
      address: u64('address', address),
      size: u64('size', size),
      attributes: u64('attributes', attributes),
      flags: u64('flags', flags),
    };
    checked(
      native.vmSetMemoryAttributes(this.handle, args.address, args.size, args.attributes, args.flags),
      'ioctl(KVM_SET_MEMORY_ATTRIBUTES)',
      args,
    );
    this.attributesWereSet(args.address, args.size, args.attributes);
  }

  /**
   * {@link setMemoryAttributes} for many ranges, in their order, with one call of the addon: a kernel call for each, and
   * hardly anything between them. {@link GuestMemory.convertAll} does more, and takes longer.
   *
   * @throws {KvmError} as {@link setMemoryAttributes}, for the first range that the kernel refuses; `arguments.index` is its
   *   number, and those before it have been set
   *
   * @example
   * vm.setMemoryAttributesOf(pages.map((address) => ({ address, size: pageSize, attributes: MemoryAttribute.PRIVATE })));
   */
  setMemoryAttributesOf(ranges: readonly AttributeRange[]): void {
    if (!Array.isArray(ranges)) throw typeError('ranges', 'an array of ranges', ranges);
    const { done, status } = setAttributesOfRanges(this.handle, ranges);
    for (let index = 0; index < done; index++) {
      const { address, size, attributes } = ranges[index] as AttributeRange;
      this.attributesWereSet(address, size, attributes);
    }
    const failed = ranges[done];
    if (status >= 0 || !failed) return;
    const { address, size, attributes } = failed;
    throw new KvmError(status, 'ioctl(KVM_SET_MEMORY_ATTRIBUTES)', { address, size, attributes, index: done });
  }

  /**
   * The attributes of a range of guest physical memory as they were set through this object, in stretches of equal
   * {@link MemoryAttribute} bits. Nobody can ask the kernel for them. Also once it is closed.
   */
  attributes(guestPhysAddr: U64, size: U64): Range<number>[] {
    const start = Number(u64('guestPhysAddr', guestPhysAddr));
    return [...this.#attributes.ranges(start, start + Number(u64('size', size)))];
  }

  /** @internal */
  attributesWereSet(address: U64, size: U64, attributes: U64): void {
    this.#attributes.set(Number(address), Number(address) + Number(size), Number(attributes));
  }

  /**
   * Sets aside the four pages of guest physical memory that Intel's VMX without unrestricted guest mode uses itself
   * (KVM_SET_IDENTITY_MAP_ADDR, then KVM_SET_TSS_ADDR in the three pages after). Elsewhere without effect. x86 only.
   *
   * @param address page-aligned, outside every memslot; below 4 GiB
   */
  reservePlatformPages(address: U64): void {
    const base = u64('address', address);
    checked(native.vmSetIdentityMapAddress(this.handle, base), 'ioctl(KVM_SET_IDENTITY_MAP_ADDR)', { address: base });
    const tss = BigInt(base) + 4096n;
    checked(native.vmSetTssAddress(this.handle, u64('address', tss)), 'ioctl(KVM_SET_TSS_ADDR)', { address: tss });
  }

  /**
   * KVM_CREATE_VCPU.
   *
   * @param options.id from 0 to the VM's MAX_VCPU_ID, default 0
   * @throws {KvmError} EEXIST where there is one of that number, EINVAL for a number too high
   */
  createVcpu(given: { id?: number } = {}): Vcpu {
    const { id = 0 } = options('options', given);
    return Vcpu.create(this, u32('id', id));
  }
}
