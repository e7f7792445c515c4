import { bytes, flag, i32, options, range, rangeError, typeError, type U64, u32, u64 } from './arguments.ts';
import { Advice, MapFlag, Protection } from './constants.ts';
import { checked, errnoName, MemoryAccessError } from './errors.ts';
import { ForkedChild } from './forked-child.ts';
import { MappingUses, type TrackedView, type UsedMappings } from './mapping-uses.ts';
import { type Handle, native, pageSize } from './native.ts';
import { PagePin } from './page-pin.ts';
import { KernelResource, type Owned, owned } from './resource.ts';

/** How to map; what each field means is said at {@link GuestMemfd.map}. */
export interface MapOptions {
  offset?: U64;
  length?: U64;
  protection?: number;
  flags?: number;
  populate?: boolean;
  alignment?: U64;
  guard?: boolean;
}

/** The NUMA policy of an address, from get_mempolicy. */
export interface PolicyAt {
  /** One of {@link MemoryPolicy}, possibly with mode flags in the high bits. */
  readonly mode: number;
  readonly nodes: readonly number[];
}

/**
 * The ArrayBuffer to detach for a view, or undefined where it must not be tried. From Node 24 on, detaching a buffer that
 * the user gave to markAsUntransferable() aborts the process, and isMarkedAsUntransferable() cannot tell, for it says true
 * of every buffer over foreign memory. But transfer() (Node 22) throws for just those; where it does not, the memory is
 * under a new buffer that nobody else has.
 */
function detachable(buffer: ArrayBuffer): ArrayBuffer | undefined {
  const { transfer } = buffer as { transfer?: () => ArrayBuffer };
  if (!transfer) return buffer;
  try {
    return transfer.call(buffer);
  } catch {
    return undefined;
  }
}

// A view keeps its mapping alive: with it collected, the memory under the view would be replaced.
const mappingOfView = new WeakMap<ArrayBuffer, Mapping>();

const anonymous = -1;

/** Where the newest mapping lies: a number of 64 bits comes faster from an array than as a result. */
const mappedAt = new BigUint64Array(1);

/** MADV_HWPOISON (2.6.32) and MADV_GUARD_INSTALL (6.13). */
const inaccessible: readonly number[] = [100, 102];

/**
 * A mapping of a guest_memfd, another file or anonymous memory into this process. Made by {@link GuestMemfd.map} and
 * {@link mapAnonymous}.
 *
 * `read`, `write`, `fill` and `compare` never kill the process: a page that cannot be accessed gives a
 * {@link MemoryAccessError}. `view` is the fast way, with the rules that its documentation tells.
 */
export class Mapping extends KernelResource {
  /** Where it lies in this process. */
  readonly address: bigint;
  /** Bytes, whole pages. */
  readonly length: number;
  /** The offset in the file that it starts at. */
  readonly fileOffset: bigint;
  /** The {@link MapFlag}s that it was made with. */
  readonly flags: number;
  readonly #usedMappings: UsedMappings | undefined;
  #uses: MappingUses | undefined;

  private constructor(
    handle: Owned,
    length: number,
    fileOffset: bigint,
    flags: number,
    usedMappings: UsedMappings | undefined,
  ) {
    super(handle);
    this.address = mappedAt[0] ?? 0n;
    this.length = length;
    this.fileOffset = fileOffset;
    this.flags = flags;
    this.#usedMappings = usedMappings;
  }

  #use(): MappingUses {
    if (this.#uses) return this.#uses;
    this.#usedMappings?.add(this);
    this.#uses = new MappingUses();
    return this.#uses;
  }

  /**
   * Maps a file descriptor, -1 for anonymous memory. What callers set themselves comes in arguments of its own: to spread
   * their options into a new object takes longer than all else that is not the kernel's.
   *
   * @internal
   * @param usedMappings of the file, which the mapping joins when it gets a view, a pin or a memslot
   */
  static create(
    fd: number,
    offset: U64,
    length: U64,
    flags: number,
    given: MapOptions,
    usedMappings?: UsedMappings,
  ): Mapping {
    const { protection = Protection.READ | Protection.WRITE, alignment = 0, guard = false } = given;
    const args = {
      fd,
      offset: u64('offset', offset),
      length: u64('length', length),
      protection: u32('protection', protection),
      flags: u32('flags', flags),
    };
    if (args.protection > 0x7fff_ffff) throw rangeError('protection', 'an integer from 0 to 2^31 - 1', protection);
    if (args.flags > 0x7fff_ffff) throw rangeError('flags', 'an integer from 0 to 2^31 - 1', flags);
    // MAP_FIXED would put the mapping over whatever lies at address 0 or at the address that the alignment found.
    if (args.flags & 0x10_0010) throw rangeError('flags', 'without MAP_FIXED: this package chooses addresses', flags);
    const align = u64('alignment', alignment);
    if (align !== 0 && BigInt(align) & (BigInt(align) - 1n)) throw rangeError('alignment', 'a power of two', alignment);
    const handle = owned(
      native.map(
        fd,
        args.offset,
        args.length,
        args.protection,
        args.flags,
        align,
        flag('guard', guard) ? 1 : 0,
        mappedAt,
      ),
      'mmap',
      args,
    );
    // What could be mapped is far below 2^53.
    const pages = Math.ceil(Number(args.length) / pageSize);
    return new Mapping(handle, pages * pageSize, BigInt(args.offset), args.flags, usedMappings);
  }

