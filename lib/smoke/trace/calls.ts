import {
  Advice,
  BindFlag,
  Capability,
  FallocateMode,
  GuestMemfdFlag,
  MapFlag,
  MemoryAttribute,
  MemoryPolicy,
  MemoryRegionFlag,
  Protection,
  VmType,
} from '../../kvm/constants.ts';
import type { CallName } from '../../kvm/trace.ts';

/** How an argument is shown: as it is, in hexadecimal, as a name, as names of bits; 'hidden' ones are the addon's own. */
export type Field = readonly [name: string, show: 'plain' | 'hex' | 'object' | 'in' | 'out' | 'hidden' | Show];
type Show = { readonly one: Names } | { readonly bits: Names };
type Names = Readonly<Record<string, number>>;

/** A kernel call behind a function of the addon. */
export interface CallDescription {
  /** As errors name it. */
  readonly call: string;
  /** The arguments of the addon's function, in order. */
  readonly fields: readonly Field[];
  /** A result of zero or above is the handle of something new. */
  readonly creates?: 'kvm' | 'vm' | 'gmem' | 'map' | 'vcpu' | 'pin' | 'child';
  /** An access by this process: the result counts bytes. */
  readonly access?: true;
}

const kvm: Field = ['kvm', 'object'];
const vm: Field = ['vm', 'object'];
const gmem: Field = ['guestMemfd', 'object'];
const mapping: Field = ['mapping', 'object'];
const vcpu: Field = ['vcpu', 'object'];
const offset: Field = ['offset', 'hex'];
const length: Field = ['length', 'hex'];
const size: Field = ['size', 'hex'];
const descriptor: Field = ['fd', 'plain'];
const plainFlags: Field = ['flags', 'hex'];
const attributes: Field = ['attributes', { bits: MemoryAttribute }];
const capability: Field = ['capability', { one: Capability }];
const protection: Field = ['protection', { bits: Protection }];

