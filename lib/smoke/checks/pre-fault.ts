import { GuestAgent } from '../../guest/agent.ts';
import { Capability, MemoryAttribute, VmType } from '../../kvm/constants.ts';
import { KvmError } from '../../kvm/errors.ts';
import { type Mapping, mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { Vcpu } from '../../kvm/vcpu.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { CheckContext } from '../context.ts';
import { CheckFailure, equal, holds, refused } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestProgram, memoryAttributes, preFault } from '../requirements.ts';
import { preFaultRace } from '../stress/pre-fault-race.ts';
import { convert, gpa, guest, guestSees, privateVm } from './private-guest.ts';

const page = pageSize;
const size = 512 * page;

/** Pre-faults until nothing is left, as the kernel may do a part only; gives what the last refusal said. */
function preFaultAll(vcpu: Vcpu, guestPhysAddr: number, bytes: number): { left: number; code: string | undefined } {
  let [at, left] = [BigInt(guestPhysAddr), BigInt(bytes)];
  while (left > 0n) {
    try {
      const progress = vcpu.preFault({ guestPhysAddr: at, size: left });
      holds(
        progress.remaining < left,
        'success without progress',
        `less than ${left} left`,
        `${progress.remaining} left`,
      );
      [at, left] = [progress.guestPhysAddr, progress.remaining];
    } catch (error) {
      if (error instanceof KvmError) return { left: Number(left), code: error.code };
      throw error;
    }
  }
  return { left: 0, code: undefined };
}

/** Inside, half outside and outside the memslot; then the guest reads what is inside. */
function counts(agent: GuestAgent): void {
  const { vcpu } = agent;
  const inside = preFaultAll(vcpu, gpa, size);
  equal(inside.code, undefined, 'pre-faulting the whole memslot');
  const partly = preFaultAll(vcpu, gpa + size - page, 2 * page);
  equal(partly.code, 'ENOENT', 'pre-faulting a page inside and one outside');
  equal(partly.left, page, 'bytes left of that');
  const outside = preFaultAll(vcpu, gpa + size, page);
  equal(outside.code, 'ENOENT', 'pre-faulting outside');
  equal(outside.left, page, 'bytes left of that');
  guestSees(agent, 0, size, 0, 'memory that was pre-faulted');
}

/** The slot under test of a default VM. */
function defaultVm(check: CheckContext): { vm: Vm; mapping: Mapping; agent: GuestAgent } {
  const vm = check.vm();
  const mapping = check.use(mapAnonymous({ size }));
  vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size, mapping });
  return { vm, mapping, agent: check.use(GuestAgent.create(vm)) };
}

