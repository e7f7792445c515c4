import type { CallArguments } from './errors.ts';

interface Explanation {
  reason?: string;
  remedy?: string;
}

type Explainer = (args: CallArguments) => Explanation | undefined;

const aligned = (value: CallArguments[string]) => BigInt.asUintN(12, BigInt(value as number | bigint)) === 0n;

function firstUnaligned(args: CallArguments, names: string[]): string | undefined {
  return names.find((name) => args[name] !== undefined && !aligned(args[name]));
}

/**
 * What an errno of a call means, by `syscall` and code. Only causes that follow from the kernel's rules stand here (the
 * sources are virt/kvm/kvm_main.c and guest_memfd.c of 6.18 and 7.3); an error that is not listed explains nothing
 * rather than guess.
 */
const table: Record<string, Record<string, Explainer>> = {
  'open(/dev/kvm)': {
    ENOENT: () => ({
      reason: 'there is no KVM device',
      remedy:
        'Load kvm_intel or kvm_amd, switch on virtualisation in the firmware, or pass /dev/kvm into the container or nested VM',
    }),
    EACCES: () => ({
      reason: 'this user may not open the device',
      remedy:
        "Add the user to the device's group (usually kvm) and log in again, or loosen the device's mode by a udev rule",
    }),
    EPERM: () => ({
      reason: 'a device policy (cgroup, seccomp or security module) refuses it',
      remedy: 'Allow the container the device /dev/kvm, for example with --device /dev/kvm',
    }),
    ENODEV: () => ({
      reason: 'the device node is there, but no KVM driver stands behind it',
      remedy: 'Load kvm_intel or kvm_amd',
    }),
    ENXIO: () => ({
      reason: 'the device node is there, but no KVM driver stands behind it',
      remedy: 'Load kvm_intel or kvm_amd',
    }),
  },
  'ioctl(KVM_GET_API_VERSION)': {
    ENOTTY: () => ({ reason: 'the file that was opened is not a KVM device' }),
  },
  'ioctl(KVM_CREATE_VM)': {
    EINVAL: () => ({
      reason: 'this kernel does not offer that VM type',
      remedy: 'Capability VM_TYPES has a bit for each type that it offers',
    }),
  },
  'ioctl(KVM_CREATE_GUEST_MEMFD)': {
    ENOTTY: () => ({
      reason: 'this kernel has no guest_memfd',
      remedy: 'It came with 6.8; x86 needs CONFIG_KVM_GUEST_MEMFD',
    }),
    EINVAL: ({ size, flags }) => {
      const bytes = BigInt(size as number | bigint);
      if (bytes === 0n || bytes >= 1n << 63n) return { reason: 'the size must be above 0 and below 2^63' };
      if (!aligned(size)) return { reason: 'the size is not a multiple of the page size' };
      return {
        reason: `flags ${flags} are not all supported for this VM`,
        remedy: 'vm.checkExtension(Capability.GUEST_MEMFD_FLAGS) tells which are',
      };
    },
  },
  'ioctl(KVM_SET_USER_MEMORY_REGION2)': {
    ENOTTY: () => ({ reason: 'this kernel has no KVM_SET_USER_MEMORY_REGION2', remedy: 'It came with 6.8' }),
    EEXIST: () => ({
      reason:
        'the guest physical range overlaps another memslot, or (since 7.x) the range of the guest_memfd is bound to one',
    }),
    EBADF: () => ({ reason: 'guestMemfd is not an open file descriptor' }),
    EINVAL: (args) => {
      const wrong = firstUnaligned(args, ['guestPhysAddr', 'size', 'userspaceAddr', 'guestMemfdOffset']);
      if (wrong) return { reason: `${wrong} is not page-aligned` };
      const flags = Number(args['flags'] ?? 0);
      if (flags & ~7) return { reason: 'a flag that no kernel knows' };
      if (flags & 4 && flags & 3)
        return { reason: 'a slot with a guest_memfd can neither log dirty pages nor be read-only' };
      if (BigInt(args['size'] as number | bigint) === 0n) return { reason: 'there is no such slot to delete' };
      if (flags & 4)
        return {
          reason:
            'guestMemfd is not a guest_memfd of this VM, the range ends beyond its size or (before 7.x) is bound already, or the slot exists and a slot with guest_memfd cannot be changed',
        };
      return {
        reason: 'the slot number or address is out of range, or the change is one that needs delete and create',
      };
    },
  },
  'ioctl(KVM_SET_USER_MEMORY_REGION)': {
    EEXIST: () => ({ reason: 'the guest physical range overlaps another memslot' }),
    EINVAL: (args) => {
      const wrong = firstUnaligned(args, ['guestPhysAddr', 'size', 'userspaceAddr']);
      if (wrong) return { reason: `${wrong} is not page-aligned` };
      if (Number(args['flags'] ?? 0) & ~3)
        return { reason: 'this older ioctl takes only LOG_DIRTY_PAGES and READONLY' };
      return undefined;
    },
  },
  'ioctl(KVM_SET_MEMORY_ATTRIBUTES)': {
    ENOTTY: () => ({
      reason: 'this kernel has no per-VM memory attributes',
      remedy: 'They need 6.8 and one of CONFIG_KVM_SW_PROTECTED_VM, CONFIG_KVM_AMD_SEV or CONFIG_KVM_INTEL_TDX',
    }),
    EINVAL: (args) => {
      const wrong = firstUnaligned(args, ['address', 'size']);
      if (wrong) return { reason: `${wrong} is not page-aligned` };
      if (BigInt(args['size'] as number | bigint) === 0n) return { reason: 'the size is 0' };
      return {
        reason: 'this VM does not support those attributes, or the range wraps',
        remedy: 'vm.checkExtension(Capability.MEMORY_ATTRIBUTES) tells which it supports',
      };
    },
  },
  'ioctl(KVM_SET_MEMORY_ATTRIBUTES2)': {
    ENOTTY: () => ({
      reason: 'this kernel has no in-place conversion',
      remedy:
        'It is a pending kernel feature; where it is built in, module parameter kvm.gmem_in_place_conversion switches it',
    }),
    EAGAIN: () => ({ reason: 'a page in the range is pinned or otherwise in use; nothing was converted' }),
  },
  'ioctl(KVM_PRE_FAULT_MEMORY)': {
    ENOTTY: () => ({ reason: 'this kernel cannot pre-fault', remedy: 'It came with 6.11, on x86 with the TDP MMU' }),
    EOPNOTSUPP: () => ({ reason: 'pre-faulting needs nested paging (EPT or NPT), which this VM does not use' }),
    ENOENT: () => ({ reason: 'no memslot lies at that address' }),
    EAGAIN: () => ({ reason: 'the memslot is being changed' }),
  },
  'ioctl(KVM_RUN)': {
    EFAULT: () => ({ reason: 'KVM could not reach memory that it needs and did not say which' }),
    EAGAIN: () => ({ reason: 'the vCPU is waiting to be started by another one' }),
    ENOEXEC: () => ({ reason: 'the vCPU has not been initialised' }),
  },
  mmap: {
    ENODEV: () => ({
      reason: 'this guest_memfd was made without GuestMemfdFlag.MMAP, or the kernel cannot map any (before 6.18)',
    }),
    EPERM: () => ({ reason: 'guest_memfd memory cannot be executable on the host' }),
    EINVAL: () => ({
      reason:
        'the offset is not page-aligned, the length is 0, or the flags are not allowed (guest_memfd maps only MAP_SHARED)',
    }),
    ENOMEM: () => ({ reason: 'not enough address space or memory, or too many mappings (vm.max_map_count)' }),
  },
  fallocate: {
    EOPNOTSUPP: () => ({ reason: 'guest_memfd takes KEEP_SIZE, alone or with PUNCH_HOLE, and no other mode' }),
    EINVAL: () => ({ reason: 'offset or length is not page-aligned, empty, or (when allocating) beyond the file' }),
    ENOMEM: () => ({ reason: 'not enough memory, or the memory cgroup is at its limit' }),
  },
  madvise: { EINVAL: () => ({ reason: 'this memory or kernel does not take that advice' }) },
  mbind: {
    EINVAL: () => ({ reason: 'an unknown policy, or nodes that do not fit it or do not exist' }),
    ENOSYS: () => ({ reason: 'this kernel is built without NUMA' }),
  },
};

const anyVmIoctl: Record<string, Explainer> = {
  EIO: () => ({ reason: 'the VM belongs to another process (it cannot be used after fork) or is dead' }),
  EBADF: () => ({ reason: 'the file descriptor was closed behind this object' }),
  EPERM: () => ({ reason: 'a security policy (seccomp or a security module) refuses the ioctl' }),
};

/** The cause and the remedy of a failed call, as far as they are known. */
export function explain(syscall: string, code: string, args: CallArguments): Explanation {
  const entry = table[syscall]?.[code] ?? (syscall.startsWith('ioctl(') ? anyVmIoctl[code] : undefined);
  // One that looks at the arguments has nothing to say where an error was made without them.
  if (!entry || (entry.length > 0 && Object.keys(args).length === 0)) return {};
  return entry(args) ?? {};
}
