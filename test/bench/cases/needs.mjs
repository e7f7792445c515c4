import { Capability, GuestMemfdFlag, Kvm, VmType } from 'guest-memfd';

/** Why there is no KVM to measure; undefined where there is. */
export function noKvm() {
  try {
    Kvm.open().close();
    return undefined;
  } catch (error) {
    return error.message;
  }
}

const both = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;

/** A new VM. It needs the device no longer. */
export function newVm(type = VmType.DEFAULT) {
  const kvm = Kvm.open();
  try {
    return kvm.createVm({ type });
  } finally {
    kvm.close();
  }
}

/** What a new VM says of a capability. */
function answer(capability) {
  const vm = newVm();
  try {
    return vm.checkExtension(capability);
  } finally {
    vm.close();
  }
}

/** Why no guest_memfd of this kernel can be mapped. */
export function noMapping() {
  const cause = noKvm();
  if (cause) return cause;
  if ((answer(Capability.GUEST_MEMFD_FLAGS) & both) === both) return undefined;
  return 'this kernel cannot map a guest_memfd (it can since 6.18)';
}

/** Why no memory of this kernel can be converted. */
export function noPrivateMemory() {
  const cause = noKvm();
  if (cause) return cause;
  if ((answer(Capability.VM_TYPES) >> VmType.SW_PROTECTED) & 1) return undefined;
  return 'this kernel has no software-protected VMs (CONFIG_KVM_SW_PROTECTED_VM), the type whose memory can be converted without more hardware';
}

export const notX86 = () => (process.arch === 'x64' ? undefined : 'its guest program is for x86-64');
