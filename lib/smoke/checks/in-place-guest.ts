import { memoryOf } from '../../conversion/memory.ts';
import type { GuestAgent } from '../../guest/agent.ts';
import { Capability, GuestMemfdFlag, HypercallNumber, MemoryAttribute, VmType } from '../../kvm/constants.ts';
import { conversionModel } from '../../kvm/conversion-model.ts';
import { KvmError } from '../../kvm/errors.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import type { Mapping } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { Vm } from '../../kvm/vm.ts';
import { type CheckContext, describeFlags } from '../context.ts';
import { allBytes, inaccessible } from '../expect.ts';
import type { Check, MemoryRange } from '../model.ts';
import type { Requirement } from '../requirements.ts';
import { gpa, guest, guestFills, guestSees } from './private-guest.ts';

// What the checks of in-place conversion have in common: a VM whose RAM under test is one guest_memfd in both states.

const page = pageSize;
export type State = 'shared' | 'private';
export const other = (state: State): State => (state === 'shared' ? 'private' : 'shared');

/** KVM_SET_MEMORY_ATTRIBUTES2 for a software-protected VM, found by using it. */
export const inPlaceConversion: Requirement = {
  name: 'in-place conversion',
  unmet: ({ kvm, host }) => {
    const remedy =
      'No released kernel had it by November 2026. Run the lab\'s stand-in: gmem lab run --kernel "$(gmem lab kernels path in-place-7.3)"';
    if (!host.vmTypes.includes(VmType.SW_PROTECTED))
      return { reason: 'this kernel has no software-protected VMs, whose memory could be converted', remedy };
    using vm = kvm.createVm({ type: VmType.SW_PROTECTED });
    const { model, reason } = conversionModel(vm);
    return model === 'in-place'
      ? undefined
      : { reason: `this kernel does not convert guest_memfd memory in place: ${reason}`, remedy };
  },
};

/** The VM, its memory from {@link gpa} on, the host's mapping of it and a guest. */
export interface InPlaceVm {
  readonly vm: Vm;
  readonly gmem: GuestMemfd;
  readonly mapping: Mapping;
  readonly agent: GuestAgent;
  /** What all memory is at first. */
  readonly initial: State;
}

/** The VM that a check is at. */
const latest = new WeakMap<CheckContext, InPlaceVm>();

/** Makes the VM with `pages` pages of memory, which starts in one state. */
export function inPlaceVm(check: CheckContext, pages: number, initial: State): InPlaceVm {
  const vm = check.vm(VmType.SW_PROTECTED);
  const size = pages * page;
  const flags = GuestMemfdFlag.MMAP | (initial === 'shared' ? GuestMemfdFlag.INIT_SHARED : 0);
  const gmem = check.use(vm.createGuestMemfd({ size, flags }));
  const mapping = check.use(gmem.map());
  vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
  vm.enableCapability(Capability.EXIT_HYPERCALL, [1 << HypercallNumber.MAP_GPA_RANGE]);
  const memory = { vm, gmem, mapping, agent: guest(check, vm), initial };
  latest.set(check, memory);
  return memory;
}

/** The memory under test as reports draw it. */
function picture({ vm, gmem }: InPlaceVm): MemoryRange[] {
  return memoryOf(vm)
    .map({ gpa, size: gmem.size })
    .segments.map(({ gpa: at, size, state, resident }) => ({
      gpa: `0x${at.toString(16)}`,
      size,
      state: state === 'unbacked' ? 'hole' : resident === false ? 'untouched' : state,
    }));
}

/** The same check, with a picture of its memory in its failure. */
export function pictured(check: Check): Check {
  return {
    ...check,
    run: async (context) => {
      try {
        await check.run(context);
      } catch (error) {
        const memory = latest.get(context);
        try {
          if (memory) context.memory = picture(memory);
        } catch {
          // The VM is closed or broken: the failure itself says more than this would.
        }
        throw error;
      }
    },
  };
}

/** Tries something with memory that starts private and with memory that starts shared, untouched and allocated. */
export function eachStart(check: CheckContext, pages: number, attempt: (memory: InPlaceVm) => void): void {
  for (const initial of ['private', 'shared'] as const)
    for (const allocated of [false, true]) {
      const memory = inPlaceVm(check, pages, initial);
      check.configuration = `guest_memfd flags ${describeFlags(Number(memory.gmem.flags))}, ${allocated ? 'allocated' : 'untouched'}`;
      if (allocated) memory.gmem.allocate(0, pages * page);
      attempt(memory);
    }
  check.configuration = undefined;
}

/** Converts pages by the ioctl itself. */
export function convertPages({ gmem }: InPlaceVm, first: number, count: number, to: State): void {
  gmem.setMemoryAttributes({
    offset: first * page,
    size: count * page,
    attributes: to === 'private' ? MemoryAttribute.PRIVATE : 0,
  });
}

/** The error that the kernel refuses a conversion with, or undefined where it does it. */
export function conversionError(memory: InPlaceVm, first: number, count: number, to: State): KvmError | undefined {
  try {
    convertPages(memory, first, count, to);
    return undefined;
  } catch (error) {
    if (error instanceof KvmError) return error;
    throw error;
  }
}

/** A page must hold `value`, for the guest and, while it is shared, for the host; the host must not reach it while private. */
export function holdsValue(memory: InPlaceVm, index: number, state: State, value: number, what: string): void {
  const { agent, mapping } = memory;
  guestSees(agent, index * page, page, value, `${what}: page ${index}, ${state}, as the guest sees it`);
  if (state === 'shared') {
    allBytes(mapping, index * page, page, value, `${what}: page ${index}, shared, as the host sees it`);
    return;
  }
  inaccessible(`${what}: the host reads page ${index}, private`, () => mapping.read(index * page, 1));
  inaccessible(`${what}: the host writes page ${index}, private`, () => mapping.fill(0xee, index * page, 1));
}

/** Guest and, where it may, host write a page, and each sees what the other wrote. */
export function takesWrites(memory: InPlaceVm, index: number, state: State, value: number, what: string): void {
  if (state === 'shared') {
    memory.mapping.fill(value ^ 0xff, index * page, page);
    holdsValue(memory, index, state, value ^ 0xff, `${what}, written by the host`);
  }
  guestFills(memory.agent, index * page, page, value);
  holdsValue(memory, index, state, value, `${what}, written by the guest`);
}
