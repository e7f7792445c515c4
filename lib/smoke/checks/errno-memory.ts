import { Capability, MapFlag, MemoryAttribute, Protection, VmType } from '../../kvm/constants.ts';
import { Request, rawIoctl, rawIoctlInChild, words } from '../../kvm/raw.ts';
import { guestMemfd, memoryAttributes, mmap, preFault } from '../requirements.ts';
import { type Bench, gpa, page, type Row, refusals, size } from './errno.ts';

const types = [VmType.SW_PROTECTED];

function setAttributes({ vm }: Bench, change: object): void {
  vm.setMemoryAttributes({ address: gpa, size: page, attributes: MemoryAttribute.PRIVATE, ...change });
}

const attributeRows: readonly Row[] = [
  {
    name: 'attributes-flags',
    what: 'Setting memory attributes with flags',
    refuses: 'EINVAL',
    call: (bench: Bench) => setAttributes(bench, { flags: 1 }),
  },
  {
    name: 'attributes-empty',
    what: 'Setting the attributes of no memory',
    refuses: 'EINVAL',
    call: (bench: Bench) => setAttributes(bench, { size: 0 }),
  },
  {
    name: 'attributes-size-unaligned',
    what: 'Setting the attributes of a size that is not page-aligned',
    refuses: 'EINVAL',
    call: (bench: Bench) => setAttributes(bench, { size: page + 1 }),
  },
  {
    name: 'attributes-address-unaligned',
    what: 'Setting the attributes at an address that is not page-aligned',
    refuses: 'EINVAL',
    call: (bench: Bench) => setAttributes(bench, { address: gpa + 1 }),
  },
  {
    name: 'attributes-wrap',
    what: 'Setting the attributes of a range that wraps',
    refuses: 'EINVAL',
    call: (bench: Bench) => setAttributes(bench, { address: (1n << 64n) - BigInt(page), size: 2 * page }),
  },
  {
    name: 'attributes-bad-pointer',
    what: 'KVM_SET_MEMORY_ATTRIBUTES with a bad pointer',
    refuses: 'EFAULT',
    call: ({ vm }: Bench) => rawIoctl(vm.fd, Request.SET_MEMORY_ATTRIBUTES, null),
  },
  {
    name: 'attributes-from-child',
    what: 'KVM_SET_MEMORY_ATTRIBUTES from a forked child',
    refuses: 'EIO',
    call: ({ vm }: Bench) =>
      rawIoctlInChild(vm.fd, Request.SET_MEMORY_ATTRIBUTES, words(32, { 0: gpa, 8: page, 16: 8 })),
  },
  {
    name: 'hypercall-exits-unknown',
    what: 'Enabling exits of a hypercall that has none',
    refuses: 'EINVAL',
    call: ({ vm }: Bench) => vm.enableCapability(Capability.EXIT_HYPERCALL, [1 << 11]),
  },
].map((row) => ({ ...row, since: '6.8', types }));

function preFaultOf({ vm, plain }: Bench, change: object): void {
  vm.setUserMemoryRegion(plain);
  using vcpu = vm.createVcpu();
  vcpu.preFault({ guestPhysAddr: gpa, size: page, ...change });
}

const preFaultRows: readonly Row[] = [
  {
    name: 'pre-fault-flags',
    what: 'Pre-faulting with flags',
    refuses: 'EINVAL',
    call: (bench: Bench) => preFaultOf(bench, { flags: 1 }),
  },
  {
    name: 'pre-fault-empty',
    what: 'Pre-faulting no memory',
    refuses: 'EINVAL',
    call: (bench: Bench) => preFaultOf(bench, { size: 0 }),
  },
  {
    name: 'pre-fault-size-unaligned',
    what: 'Pre-faulting a size that is not page-aligned',
    refuses: 'EINVAL',
    call: (bench: Bench) => preFaultOf(bench, { size: page + 1 }),
  },
  {
    name: 'pre-fault-address-unaligned',
    what: 'Pre-faulting an address that is not page-aligned',
    refuses: 'EINVAL',
    call: (bench: Bench) => preFaultOf(bench, { guestPhysAddr: gpa + 1 }),
  },
  {
    name: 'pre-fault-wrap',
    what: 'Pre-faulting a range that wraps',
    refuses: 'EINVAL',
    call: (bench: Bench) => preFaultOf(bench, { guestPhysAddr: (1n << 64n) - BigInt(page), size: 2 * page }),
  },
  {
    name: 'pre-fault-from-child',
    what: 'KVM_PRE_FAULT_MEMORY from a forked child',
    refuses: 'EIO',
    call: ({ vm }: Bench) => {
      using vcpu = vm.createVcpu();
      rawIoctlInChild(vcpu.fd, Request.PRE_FAULT_MEMORY, words(64, { 0: gpa, 8: page }));
    },
  },
].map((row) => ({ ...row, since: '6.11' }));

const mappingRows: readonly Row[] = [
  {
    name: 'mmap-offset-unaligned',
    what: 'Mapping a guest_memfd from an offset that is not page-aligned',
    call: (bench: Bench) => mappable(bench).map({ offset: 1, length: page }),
  },
  {
    name: 'mmap-nothing',
    what: 'Mapping no bytes of a guest_memfd',
    call: (bench: Bench) => mappable(bench).map({ length: 0 }),
  },
  {
    name: 'mmap-private',
    what: 'Mapping a guest_memfd read-only with MAP_PRIVATE, which could not even copy a page,',
    call: (bench: Bench) => mappable(bench).map({ flags: MapFlag.PRIVATE, protection: Protection.READ }),
  },
].map((row) => ({ ...row, refuses: 'EINVAL', since: '6.18' }));

function mappable({ check, vm }: Bench) {
  return check.use(vm.createGuestMemfd({ size, flags: 1 }));
}

const runRows: readonly Row[] = [
  {
    name: 'run-from-child',
    what: 'KVM_RUN from a forked child',
    refuses: 'EIO',
    since: '6.8',
    call: ({ vm }) => {
      using vcpu = vm.createVcpu();
      rawIoctlInChild(vcpu.fd, Request.RUN, null);
    },
  },
  {
    name: 'vcpu-ioctl-unknown',
    what: 'An ioctl on a vCPU that no kernel has',
    // x86 and arm64 both say EINVAL, unlike for a VM.
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm }) => {
      using vcpu = vm.createVcpu();
      rawIoctl(vcpu.fd, Request.UNKNOWN, new Uint8Array(8));
    },
  },
];

/** What memory attributes, pre-faulting, mappings and vCPUs refuse. */
export const memoryErrnoChecks = [
  ...refusals([guestMemfd, mmap], mappingRows),
  ...refusals([], runRows),
  ...refusals([memoryAttributes], attributeRows),
  ...refusals([preFault], preFaultRows),
];
