import { options as checkOptions, flag, instance, type U64, u32, u64 } from '../kvm/arguments.ts';
import { closeAll } from '../kvm/close-all.ts';
import { Capability, MemoryAttribute, MemoryRegionFlag, VmType } from '../kvm/constants.ts';
import type { GuestMemfd } from '../kvm/guest-memfd.ts';
import { Vm } from '../kvm/vm.ts';
import { type Allocation, refusedBy, Undo } from './allocation.ts';
import { BackendError } from './error.ts';

/**
 * What a memslot's memory is:
 *
 * - `hva`: host addresses, whatever lies there;
 * - `hva-with-private-guest-memfd`: host addresses for what is shared, and a guest_memfd of the same size for what is
 *   private; the memory attribute of each page decides;
 * - `guest-memfd-as-hva`: a guest_memfd by the host addresses that it is mapped at; KVM does not know what it is, so the
 *   dirty log works and the same pages may lie in several slots;
 * - `guest-memfd-bound`: KVM takes the pages from the guest_memfd itself; one slot for each page, no dirty log, and what
 *   conversion in place needs.
 */
export type AttachMode = 'hva' | 'hva-with-private-guest-memfd' | 'guest-memfd-as-hva' | 'guest-memfd-bound';

/** Where in a VM a backend goes. */
export interface AttachOptions {
  readonly slot: number;
  /** Page-aligned. */
  readonly guestPhysAddr: U64;
  /** Where in the backend the slot begins, default 0. */
  readonly offset?: U64;
  /** Bytes, default to the end of the backend. */
  readonly size?: U64;
  /** Default: what QEMU takes for this backend in this type of VM. */
  readonly mode?: AttachMode;
  /** {@link MemoryRegionFlag}s besides those that the mode needs, default none. */
  readonly flags?: number;
  /** With a private guest_memfd: allocate all of it now, default false. */
  readonly preallocPrivate?: boolean;
}

/** A backend in a memslot of a VM. Made by {@link MemoryBackend.attach}. */
export class Attachment implements Disposable {
  readonly vm: Vm;
  readonly slot: number;
  readonly guestPhysAddr: U64;
  readonly size: U64;
  readonly mode: AttachMode;
  /** The private guest_memfd beside the memory, or the one that is bound. */
  readonly guestMemfd: GuestMemfd | undefined;
  /**
   * Bytes of the private guest_memfd that this object allocated. The kernel tells nobody how much of a private
   * guest_memfd there is, so what the guest touched is not in it.
   */
  readonly privateBytes: number;
  readonly #ownsGuestMemfd: boolean;
  #closed = false;

  /** @internal */
  constructor(vm: Vm, backend: Allocation, size: U64, given: AttachOptions) {
    instance('vm', Vm, vm);
    const { slot, guestPhysAddr, offset = 0, flags = 0, preallocPrivate = false } = checkOptions('options', given);
    u32('flags', flags);
    flag('preallocPrivate', preallocPrivate);
    u64('offset', offset);
    if (given.size !== undefined) u64('size', given.size);
    const mode = given.mode ?? defaultMode(vm, backend);
    const rest = BigInt(u64('size', size)) - BigInt(offset);
    const length = given.size ?? rest;
    const undo = new Undo();
    let guestMemfd: GuestMemfd | undefined;
    try {
      if (mode === 'hva-with-private-guest-memfd') {
        guestMemfd = undo.close(vm.createGuestMemfd({ size: length }));
        if (preallocPrivate) guestMemfd.allocate(0, length);
      } else if (mode === 'guest-memfd-bound') guestMemfd = requireGuestMemfd(backend, mode);
      else if (mode === 'guest-memfd-as-hva') requireGuestMemfd(backend, mode);
      refusedBy('memslot', slot, () =>
        vm.setUserMemoryRegion({
          slot,
          guestPhysAddr,
          size: length,
          flags: (flags | (backend.rom ? MemoryRegionFlag.READONLY : 0)) >>> 0,
          mapping: backend.mapping,
          mappingOffset: offset,
          ...(guestMemfd ? { guestMemfd, guestMemfdOffset: mode === 'guest-memfd-bound' ? offset : 0 } : {}),
        }),
      );
    } catch (error) {
      undo.run();
      throw error;
    }
    this.vm = vm;
    this.slot = slot;
    this.guestPhysAddr = guestPhysAddr;
    this.size = length;
    this.mode = mode;
    this.guestMemfd = guestMemfd;
    this.#ownsGuestMemfd = mode === 'hva-with-private-guest-memfd';
    this.privateBytes = this.#ownsGuestMemfd && preallocPrivate ? Number(length) : 0;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Deletes the memslot, and closes a private guest_memfd that was made for it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const slot = { close: () => this.vm.closed || this.vm.deleteUserMemoryRegion(this.slot) };
    closeAll(slot, this.#ownsGuestMemfd ? this.guestMemfd : undefined);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function requireGuestMemfd(backend: Allocation, mode: AttachMode): GuestMemfd {
  if (backend.guestMemfd) return backend.guestMemfd;
  throw new BackendError(`this backend has no guest_memfd, which the mode ${mode} needs`, {
    property: 'mode',
    value: mode,
    remedy: 'Use memory-backend-guest-memfd, or memory-backend-memfd,x-guest-memfd=on',
  });
}

function defaultMode(vm: Vm, backend: Allocation): AttachMode {
  if (backend.guestMemfd) return backend.bound ? 'guest-memfd-bound' : 'guest-memfd-as-hva';
  const attributes = vm.checkExtension(Capability.MEMORY_ATTRIBUTES);
  const hasPrivate = Number(vm.type) !== VmType.DEFAULT && (attributes & MemoryAttribute.PRIVATE) !== 0;
  return hasPrivate ? 'hva-with-private-guest-memfd' : 'hva';
}
