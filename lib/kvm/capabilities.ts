import { Capability, GuestMemfdFlag, MemoryAttribute, VmType } from './constants.ts';
import { Kvm } from './kvm.ts';
import type { Vm } from './vm.ts';

/** What a KVM device, or one VM, says it can do. */
export interface Capabilities {
  /** Whom it was asked of: the device answers for some VM, a VM for itself. */
  readonly of: 'device' | 'vm';
  /** guest_memfd exists (KVM_CAP_GUEST_MEMFD, 6.8). */
  readonly guestMemfd: boolean;
  /** Flags that createGuestMemfd takes (KVM_CAP_GUEST_MEMFD_FLAGS, 6.18); unknown bits as 'bit 5'. */
  readonly guestMemfdFlags: readonly string[];
  /** Attributes that setMemoryAttributes takes (KVM_CAP_MEMORY_ATTRIBUTES, 6.8). */
  readonly memoryAttributes: readonly string[];
  /** KVM_SET_USER_MEMORY_REGION2 exists (6.8). */
  readonly userMemory2: boolean;
  /** Memory faults are described in an exit (KVM_CAP_MEMORY_FAULT_INFO, 6.8; arm64 does it without saying so). */
  readonly memoryFaultInfo: boolean;
  /** Guest memory can be mapped before it is touched (KVM_CAP_PRE_FAULT_MEMORY, 6.11). */
  readonly preFaultMemory: boolean;
  /** VM types that can be asked for (KVM_CAP_VM_TYPES, 6.8, x86); empty where the capability is absent. */
  readonly vmTypes: readonly string[];
  /** Hypercalls that can be made to exit, as a bit mask (KVM_CAP_EXIT_HYPERCALL, 5.14, x86). */
  readonly exitHypercalls: number;
  readonly maxMemslots: number;
  readonly maxVcpus: number;
  /** Every answer by the capability's name, as the kernel gave it. */
  readonly raw: Readonly<Record<keyof typeof Capability, number>>;
}

/** Names of the bits of a mask, lowest first. */
function bits(mask: number, names: Readonly<Record<string, number>>): string[] {
  const found: string[] = [];
  for (let bit = 0; bit < 31; bit++) {
    if (!(mask & (1 << bit))) continue;
    found.push(Object.keys(names).find((name) => names[name] === 1 << bit) ?? `bit ${bit}`);
  }
  return found;
}

const vmTypeBits = Object.fromEntries(Object.entries(VmType).map(([name, type]) => [name, 1 << type]));

/**
 * Asks a device or a VM for everything this package knows to ask, by KVM_CHECK_EXTENSION. What a capability cannot tell
 * (whether a NUMA policy is honoured, whether conversion happens in place) `gmem probe` finds by doing it.
 *
 * @example
 * capabilities(vm).guestMemfdFlags; // [ 'MMAP', 'INIT_SHARED' ]
 */
export function capabilities(asked: Kvm | Vm): Capabilities {
  const raw = Object.fromEntries(
    Object.entries(Capability).map(([name, number]) => [name, asked.checkExtension(number)]),
  ) as Record<keyof typeof Capability, number>;
  return {
    of: asked instanceof Kvm ? 'device' : 'vm',
    guestMemfd: raw.GUEST_MEMFD > 0,
    guestMemfdFlags: bits(raw.GUEST_MEMFD_FLAGS, GuestMemfdFlag),
    memoryAttributes: bits(raw.MEMORY_ATTRIBUTES, MemoryAttribute),
    userMemory2: raw.USER_MEMORY2 > 0,
    memoryFaultInfo: raw.MEMORY_FAULT_INFO > 0,
    preFaultMemory: raw.PRE_FAULT_MEMORY > 0,
    vmTypes: bits(raw.VM_TYPES, vmTypeBits),
    exitHypercalls: raw.EXIT_HYPERCALL,
    maxMemslots: raw.NR_MEMSLOTS,
    maxVcpus: raw.MAX_VCPUS,
    raw,
  };
}