/** Guest memory that is mapped before the guest touches it. */
export const preFaultChecks: readonly Check[] = [
  {
    name: 'pre-fault/default-vm',
    title:
      'KVM_PRE_FAULT_MEMORY maps what lies in a memslot of a default VM and says how much it left at its end (ENOENT)',
    upstream: ['F1'],
    since: '6.11',
    requires: [preFault, guestProgram],
    run: (check) => counts(defaultVm(check).agent),
  },
  {
    name: 'pre-fault/shared',
    title: 'The same for shared memory of a VM with private memory',
    upstream: ['F2'],
    since: '6.11',
    requires: [preFault, memoryAttributes, guestProgram],
    run: (check) => counts(guest(check, privateVm(check, size).vm)),
  },
  {
    name: 'pre-fault/private',
    title: 'The same for private memory, which comes from the guest_memfd',
    upstream: ['F3'],
    since: '6.11',
    requires: [preFault, memoryAttributes, guestProgram],
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      convert(memory, 0, size, 'private');
      counts(agent);
    },
  },
  {
    name: 'pre-fault/no-guest-memfd',
    title: 'Pre-faulting private memory in a memslot without guest_memfd is refused with EFAULT',
    upstream: ['F3'],
    since: '6.11',
    requires: [preFault, memoryAttributes, guestProgram],
    run: (check) => {
      const vm = check.vm(VmType.SW_PROTECTED);
      const mapping = check.use(mapAnonymous({ size }));
      vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size, mapping });
      const { vcpu } = guest(check, vm);
      vm.setMemoryAttributes({ address: gpa + page, size: page, attributes: MemoryAttribute.PRIVATE });
      equal(preFaultAll(vcpu, gpa, page).code, undefined, 'pre-faulting a shared page');
      const { code, left } = preFaultAll(vcpu, gpa, 2 * page);
      equal(code, 'EFAULT', 'errno at the private page');
      equal(left, page, 'bytes left');
    },
  },
  {
    name: 'pre-fault/again',
    title: 'Pre-faulting memory that is mapped already succeeds and changes nothing',
    upstream: ['F1'],
    since: '6.11',
    requires: [preFault, guestProgram],
    run: (check) => {
      const { mapping, agent } = defaultVm(check);
      mapping.fill(0x29);
      for (let round = 0; round < 3; round++)
        equal(preFaultAll(agent.vcpu, gpa, size).code, undefined, `round ${round}`);
      guestSees(agent, 0, size, 0x29, 'memory that was pre-faulted');
    },
  },
  {
    name: 'pre-fault/slot-replaced',
    knownBugs: ['L1'],
    title:
      'Pre-faulting while the memslot is deleted and made again maps the memory or says EAGAIN or ENOENT, and never hangs',
    upstream: ['F1'],
    since: '6.11',
    requires: [preFault, guestProgram],
    run: (check) => {
      const { vm, mapping, agent } = defaultVm(check);
      for (let round = 0; round < 20; round++) {
        vm.deleteUserMemoryRegion(10);
        const gone = preFaultAll(agent.vcpu, gpa, page);
        if (gone.code !== 'ENOENT' && gone.code !== 'EAGAIN')
          throw new CheckFailure('pre-faulting a deleted memslot', 'ENOENT or EAGAIN', gone.code ?? 'accepted');
        vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size, mapping });
        equal(preFaultAll(agent.vcpu, gpa, 8 * page).code, undefined, 'pre-faulting the memslot that was made again');
      }
      guestSees(agent, 0, 8 * page, 0, 'memory that was pre-faulted');
    },
  },
  {
    name: 'pre-fault/beside-deletion',
    title: 'Pre-faulting on one thread while another deletes the memslot and makes it again ends well',
    upstream: ['F1'],
    since: '6.11',
    requires: [preFault, guestProgram],
    knownBugs: ['L1', 'B11', 'L2'],
    race: true,
    run: (check) => {
      // Enough to meet a memslot on its way out, and an end for machines that are slow at it.
      return preFaultRace(check, (deletions, milliseconds) => deletions >= 100 || milliseconds >= 700);
    },
  },
];

/** Types of VMs. */
export const vmTypeChecks: readonly Check[] = [
  {
    name: 'vm-types/as-announced',
    title:
      'A VM of each type from 0 to 63 can be created where KVM_CAP_VM_TYPES has its bit, and is refused with EINVAL else',
    upstream: ['V1'],
    since: '6.8',
    requires: [
      {
        name: 'VM_TYPES',
        unmet: ({ host }) =>
          host.architecture !== 'x64'
            ? { reason: `VM types are x86's; on ${host.architecture} the number is the size of addresses` }
            : (host.capabilities['VM_TYPES'] ?? 0) > 0
              ? undefined
              : {
                  reason: 'this kernel does not announce its VM types (KVM_CAP_VM_TYPES is 0)',
                  remedy: 'It came with Linux 6.8',
                },
      },
    ],
    run: (check) => {
      const announced = check.kvm.checkExtension(Capability.VM_TYPES);
      for (let type = 0; type < 64; type++) {
        // The capability has 32 bits; a confidential type may need more than its number.
        const known = type < 32 && (announced & (1 << type)) !== 0;
        if (!known) refused('EINVAL', `creating a VM of type ${type}`, () => check.kvm.createVm({ type }));
        else if (type <= VmType.SW_PROTECTED) check.kvm.createVm({ type }).close();
      }
    },
  },
];
