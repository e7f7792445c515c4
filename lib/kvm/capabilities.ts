import { typeError } from './arguments.ts';
import { Capability, GuestMemfdFlag, HypercallNumber, MemoryAttribute, VmType } from './constants.ts';
import { type ConversionAnswer, conversionModel } from './conversion-model.ts';
import { Kvm } from './kvm.ts';
import { Vm } from './vm.ts';

/** A capability that this package knows by name. */
export type CapabilityName = keyof typeof Capability;

/** One answer of KVM_CHECK_EXTENSION. */
export interface CapabilityAnswer {
  readonly name: CapabilityName;
  /** Its number in the kernel's interface, as in {@link Capability}. */
  readonly number: number;
  /** What the kernel answered: 0 for absent, else 1 or a value of the capability's own. */
  readonly value: number;
  /** The value in words. */
  readonly meaning: string;
}

/** A VM type, as `createVm` takes it. */
export interface NamedVmType {
  readonly type: number;
  /** Its name in {@link VmType}, or 'type 6' for one that this package does not know. */
  readonly name: string;
}

/** What a KVM device, or one VM, says it can do. All numbers are plain numbers: KVM answers with 31 bits at most. */
export interface Capabilities {
  /** Whom it was asked of: the device answers for some VM, a VM for itself. */
  readonly of: 'device' | 'vm';
  /** KVM_GET_API_VERSION: 12 since 2.6.22. Only the device can be asked; undefined for a VM. */
  readonly apiVersion: number | undefined;
  /** Bytes of a vCPU's kvm_run mapping (KVM_GET_VCPU_MMAP_SIZE, 2.6.20). Only the device can be asked. */
  readonly vcpuMmapSize: number | undefined;
  /** guest_memfd exists (KVM_CAP_GUEST_MEMFD, 6.8); from 6.8 to 6.17, a default VM says no. */
  readonly guestMemfd: boolean;
  /** Flags that createGuestMemfd takes (KVM_CAP_GUEST_MEMFD_FLAGS, 6.18); unknown bits as 'bit 5'. */
  readonly guestMemfdFlags: readonly string[];
  /** Attributes that setMemoryAttributes takes (KVM_CAP_MEMORY_ATTRIBUTES, 6.8); unknown bits as 'bit 5'. */
  readonly memoryAttributes: readonly string[];
  /** KVM_SET_USER_MEMORY_REGION2 exists (KVM_CAP_USER_MEMORY2, 6.8). */
  readonly userMemory2: boolean;
  /** Memory faults are described in an exit (KVM_CAP_MEMORY_FAULT_INFO, 6.8; arm64 does it without saying so). */
  readonly memoryFaultInfo: boolean;
  /** Guest memory can be mapped before it is touched (KVM_CAP_PRE_FAULT_MEMORY, 6.11). */
  readonly preFaultMemory: boolean;
  /** VM types that can be asked for (KVM_CAP_VM_TYPES, 6.8, x86); empty where the capability is absent. */
  readonly vmTypes: readonly NamedVmType[];
  /** Hypercalls that can be made to exit, as a bit mask (KVM_CAP_EXIT_HYPERCALL, 5.14, x86). */
  readonly exitHypercalls: number;
  /** KVM_CAP_NR_MEMSLOTS (2.6.25). */
  readonly maxMemslots: number;
  /** KVM_CAP_MAX_VCPUS (3.2). */
  readonly maxVcpus: number;
  /** How memory is converted between shared and private, found by trying. Only a VM can be asked; undefined for the device. */
  readonly conversion: ConversionAnswer | undefined;
  /** Every answer by the capability's name, as the kernel gave it. */
  readonly raw: Readonly<Record<CapabilityName, number>>;
  /** The same with number and meaning, by number. */
  readonly answers: readonly CapabilityAnswer[];
}

/** Names of the bits of a mask, lowest first; `nameOf` gives undefined for a bit it does not know. */
function bits(mask: number, nameOf: (bit: number) => string | undefined): string[] {
  const found: string[] = [];
  for (let bit = 0; bit < 31; bit++) if (mask & (1 << bit)) found.push(nameOf(bit) ?? `bit ${bit}`);
  return found;
}

const keyOf = (table: Readonly<Record<string, number>>, value: number) =>
  Object.keys(table).find((name) => table[name] === value);
const flagsOf = (table: Readonly<Record<string, number>>) => (mask: number) =>
  bits(mask, (bit) => keyOf(table, 1 << bit));
const numbersOf = (table: Readonly<Record<string, number>>) => (mask: number) => bits(mask, (bit) => keyOf(table, bit));