  /**
   * Copies bytes out of the mapping.
   *
   * @param offset in the mapping, in bytes
   * @param into how many bytes, or the buffer to fill
   * @returns the buffer
   * @throws {MemoryAccessError} at the first page that cannot be read; a buffer given holds what came before it
   */
  read(offset: U64, into: U64): Uint8Array;
  read<T extends NodeJS.ArrayBufferView>(offset: U64, into: T): T;
  read(offset: U64, into: U64 | NodeJS.ArrayBufferView): Uint8Array | NodeJS.ArrayBufferView {
    const { handle } = this;
    if (typeof into === 'number' || typeof into === 'bigint') {
      const [from, length] = range(offset, into, this.length);
      const buffer = new Uint8Array(length);
      this.#complete('read', from, length, native.mappingRead(handle, from, buffer));
      return buffer;
    }
    const buffer = bytes('into', into);
    const [from, length] = range(offset, buffer.length, this.length);
    this.#complete('read', from, length, native.mappingRead(handle, from, buffer));
    return into;
  }

  /**
   * Copies bytes into the mapping.
   *
   * @throws {MemoryAccessError} at the first page that cannot be written; everything before it has been
   */
  write(offset: U64, from: NodeJS.ArrayBufferView | ArrayBufferLike): void {
    const { handle } = this;
    const buffer = bytes('from', from);
    const [at, length] = range(offset, buffer.length, this.length);
    this.#complete('write', at, length, native.mappingWrite(handle, at, buffer));
  }

  /**
   * Sets every byte of a range.
   *
   * @param value from 0 to 255
   * @throws {MemoryAccessError} as {@link write}
   */
  fill(value: number, offset: U64 = 0, length?: U64): void {
    const { handle } = this;
    if (u32('value', value) > 255) throw rangeError('value', 'an integer from 0 to 255', value);
    const [at, count] = range(offset, length, this.length);
    this.#complete('fill', at, count, native.mappingFill(handle, at, count, value));
  }

  /**
   * Compares a range with bytes.
   *
   * @returns the offset in `expected` of the first byte that differs, or -1 when all are equal
   * @throws {MemoryAccessError} at the first page that cannot be read, when all before it is equal
   */
  compare(offset: U64, expected: NodeJS.ArrayBufferView | ArrayBufferLike): number {
    const { handle } = this;
    const buffer = bytes('expected', expected);
    const [at, length] = range(offset, buffer.length, this.length);
    const result = native.mappingCompare(handle, at, buffer);
    if (result < 0) this.#complete('compare', at, length, -1 - result);
    return result === length ? -1 : result;
  }

