import { existsSync } from 'node:fs';
import { Capability, GuestMemfdFlag } from '../kvm/constants.ts';
import type { Kvm } from '../kvm/kvm.ts';
import type { HostFacts } from './model.ts';

/** What requirements are judged by. */
export interface Ground {
  readonly kvm: Kvm;
  readonly host: HostFacts;
  /** KVM_CHECK_EXTENSION of a default VM. */
  readonly defaultVm: (capability: number) => number;
}

/** Why a check cannot be asked here. */
export interface Unmet {
  readonly reason: string;
  readonly remedy?: string;
}

/** Something a check needs. */
export interface Requirement {
  /** For the catalogue, as 'GUEST_MEMFD'. */
  readonly name: string;
  unmet(ground: Ground): Unmet | undefined;
}

/** guest_memfd for a default VM. */
export const guestMemfd: Requirement = {
  name: 'guest_memfd',
  unmet: ({ kvm, defaultVm }) => {
    if (defaultVm(Capability.GUEST_MEMFD) > 0) return undefined;
    return kvm.checkExtension(Capability.GUEST_MEMFD) > 0
      ? {
          reason: 'this kernel offers guest_memfd to confidential VMs only (KVM_CAP_GUEST_MEMFD is 0 for a default VM)',
          remedy: 'Use Linux 6.18 or later',
        }
      : {
          reason: 'this kernel has no guest_memfd (KVM_CAP_GUEST_MEMFD is 0)',
          remedy:
            'Use Linux 6.18 or later; 6.8 to 6.17 need CONFIG_KVM_SW_PROTECTED_VM, CONFIG_KVM_AMD_SEV or CONFIG_KVM_INTEL_TDX',
        };
  },
};

function flag(bit: number, name: string): Requirement {
  return {
    name,
    unmet: ({ defaultVm }) =>
      defaultVm(Capability.GUEST_MEMFD_FLAGS) & bit
        ? undefined
        : {
            reason: `guest_memfd flag ${name} is not supported for a default VM (KVM_CAP_GUEST_MEMFD_FLAGS is ${defaultVm(Capability.GUEST_MEMFD_FLAGS)})`,
            remedy: 'It came with Linux 6.18',
          },
  };
}

/** guest_memfd that can be mapped. */
export const mmap: Requirement = flag(GuestMemfdFlag.MMAP, 'MMAP');
/** guest_memfd whose memory starts shared. */
export const initShared: Requirement = flag(GuestMemfdFlag.INIT_SHARED, 'INIT_SHARED');

/** KVM_SET_USER_MEMORY_REGION2. */
export const userMemory2: Requirement = {
  name: 'USER_MEMORY2',
  unmet: ({ defaultVm }) =>
    defaultVm(Capability.USER_MEMORY2) > 0
      ? undefined
      : { reason: 'this kernel has no KVM_SET_USER_MEMORY_REGION2', remedy: 'It came with Linux 6.8' },
};

/** A guest program for this architecture. */
export const guestProgram: Requirement = {
  name: 'guest program',
  unmet: ({ host }) =>
    host.architecture === 'x64'
      ? undefined
      : { reason: `the guest program has not been written for ${host.architecture} yet` },
};

/** Transparent huge pages, which MADV_HUGEPAGE and MADV_COLLAPSE belong to. */
export const hugePages: Requirement = {
  name: 'transparent huge pages',
  unmet: () =>
    existsSync('/sys/kernel/mm/transparent_hugepage')
      ? undefined
      : {
          reason: 'this kernel has no transparent huge pages',
          remedy: 'Build it with CONFIG_TRANSPARENT_HUGEPAGE',
        },
};

/** At least so many NUMA nodes with memory. */
export function numaNodes(count: number): Requirement {
  return {
    name: `${count} NUMA nodes`,
    unmet: ({ host }) =>
      host.numaNodes >= count
        ? undefined
        : {
            reason: `this machine has ${host.numaNodes === 1 ? 'one NUMA node' : `${host.numaNodes} NUMA nodes`}, the check needs ${count}`,
            remedy: 'Run it in a virtual machine with several nodes (QEMU: -numa node,…)',
          },
  };
}
