import { existsSync } from 'node:fs';
import { Capability, GuestMemfdFlag, MemoryAttribute, VmType } from '../kvm/constants.ts';
import type { Kvm } from '../kvm/kvm.ts';
import {
  firstCause,
  type Look,
  type Machine,
  noGuestMemfd,
  noHugePages,
  noNuma,
  noPreFault,
  noPrivateMemory,
} from '../system/causes.ts';
import { configSources } from '../system/kernel-config.ts';
import type { HostFacts } from './model.ts';

/** What requirements are judged by. */
export interface Ground {
  readonly kvm: Kvm;
  readonly host: HostFacts;
  /** KVM_CHECK_EXTENSION of a default VM. */
  readonly defaultVm: (capability: number) => number;
  /** What files tell of host and kernel: read when a cause is looked for. */
  readonly machine?: () => Machine;
}

/** Why a check cannot be asked here. */
export interface Unmet {
  readonly reason: string;
  readonly remedy?: string;
  /** Why that is so, each the cause of the one before, down to the first cause that was found. */
  readonly chain?: readonly string[];
}

/** Adds why that is so, and the remedy of the first cause, where one is found. */
function because(unmet: Unmet, looks: readonly Look[], { machine }: Ground): Unmet {
  if (!machine) return unmet;
  const found = firstCause(looks, machine());
  if (!found) {
    const { config, release } = machine().kernel;
    // Nothing is found where nothing can be read, which is no proof that nothing is missing.
    return config.source !== undefined || looks.length === 0
      ? unmet
      : {
          ...unmet,
          chain: [`why cannot be told: none of ${configSources(release).join(', ')} can be read`],
        };
  }
  return { ...unmet, remedy: found.remedy, chain: [found.cause, ...(found.because ?? [])] };
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
  unmet: (ground) => {
    const { kvm, defaultVm } = ground;
    if (defaultVm(Capability.GUEST_MEMFD) > 0) return undefined;
    const unmet: Unmet =
      kvm.checkExtension(Capability.GUEST_MEMFD) > 0
        ? {
            reason:
              'this kernel offers guest_memfd to confidential VMs only (KVM_CAP_GUEST_MEMFD is 0 for a default VM)',
            remedy: 'Use Linux 6.18 or later',
          }
        : {
            reason: 'this kernel has no guest_memfd (KVM_CAP_GUEST_MEMFD is 0)',
            remedy:
              'Use Linux 6.18 or later; 6.8 to 6.17 need CONFIG_KVM_SW_PROTECTED_VM, CONFIG_KVM_AMD_SEV or CONFIG_KVM_INTEL_TDX',
          };
    return because(unmet, noGuestMemfd, ground);
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
    ['x64', 'arm64'].includes(host.architecture)
      ? undefined
      : { reason: `there is no guest program for ${host.architecture}` },
};

/** VMs whose memory has a private and a shared side, told apart by the VM's memory attributes. */
export const memoryAttributes: Requirement = {
  name: 'memory attributes',
  unmet: (ground) => {
    const { host } = ground;
    if (host.architecture !== 'x64') return { reason: `KVM has no private memory on ${host.architecture}` };
    if (!host.vmTypes.includes(VmType.SW_PROTECTED)) {
      const reason =
        'this kernel has no software-protected VMs (type 1 of KVM_CAP_VM_TYPES), the only ones with private memory that need no confidential hardware';
      const { remedy = 'Build it with CONFIG_KVM_SW_PROTECTED_VM and use the TDP MMU', chain } = because(
        { reason },
        noPrivateMemory,
        ground,
      );
      return {
        reason,
        remedy: `${remedy}, or run it in the lab: gmem lab run --kernel "$(gmem lab kernels path sw-protected-7.3)"`,
        ...(chain ? { chain } : {}),
      };
    }
    return (host.capabilities['MEMORY_ATTRIBUTES'] ?? 0) & MemoryAttribute.PRIVATE
      ? undefined
      : {
          reason: `the kernel has no attribute PRIVATE for VMs (KVM_CAP_MEMORY_ATTRIBUTES is ${host.capabilities['MEMORY_ATTRIBUTES'] ?? 0})`,
          remedy:
            'Linux 6.8 and later have it; where attributes belong to each guest_memfd, load kvm with gmem_in_place_conversion=N',
        };
  },
};

/** KVM_PRE_FAULT_MEMORY. */
export const preFault: Requirement = {
  name: 'PRE_FAULT_MEMORY',
  unmet: (ground) =>
    ground.defaultVm(Capability.PRE_FAULT_MEMORY) > 0
      ? undefined
      : because(
          {
            reason:
              'this kernel does not pre-fault guest memory (KVM_CAP_PRE_FAULT_MEMORY is 0): it is older than 6.11, not x86, or uses shadow page tables',
            remedy: 'Use Linux 6.11 or later on x86-64 with EPT or NPT',
          },
          noPreFault,
          ground,
        ),
};

/** Transparent huge pages, which MADV_HUGEPAGE and MADV_COLLAPSE belong to. */
export const hugePages: Requirement = {
  name: 'transparent huge pages',
  unmet: (ground) =>
    existsSync('/sys/kernel/mm/transparent_hugepage')
      ? undefined
      : because(
          {
            reason: 'this kernel has no transparent huge pages',
            remedy: 'Build it with CONFIG_TRANSPARENT_HUGEPAGE',
          },
          noHugePages,
          ground,
        ),
};

/** At least so many NUMA nodes with memory. */
export function numaNodes(count: number): Requirement {
  return {
    name: `${count} NUMA nodes`,
    unmet: (ground) => {
      const { numaNodes: nodes } = ground.host;
      if (nodes >= count) return undefined;
      return because(
        {
          reason: `this machine has ${nodes === 1 ? 'one NUMA node' : `${nodes} NUMA nodes`}, the check needs ${count}`,
          remedy: 'Run it in a virtual machine with several nodes (QEMU: -numa node,…)',
        },
        noNuma,
        ground,
      );
    },
  };
}
