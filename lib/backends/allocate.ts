import { Capability, GuestMemfdFlag } from '../kvm/constants.ts';
import { KvmError } from '../kvm/errors.ts';
import { mapAnonymous } from '../kvm/mapping.ts';
import { MemoryFile } from '../kvm/memory-file.ts';
import { pageSize as systemPageSize } from '../kvm/native.ts';
import type { Vm } from '../kvm/vm.ts';
import { type Allocation, mapFlags, placeOf, refusedBy, requireWholePages, type Undo } from './allocation.ts';
import { BackendError } from './error.ts';
import { allocateFile } from './file.ts';
import { overcommitPolicy } from './host.ts';
import { allocateMemfd } from './memfd.ts';
import type { MemoryBackendOptions } from './properties.ts';
import { isGuestMemfd, isShared } from './validate.ts';

const notEnough = (code: string) =>
  code === 'ENOMEM' ? 'There is not so much memory or address space; use less, or reserve=off' : undefined;

function allocateRam(options: MemoryBackendOptions): Allocation {
  const { size } = options;
  const mapping = refusedBy(
    'size',
    size,
    () => mapAnonymous({ size, flags: mapFlags(options), ...placeOf(size) }),
    notEnough,
  );
  return { mapping, pageSize: systemPageSize };
}

function allocateShm(options: MemoryBackendOptions, undo: Undo): Allocation {
  const { size } = options;
  const file = undo.close(refusedBy('qom-type', options['qom-type'], () => MemoryFile.sharedMemory()));
  refusedBy('size', size, () => file.resize(size));
  const mapping = refusedBy(
    'size',
    size,
    () => file.map({ length: size, flags: mapFlags(options), ...placeOf(size) }),
    notEnough,
  );
  return { mapping, file, pageSize: systemPageSize };
}

const vepc = '/dev/sgx_vepc';

function allocateEpc(options: MemoryBackendOptions, undo: Undo): Allocation {
  const { size } = options;
  let file: MemoryFile;
  try {
    file = undo.close(MemoryFile.open(vepc));
  } catch (cause) {
    if (!(cause instanceof KvmError)) throw cause;
    throw new BackendError(`${vepc} cannot be opened (${cause.code}), so this host has no enclave pages for guests`, {
      property: 'qom-type',
      value: options['qom-type'],
      remedy:
        cause.code === 'EACCES'
          ? 'Run as a user that may open it'
          : 'It needs a processor with SGX, SGX switched on in the firmware, and CONFIG_X86_SGX_KVM (5.13)',
      cause,
    });
  }
  const mapping = refusedBy('size', size, () => file.map({ length: size, ...placeOf(size) }), notEnough);
  return { mapping, file, pageSize: systemPageSize, path: vepc };
}

function allocateGuestMemfd(options: MemoryBackendOptions, vm: Vm | undefined, undo: Undo): Allocation {
  const { size } = options;
  const property = options['qom-type'] === 'memory-backend-memfd' ? 'x-guest-memfd' : 'qom-type';
  const value = property === 'qom-type' ? options['qom-type'] : 'on';
  if (!vm)
    throw new BackendError('a guest_memfd is made by KVM for one VM', {
      property,
      value,
      remedy: 'Give the option vm',
    });
  const has = vm.checkExtension(Capability.GUEST_MEMFD_FLAGS);
  const wanted = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;
  if ((has & GuestMemfdFlag.MMAP) === 0)
    throw new BackendError(
      vm.checkExtension(Capability.GUEST_MEMFD) > 0
        ? "this kernel's guest_memfd cannot be mapped, so it cannot be shared memory"
        : 'this kernel has no guest_memfd for this VM',
      { property, value, remedy: 'It needs Linux 6.18; memory-backend-memfd does with any' },
    );
  if ((has & wanted) !== wanted)
    throw new BackendError('the kernel makes guest_memfds of this type of VM private, and has no conversion in place', {
      property,
      value,
      remedy: 'Use memory-backend-memfd, which gets a private guest_memfd beside it',
    });
  const guestMemfd = undo.close(refusedBy('size', size, () => vm.createGuestMemfd({ size, flags: wanted })));
  const mapping = refusedBy('size', size, () => guestMemfd.map(placeOf(size)), notEnough);
  return { mapping, guestMemfd, bound: property === 'qom-type', pageSize: systemPageSize };
}

/**
 * Allocates and maps the memory that was asked for.
 *
 * @throws {BackendError} naming the property; `undo` then has what to give back
 */
export function allocate(options: MemoryBackendOptions, vm: Vm | undefined, undo: Undo): Allocation {
  const type = options['qom-type'];
  if (type !== 'memory-backend-memfd' || !options.hugetlb)
    if (type !== 'memory-backend-file') requireWholePages(options.size, systemPageSize);
  // Files that are mapped shared need no reservation.
  const accounted = type === 'memory-backend-ram' || (!isShared(options) && !('hugetlb' in options && options.hugetlb));
  if (options.reserve === false && accounted && overcommitPolicy() === 2)
    throw new BackendError('this host reserves memory for every mapping (vm.overcommit_memory is 2)', {
      property: 'reserve',
      value: false,
      remedy: 'Leave it out, or set vm.overcommit_memory to 0 or 1',
    });
  if (isGuestMemfd(options, vm ? convertsInPlace(vm) : false)) return allocateGuestMemfd(options, vm, undo);
  switch (type) {
    case 'memory-backend-file':
      return allocateFile(options, undo);
    case 'memory-backend-memfd':
      return allocateMemfd(options, undo);
    case 'memory-backend-shm':
      return allocateShm(options, undo);
    case 'memory-backend-epc':
      return allocateEpc(options, undo);
    default:
      return allocateRam(options);
  }
}

/** Whether a VM with private memory can convert it in place: asked of a guest_memfd that is made for the question. */
function convertsInPlace(vm: Vm): boolean {
  const wanted = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;
  if ((vm.checkExtension(Capability.GUEST_MEMFD_FLAGS) & wanted) !== wanted) return false;
  using probe = vm.createGuestMemfd({ size: systemPageSize, flags: wanted });
  return probe.supportsInPlaceConversion();
}
