import { type AgentRun, GuestAgent, GuestExitError } from '../../guest/agent.ts';
import { Capability, HypercallNumber, MemoryAttribute, VmType } from '../../kvm/constants.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import { type Mapping, mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { CheckContext } from '../context.ts';
import { CheckFailure, equal } from '../expect.ts';

// What the checks of private memory have in common: a VM whose memory has two sides, and a guest that asks for conversions.

/** Where the memory under test begins in the guest. */
export const gpa = 0x1_0000_0000;
/** Milliseconds for a list of guest commands; emulated machines are slow. */
export const timeout = 5000;
const page = pageSize;
/** KVM_MAP_GPA_RANGE_ENCRYPTED: the guest asks for private memory. */
const wantsPrivate = 1 << 4;

/** A software-protected VM: shared pages are anonymous memory, private ones come from the guest_memfd. */
export interface PrivateVm {
  readonly vm: Vm;
  readonly gmem: GuestMemfd;
  readonly shared: Mapping;
}

/** Makes the VM, with `size` bytes at {@link gpa} in `slots` memslots one behind the other over one guest_memfd. */
export function privateVm(check: CheckContext, size: number, slots = 1): PrivateVm {
  const vm = check.vm(VmType.SW_PROTECTED);
  const gmem = check.use(vm.createGuestMemfd({ size }));
  const shared = check.use(mapAnonymous({ size }));
  const each = size / slots;
  for (let i = 0; i < slots; i++)
    vm.setUserMemoryRegion({
      slot: 10 + i,
      guestPhysAddr: gpa + i * each,
      size: each,
      mapping: shared,
      mappingOffset: i * each,
      guestMemfd: gmem,
      guestMemfdOffset: i * each,
    });
  vm.enableCapability(Capability.EXIT_HYPERCALL, [1 << HypercallNumber.MAP_GPA_RANGE]);
  return { vm, gmem, shared };
}

/** What happens to the memory at a conversion. */
export interface Conversion {
  /** Allocate private memory at once, and give back the private side of what becomes shared. */
  readonly fallocate: boolean;
}

/** Converts as the host decides. */
export function convert(
  { vm, gmem }: PrivateVm,
  offset: number,
  length: number,
  to: 'private' | 'shared',
  how?: Conversion,
): void {
  vm.setMemoryAttributes({
    address: gpa + offset,
    size: length,
    attributes: to === 'private' ? MemoryAttribute.PRIVATE : 0,
  });
  if (!how?.fallocate) return;
  if (to === 'private') gmem.allocate(offset, length);
  else gmem.punchHole(offset, length);
}

/** Lets the guest ask for a conversion, checks what KVM tells of it, and does it. */
export function convertByGuest(
  memory: PrivateVm,
  agent: GuestAgent,
  offset: number,
  length: number,
  to: 'private' | 'shared',
  how?: Conversion,
): void {
  const attributes = to === 'private' ? wantsPrivate : 0;
  const args = [gpa + offset, length / page, attributes];
  const asked = agent.run([{ op: 'hypercall', number: HypercallNumber.MAP_GPA_RANGE, args }], { timeout });
  const { exit } = asked;
  if (exit?.reason !== 'HYPERCALL')
    throw exit
      ? new GuestExitError(exit, 0, undefined)
      : new CheckFailure('KVM_HC_MAP_GPA_RANGE', 'a HYPERCALL exit', 'no exit');
  equal(exit.number, BigInt(HypercallNumber.MAP_GPA_RANGE), 'number of the hypercall');
  for (const [i, name] of ['address', 'pages', 'attributes'].entries())
    equal(exit.args[i], BigInt(args[i] as number), `${name} that the guest asked for`);
  convert(memory, offset, length, to, how);
  agent.vcpu.completeHypercall(0);
  const { finished, results, exit: then } = agent.resume({ timeout });
  if (!finished && then) throw new GuestExitError(then, 0, undefined);
  equal(results[0], 0n, 'what the hypercall gave the guest');
}

/** The guest must see `value` in every byte. */
export function guestSees(agent: GuestAgent, offset: number, length: number, value: number, what: string): void {
  const [differs] = agent.execute([{ op: 'compare', gpa: gpa + offset, length, value }], { timeout });
  if (differs === BigInt(length)) return;
  const at = gpa + offset + Number(differs);
  const got = agent.load(at, 1);
  throw new CheckFailure(`${what}, at 0x${at.toString(16)}`, `0x${value.toString(16)}`, `0x${got.toString(16)}`);
}

/** The guest writes `value` into every byte. */
export function guestFills(agent: GuestAgent, offset: number, length: number, value: number): void {
  agent.execute([{ op: 'fill', gpa: gpa + offset, length, value }], { timeout });
}

/** A guest for the VM, with memory and vCPU of its own beside those of others. */
export function guest(check: CheckContext, vm: Vm, number = 0): GuestAgent {
  return check.use(GuestAgent.create(vm, { slot: number, vcpuId: number, guestPhysAddr: number * 0x10_0000 }));
}

/**
 * Waits for a run during which memory is converted. KVM reads the attribute of a page twice in a fault, and where it has
 * changed between, leaves with a MEMORY_FAULT at which the host has nothing to do but go on.
 */
export async function passingFaults(agent: GuestAgent, running: Promise<AgentRun>): Promise<AgentRun> {
  let outcome = await running;
  for (let faults = 0; outcome.exit?.reason === 'MEMORY_FAULT' && faults < 100; faults++)
    outcome = agent.resume({ timeout });
  return outcome;
}