const guestMemfdFlags = flagsOf(GuestMemfdFlag);
const memoryAttributes = flagsOf(MemoryAttribute);
const hypercalls = numbersOf(HypercallNumber);

/** The name of a VM type: 'SW_PROTECTED' for 1, 'type 6' for one that this package does not know. */
export function vmTypeName(type: number): string {
  return keyOf(VmType, type) ?? `type ${type}`;
}

function vmTypes(mask: number): NamedVmType[] {
  const found: NamedVmType[] = [];
  for (let type = 0; type < 31; type++) if (mask & (1 << type)) found.push({ type, name: vmTypeName(type) });
  return found;
}

const listed = (names: readonly string[]) => (names.length > 0 ? names.join(', ') : 'none');

/** Capabilities whose value says more than that they are there. */
const meanings: Partial<Record<CapabilityName, (value: number) => string>> = {
  NR_VCPUS: (value) => `up to ${value} vCPUs are recommended`,
  NR_MEMSLOTS: (value) => `${value} memslots`,
  MAX_VCPUS: (value) => `${value} vCPUs`,
  MULTI_ADDRESS_SPACE: (value) => (value > 1 ? `${value} address spaces` : 'one address space'),
  ARM_VM_IPA_SIZE: (value) => (value > 0 ? `guest physical addresses of up to ${value} bits` : 'absent'),
  EXIT_HYPERCALL: (value) => listed(hypercalls(value)),
  MEMORY_ATTRIBUTES: (value) => listed(memoryAttributes(value)),
  VM_TYPES: (value) => listed(vmTypes(value).map(({ name }) => name)),
  GUEST_MEMFD_FLAGS: (value) => listed(guestMemfdFlags(value)),
};

const meaningOf = (name: CapabilityName, value: number) =>
  meanings[name]?.(value) ?? (value > 0 ? 'available' : 'absent');

/**
 * The report for given answers of KVM_CHECK_EXTENSION; `device` has what only the device can be asked.
 *
 * @internal
 */
export function decodeCapabilities(
  raw: Readonly<Record<CapabilityName, number>>,
  device?: { apiVersion: number; vcpuMmapSize: number },
  conversion?: ConversionAnswer,
): Capabilities {
  return {
    of: device ? 'device' : 'vm',
    apiVersion: device?.apiVersion,
    vcpuMmapSize: device?.vcpuMmapSize,
    guestMemfd: raw.GUEST_MEMFD > 0,
    guestMemfdFlags: guestMemfdFlags(raw.GUEST_MEMFD_FLAGS),
    memoryAttributes: memoryAttributes(raw.MEMORY_ATTRIBUTES),
    userMemory2: raw.USER_MEMORY2 > 0,
    memoryFaultInfo: raw.MEMORY_FAULT_INFO > 0,
    preFaultMemory: raw.PRE_FAULT_MEMORY > 0,
    vmTypes: vmTypes(raw.VM_TYPES),
    exitHypercalls: raw.EXIT_HYPERCALL,
    maxMemslots: raw.NR_MEMSLOTS,
    maxVcpus: raw.MAX_VCPUS,
    conversion,
    raw,
    answers: (Object.entries(Capability) as [CapabilityName, number][])
      .sort(([, a], [, b]) => a - b)
      .map(([name, number]) => ({ name, number, value: raw[name], meaning: meaningOf(name, raw[name]) })),
  };
}

/**
 * Asks a device or a VM for everything this package knows to ask, by KVM_CHECK_EXTENSION (on a VM since 2.6.38). What a
 * capability cannot tell is found by doing: how a VM's memory is converted here, whether a NUMA policy is honoured by
 * `gmem probe`.
 *
 * @throws {KvmError} where the ioctl is refused, as EIO for a VM of another process
 *
 * @example
 * capabilities(vm).guestMemfdFlags; // [ 'MMAP', 'INIT_SHARED' ]
 */
export function capabilities(asked: Kvm | Vm): Capabilities {
  if (!(asked instanceof Kvm) && !(asked instanceof Vm)) throw typeError('asked', 'a Kvm or a Vm', asked);
  const raw = Object.fromEntries(
    Object.entries(Capability).map(([name, number]) => [name, asked.checkExtension(number)]),
  ) as Record<CapabilityName, number>;
  return decodeCapabilities(
    raw,
    asked instanceof Kvm ? { apiVersion: asked.apiVersion(), vcpuMmapSize: asked.vcpuMmapSize() } : undefined,
    asked instanceof Vm ? conversionModel(asked) : undefined,
  );
}