  #complete(operation: string, offset: number, length: number, done: number): void {
    if (done !== length) throw this.#accessError(operation, offset + done, done);
  }

  #accessError(operation: string, at: number, done: number): MemoryAccessError {
    return new MemoryAccessError(operation, at, done, this.#uses?.guestPhysAddr(at));
  }

  /**
   * An ArrayBuffer over the memory itself: no copy, and no guard either. Every page of the range is touched first
   * (MADV_POPULATE_WRITE, 5.14), which allocates it; where one cannot be accessed now the view is refused.
   *
   * It is detached when the mapping is closed or the range is converted to private through this package. A view that
   * cannot be detached, because it was transferred or marked as untransferable, then shows zero pages instead, so that it
   * never crashes. What another process converts, no view can know of. (Node 24 and 26 abort at their own natural end when a
   * buffer over foreign memory that was marked as untransferable is still alive, whoever made it.)
   *
   * @throws {MemoryAccessError} where a page of the range cannot be accessed, or the mapping cannot be written
   */
  view(offset: U64 = 0, length?: U64): ArrayBuffer {
    const { handle } = this;
    const [at, count] = range(offset, length, this.length);
    const begin = at - (at % pageSize);
    const end = at + count;
    if (count > 0) {
      // JavaScript has no read-only memory, so a view must be able to take a store as well as a load.
      const result = native.mappingAdvise(handle, begin, end - begin, Advice.POPULATE_WRITE);
      // EFAULT and EHWPOISON: a page cannot be had; EINVAL and ENOMEM: the mapping, or a part of it, cannot be written.
      if (result < 0 && ['EFAULT', 'EHWPOISON', 'EINVAL', 'ENOMEM'].includes(errnoName(result)))
        throw this.#accessError('view', at, 0);
      checked(result, 'madvise', { offset: begin, length: end - begin, advice: Advice.POPULATE_WRITE });
    }
    const uses = this.#use();
    const number = uses.nextView();
    const buffer = native.mappingView(handle, number, at, count);
    uses.views.set(number, { buffer: new WeakRef(buffer), offset: at, length: count });
    mappingOfView.set(buffer, this);
    return buffer;
  }

  /**
   * Detaches the views that touch a range; reading them afterwards gives nothing, as after `transfer()`. Pages under one
   * that cannot be detached become zero pages for this mapping, and its guarded access to them fails from then on.
   */
  detachViews(offset: U64 = 0, length?: U64): void {
    const { handle } = this;
    const [at, count] = range(offset, length, this.length);
    for (const [number, view] of this.#uses?.views ?? []) {
      if (view.offset >= at + count || at >= view.offset + view.length) continue;
      if (this.#detach(handle, number, view)) continue;
      const from = Math.max(at, view.offset);
      const to = Math.min(at + count, view.offset + view.length);
      checked(native.mappingSeal(handle, from, to - from), 'mmap', { offset: from, length: to - from });
    }
  }

  /** What the kernel does to a range it does to whole pages: up to the end of its last one. */
  #detachPages(offset: number, length: number): void {
    const end = Math.ceil((offset + length) / pageSize) * pageSize;
    this.detachViews(offset, Math.min(end, this.length) - offset);
  }

  #detach(handle: Handle, number: number, view: TrackedView): boolean {
    const buffer = view.buffer.deref();
    const gone = native.mappingDetachView(handle, number, buffer && detachable(buffer));
    if (gone) this.#uses?.views.delete(number);
    return gone;
  }

  protected override beforeClose(handle: Handle): void {
    for (const [number, view] of this.#uses?.views ?? []) this.#detach(handle, number, view);
    this.#uses?.views.clear();
  }

  /**
   * madvise on a range.
   *
   * @param advice one of {@link Advice}, or any other number to see what the kernel says
   * @throws {KvmError} EINVAL where kernel or memory does not take it, EFAULT from POPULATE_* at an inaccessible page
   */
  advise(advice: number, offset: U64 = 0, length?: U64): void {
    const { handle } = this;
    const [at, count] = range(offset, length, this.length);
    // REMOVE and most others leave views usable; these make addresses inaccessible.
    if (inaccessible.includes(advice)) this.#detachPages(at, count);
    checked(native.mappingAdvise(handle, at, count, i32('advice', advice)), 'madvise', {
      offset: at,
      length: count,
      advice,
    });
  }

  /** mprotect on a range; views over it are detached first when it takes READ or WRITE away. */
  protect(protection: number, offset: U64 = 0, length?: U64): void {
    const { handle } = this;
    const [at, count] = range(offset, length, this.length);
    const bits = i32('protection', protection);
    if ((bits & 3) !== 3) this.#detachPages(at, count);
    checked(native.mappingProtect(handle, at, count, bits), 'mprotect', {
      offset: at,
      length: count,
      protection: bits,
    });
  }

  /**
   * mbind on a range. Kernels before 6.19 accept a policy for guest_memfd and ignore it; see `capabilities`.
   *
   * @param given.mode one of {@link MemoryPolicy}
   * @param given.nodes node numbers, 0 to 1023
   * @param given.flags {@link BindFlag}s, default 0
   * @throws {KvmError} EINVAL for an unknown mode or nodes that do not fit it
   */
  bind(given: {
    mode: number;
    nodes?: readonly number[];
    flags?: number;
    offset?: U64;
    length?: U64 | undefined;
  }): void {
    const { mode, nodes = [], flags = 0, offset = 0, length } = options('options', given);
    const { handle } = this;
    const [at, count] = range(offset, length, this.length);
    if (!Array.isArray(nodes)) throw typeError('nodes', 'an array of node numbers', nodes);
    const mask = new BigUint64Array(nodes.length === 0 ? 0 : 16);
    for (const node of nodes) {
      if (u32('nodes', node) > 1023) throw rangeError('nodes', 'node numbers from 0 to 1023', node);
      mask[node >> 6] = (mask[node >> 6] ?? 0n) | (1n << BigInt(node & 63));
    }
    checked(native.mappingBind(handle, at, count, i32('mode', mode), u32('flags', flags), mask), 'mbind', {
      mode,
      nodes: nodes.join('+'),
      flags,
      offset: at,
      length: count,
    });
  }

  /** get_mempolicy of one address (MPOL_F_ADDR). ENOSYS on a kernel without NUMA. */
  policy(offset: U64 = 0): PolicyAt {
    const { handle } = this;
    const [at] = range(offset, 1, this.length);
    const words = new BigUint64Array(17);
    checked(native.mappingPolicy(handle, at, words), 'get_mempolicy', { offset: at });
    const nodes: number[] = [];
    for (let node = 0; node < 1024; node++)
      if (((words[1 + (node >> 6)] ?? 0n) >> BigInt(node & 63)) & 1n) nodes.push(node);
    return { mode: Number(words[0]), nodes };
  }

  /**
   * Takes references to the pages of a range, as a device that does DMA would, until the pin is closed: by a registered
   * buffer of io_uring (5.1), else by vmsplice. Pages that are not there are allocated.
   *
   * @throws {KvmError} EFAULT where a page cannot be accessed, ENOMEM over RLIMIT_MEMLOCK, EPERM or EINVAL for more pages than
   *   a pipe may hold where io_uring is not to be had
   *
   * @example
   * using pin = mapping.pin(0, pageSize);
   */
  pin(offset: U64 = 0, length?: U64): PagePin {
    const { handle } = this;
    const [at, count] = range(offset, length, this.length);
    const pin = new PagePin(
      owned(native.mappingPin(handle, at, count), 'io_uring_register', { offset: at, length: count }),
      at,
      count,
    );
    this.#use().addPin(pin);
    return pin;
  }

  /**
   * Makes a child of this process by fork() that touches this mapping when it is told to: for seeing what other processes see
   * of memory that this one converts or punches. Close it soon: until then it holds copies of every file descriptor, so that
   * nothing of this process's goes away for the kernel.
   *
   * @throws {KvmError} EAGAIN or ENOMEM where no process can be made
   */
  forkChild(): ForkedChild {
    return new ForkedChild(owned(native.mappingForkChild(this.handle), 'fork'), this.length);
  }

  /** @internal */
  openPins(): PagePin[] {
    return this.#uses?.openPins() ?? [];
  }

  /** @internal The views that have not been detached, as ranges of the mapping. */
  openViews(): { offset: number; length: number }[] {
    return this.#uses?.openViews() ?? [];
  }

  /**
   * mincore: which pages are in memory. For a guest_memfd these are the ones that the host has touched through any
   * mapping; pages that were only allocated or only touched by the guest may count as absent.
   *
   * @param offset page-aligned
   * @returns one entry a page
   */
  residency(offset: U64 = 0, length?: U64): boolean[] {
    const { handle } = this;
    const [at, count] = range(offset, length, this.length);
    const pages = new Uint8Array(Math.ceil(count / pageSize));
    checked(native.mappingResidency(handle, at, count, pages), 'mincore', { offset: at, length: count });
    return Array.from(pages, (page) => (page & 1) === 1);
  }

  /**
   * The NUMA node of each page, from move_pages without moving: a node number, or a negative errno (-2, ENOENT, for a page
   * this process has not touched).
   */
  nodes(offset: U64 = 0, length?: U64): number[] {
    const { handle } = this;
    const [at, count] = range(offset, length, this.length);
    const pages = new Int32Array(Math.ceil(count / pageSize));
    checked(native.mappingNodes(handle, at, pages), 'move_pages', { offset: at, pages: pages.length });
    return Array.from(pages);
  }

  /** @internal A slot of a VM begins at `mappingOffset`: for the guest physical address in errors. */
  enterSlot(vm: object, slot: number, mappingOffset: number, guestPhysAddr: U64, size: U64): void {
    this.#use().enterSlot(vm, slot, { mappingOffset, guestPhysAddr, size });
  }

  /** @internal */
  leaveSlot(vm: object, slot: number): void {
    this.#uses?.leaveSlot(vm, slot);
  }
}

/**
 * Anonymous memory of this process (mmap with MAP_ANONYMOUS), zeroed: what a memslot without guest_memfd lies on.
 *
 * @param given.size bytes, rounded up to whole pages
 * @param given.flags {@link MapFlag}s besides ANONYMOUS, default PRIVATE | NORESERVE
 * @param given.guard keep an inaccessible page behind it, default false
 *
 * @example
 * using ram = mapAnonymous({ size: 1 << 20 });
 * vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, size: ram.length, mapping: ram });
 */
export function mapAnonymous(given: {
  size: U64;
  protection?: number;
  flags?: number;
  alignment?: U64;
  guard?: boolean;
}): Mapping {
  const { size, flags = MapFlag.PRIVATE | MapFlag.NORESERVE } = options('options', given);
  return Mapping.create(anonymous, 0, u64('size', size), (u32('flags', flags) | MapFlag.ANONYMOUS) >>> 0, given);
}