/** Every kernel call and guarded access that the library makes, by the addon's function. */
export const callDescriptions: Readonly<Record<CallName, CallDescription>> = {
  close: { call: 'close', fields: [['object', 'object']] },
  kvmOpen: { call: 'open', fields: [['path', 'plain']], creates: 'kvm' },
  kvmApiVersion: { call: 'ioctl(KVM_GET_API_VERSION)', fields: [kvm] },
  kvmCheckExtension: { call: 'ioctl(KVM_CHECK_EXTENSION)', fields: [kvm, capability] },
  kvmSupportedCpuid: { call: 'ioctl(KVM_GET_SUPPORTED_CPUID)', fields: [kvm, ['list', 'hidden']] },
  kvmVcpuMmapSize: { call: 'ioctl(KVM_GET_VCPU_MMAP_SIZE)', fields: [kvm] },
  kvmCreateVm: { call: 'ioctl(KVM_CREATE_VM)', fields: [kvm, ['type', { one: VmType }]], creates: 'vm' },

  vmCheckExtension: { call: 'ioctl(KVM_CHECK_EXTENSION)', fields: [vm, capability] },
  vmEnableCapability: {
    call: 'ioctl(KVM_ENABLE_CAP)',
    fields: [vm, capability, plainFlags, ['arg0', 'hex'], ['arg1', 'hex'], ['arg2', 'hex'], ['arg3', 'hex']],
  },
  vmCreateGuestMemfd: {
    call: 'ioctl(KVM_CREATE_GUEST_MEMFD)',
    fields: [vm, size, ['flags', { bits: GuestMemfdFlag }]],
    creates: 'gmem',
  },
  vmSetUserMemoryRegion: {
    call: 'ioctl(KVM_SET_USER_MEMORY_REGION2)',
    fields: [
      vm,
      ['slot', 'plain'],
      ['flags', { bits: MemoryRegionFlag }],
      ['guestPhysAddr', 'hex'],
      size,
      ['userspaceAddr', 'hex'],
      ['guestMemfd', 'plain'],
      ['guestMemfdOffset', 'hex'],
      ['legacy', 'hidden'],
      mapping,
    ],
  },
  vmSetMemoryAttributes: {
    call: 'ioctl(KVM_SET_MEMORY_ATTRIBUTES)',
    fields: [vm, ['address', 'hex'], size, attributes, plainFlags],
  },
  vmSetTssAddress: { call: 'ioctl(KVM_SET_TSS_ADDR)', fields: [vm, ['address', 'hex']] },
  vmSetIdentityMapAddress: { call: 'ioctl(KVM_SET_IDENTITY_MAP_ADDR)', fields: [vm, ['address', 'hex']] },

  guestMemfdFallocate: { call: 'fallocate', fields: [gmem, ['mode', { bits: FallocateMode }], offset, length] },
  guestMemfdFacts: { call: 'fstat', fields: [gmem, ['facts', 'out']] },
  guestMemfdSetMemoryAttributes: {
    call: 'ioctl(KVM_SET_MEMORY_ATTRIBUTES2)',
    fields: [gmem, offset, size, attributes, plainFlags, ['errorOffset', 'out']],
  },
  guestMemfdProbeMemoryAttributes: { call: 'ioctl(KVM_SET_MEMORY_ATTRIBUTES2, null)', fields: [gmem] },

  map: {
    call: 'mmap',
    fields: [
      descriptor,
      offset,
      length,
      protection,
      ['flags', { bits: MapFlag }],
      ['alignment', 'hex'],
      ['guard', 'hidden'],
      ['address', 'hidden'],
    ],
    creates: 'map',
  },
  mappingRead: { call: 'read memory', fields: [mapping, offset, ['bytes', 'out']], access: true },
  mappingWrite: { call: 'write memory', fields: [mapping, offset, ['bytes', 'in']], access: true },
  mappingFill: { call: 'fill memory', fields: [mapping, offset, length, ['value', 'hex']], access: true },
  mappingCompare: { call: 'compare memory', fields: [mapping, offset, ['bytes', 'in']], access: true },
  mappingAdvise: { call: 'madvise', fields: [mapping, offset, length, ['advice', { one: Advice }]] },
  mappingProtect: { call: 'mprotect', fields: [mapping, offset, length, protection] },
  mappingBind: {
    call: 'mbind',
    fields: [mapping, offset, length, ['mode', { one: MemoryPolicy }], ['flags', { bits: BindFlag }], ['nodes', 'in']],
  },
  mappingPolicy: { call: 'get_mempolicy', fields: [mapping, offset, ['policy', 'out']] },
  mappingResidency: { call: 'mincore', fields: [mapping, offset, length, ['pages', 'out']] },
  mappingNodes: { call: 'move_pages', fields: [mapping, offset, ['nodes', 'out']] },
  mappingPin: { call: 'io_uring_register', fields: [mapping, offset, length], creates: 'pin' },
  mappingForkChild: { call: 'fork', fields: [mapping], creates: 'child' },
  childLoad: { call: 'read memory in a child', fields: [['child', 'object'], offset] },
  childStore: { call: 'write memory in a child', fields: [['child', 'object'], offset, ['value', 'hex']] },
  mappingSeal: { call: 'mmap over it', fields: [mapping, offset, length] },

  fileSync: { call: 'fsync', fields: [descriptor] },
  fileDataSync: { call: 'fdatasync', fields: [descriptor] },
  fileOwner: { call: 'fchown', fields: [descriptor, ['user', 'plain'], ['group', 'plain']] },
  fileTimes: { call: 'futimens', fields: [descriptor, ['seconds', 'plain']] },
  fileReopen: { call: 'open(/proc/self/fd)', fields: [descriptor] },
  fileRead: { call: 'read', fields: [descriptor, ['bytes', 'out'], ['position', 'hex']] },
  fileWrite: { call: 'write', fields: [descriptor, ['bytes', 'in'], ['position', 'hex']] },
  fileTruncate: { call: 'ftruncate', fields: [descriptor, length] },
  fileMode: { call: 'fchmod', fields: [descriptor, ['mode', 'hex']] },
  fileSystem: { call: 'statfs', fields: [descriptor, ['type', 'out']] },

  rawIoctl: {
    call: 'ioctl',
    fields: [descriptor, ['request', 'hex'], ['argument', 'in']],
  },
  rawIoctlInChild: {
    call: 'ioctl in a child',
    fields: [descriptor, ['request', 'hex'], ['argument', 'in']],
  },
  rawFallocateInChild: {
    call: 'fallocate in a child',
    fields: [descriptor, ['mode', { bits: FallocateMode }], offset, length],
  },

  vcpuCreate: {
    call: 'ioctl(KVM_CREATE_VCPU)',
    fields: [vm, ['id', 'plain'], ['exitBlock', 'hidden']],
    creates: 'vcpu',
  },
  vcpuRun: { call: 'ioctl(KVM_RUN)', fields: [vcpu, ['timeoutMs', 'plain']] },
  vcpuRunAsync: { call: 'ioctl(KVM_RUN) on a thread, begins', fields: [vcpu, ['timeoutMs', 'plain']] },
  vcpuRunDone: { call: 'ioctl(KVM_RUN) on a thread, has ended', fields: [vcpu] },
  vcpuStop: { call: 'stop the vCPU', fields: [vcpu] },
  vcpuSetCpuid: { call: 'ioctl(KVM_SET_CPUID2)', fields: [vcpu, ['list', 'hidden']] },
  vcpuTransfer: { call: 'registers', fields: [vcpu, ['which', 'plain'], ['state', 'out']] },
  vcpuWriteRun: { call: 'write kvm_run', fields: [vcpu, offset, ['bytes', 'in']] },
  vcpuPreFault: {
    call: 'ioctl(KVM_PRE_FAULT_MEMORY)',
    fields: [vcpu, ['gpa', 'hex'], size, plainFlags, ['left', 'out']],
  },
};

/** Names of the four transfers of {@link CallName} 'vcpuTransfer'. */
export const transfers: Readonly<Record<string, readonly string[]>> = {
  x64: ['KVM_GET_REGS', 'KVM_SET_REGS', 'KVM_GET_SREGS', 'KVM_SET_SREGS'],
  arm64: ['KVM_GET_ONE_REG', 'KVM_SET_ONE_REG', '', ''],
};
