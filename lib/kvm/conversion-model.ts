import { instance } from './arguments.ts';
import { MemoryAttribute } from './constants.ts';
import { KvmError } from './errors.ts';
import { pageSize } from './native.ts';
import { Vm } from './vm.ts';

/**
 * Whom private and shared belong to in a VM.
 * - `in-place`: to each guest_memfd (KVM_SET_MEMORY_ATTRIBUTES2, pending). A page stays where it is and keeps its contents.
 * - `two-pool`: to the VM's guest physical addresses (KVM_SET_MEMORY_ATTRIBUTES, 6.8). Private memory comes from the
 *   guest_memfd, shared memory from elsewhere; a conversion changes from one to the other.
 * - `none`: nothing can be converted; memory is what its guest_memfd was made as.
 */
export type ConversionModel = 'in-place' | 'two-pool' | 'none';

/** A VM's model, and how it was found out. */
export interface ConversionAnswer {
  readonly model: ConversionModel;
  /** What was tried and what the kernel said, in a sentence. */
  readonly reason: string;
}

/** Above every guest physical address that there can be: those have 52 bits at most. */
const probeAddress = 1n << 60n;

/** What says that this process has not what it takes to ask, and nothing of the kernel. */
const shortages = new Set(['ENOMEM', 'EMFILE', 'ENFILE', 'EAGAIN']);

function codeOf(attempt: () => void): string | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    if (error instanceof KvmError && !shortages.has(error.code)) return error.code;
    throw error;
  }
}

/**
 * Finds a VM's model by trying both calls where they change nothing that counts: on a guest_memfd that is thrown away, and on
 * an address where no memory can be. Capability numbers are no help: those proposed for in-place conversion mean something
 * else by now.
 *
 * @throws {KvmError} where the VM cannot be asked: EIO for one of another process, EMFILE or ENOMEM for want of what it takes
 *
 * @example
 * conversionModel(vm).model; // 'two-pool' for a software-protected VM on 6.8 to 7.3
 */
export function conversionModel(vm: Vm): ConversionAnswer {
  instance('vm', Vm, vm);
  const attributes = MemoryAttribute.PRIVATE;
  let live: string | undefined;
  try {
    using gmem = vm.createGuestMemfd({ size: pageSize });
    if (gmem.supportsInPlaceConversion()) {
      const code = codeOf(() => gmem.setMemoryAttributes({ offset: 0, size: pageSize, attributes: 0 }));
      if (code === undefined)
        return { model: 'in-place', reason: 'a guest_memfd of this VM takes KVM_SET_MEMORY_ATTRIBUTES2' };
      live = `its guest_memfds know KVM_SET_MEMORY_ATTRIBUTES2 but refuse it to a VM of this type (${code})`;
    }
  } catch (error) {
    if (!(error instanceof KvmError) || error.syscall !== 'ioctl(KVM_CREATE_GUEST_MEMFD)' || shortages.has(error.code))
      throw error;
    return { model: 'none', reason: `this VM has no guest_memfd (KVM_CREATE_GUEST_MEMFD: ${error.code})` };
  }
  const refusal = codeOf(() => vm.setMemoryAttributes({ address: probeAddress, size: pageSize, attributes }));
  if (refusal === undefined) {
    vm.setMemoryAttributes({ address: probeAddress, size: pageSize, attributes: 0 });
    return {
      model: 'two-pool',
      reason: 'the VM takes KVM_SET_MEMORY_ATTRIBUTES, and its guest_memfds have no attributes of their own',
    };
  }
  return {
    model: 'none',
    reason: `${live ?? 'its guest_memfds have no attributes of their own'}, and the VM refuses KVM_SET_MEMORY_ATTRIBUTES (${refusal})`,
  };
}
