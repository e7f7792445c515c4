import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryAttribute, VmType } from '../../kvm/constants.ts';
import type { VcpuExit } from '../../kvm/exits.ts';
import { mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import { CheckFailure, equal } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestProgram, memoryAttributes } from '../requirements.ts';
import { convert, gpa, guest, guestFills, guestSees, privateVm, timeout } from './private-guest.ts';

const page = pageSize;
const size = 4 * page;

/** The exit must say that the guest touched a private page that KVM has not. */
function isPrivateFault(exit: VcpuExit | undefined, address: number): void {
  if (exit?.reason !== 'MEMORY_FAULT') throw new CheckFailure('exit reason', 'MEMORY_FAULT', exit?.reason ?? 'no exit');
  equal(exit.code, 'EFAULT', 'errno of KVM_RUN');
  equal(exit.flags, BigInt(MemoryAttribute.PRIVATE), 'flags of the fault');
  equal(exit.guestPhysAddr, BigInt(address), 'address of the fault');
  equal(exit.size, BigInt(page), 'size of the fault');
}

/** Exits that tell of private memory which is not there. */
export const memoryFaultChecks: readonly Check[] = [
  {
    name: 'memory-fault/slot-deleted',
    title: 'A vCPU that reads private memory while its memslot is deleted leaves with MEMORY_FAULT, flag PRIVATE',
    upstream: ['K1'],
    since: '6.8',
    requires: [memoryAttributes, guestProgram],
    run: async (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      convert(memory, 0, size, 'private');
      guestSees(agent, 0, size, 0, 'private memory, before');
      const running = agent.runAsync([{ op: 'spin', gpa: gpa + page, value: 1 }], { timeout });
      await sleep(20);
      memory.vm.deleteUserMemoryRegion(10);
      isPrivateFault((await running).exit, gpa + page);
    },
  },
  {
    name: 'memory-fault/file-closed',
    title:
      'After the guest_memfd has been closed, private memory that the guest had used is a MEMORY_FAULT, flag PRIVATE',
    since: '6.8',
    requires: [memoryAttributes, guestProgram],
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      convert(memory, 0, size, 'private');
      guestFills(agent, 0, size, 0x21);
      memory.gmem.close();
      isPrivateFault(agent.run([{ op: 'load', gpa: gpa + page }], { timeout }).exit, gpa + page);
    },
  },
  {
    name: 'memory-fault/no-guest-memfd',
    title:
      'Private memory in a memslot without guest_memfd is a MEMORY_FAULT with flag PRIVATE when the guest touches it',
    upstream: ['K2'],
    since: '6.8',
    requires: [memoryAttributes, guestProgram],
    run: (check) => {
      const vm = check.vm(VmType.SW_PROTECTED);
      const mapping = check.use(mapAnonymous({ size }));
      vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size, mapping });
      const agent = guest(check, vm);
      guestSees(agent, 0, size, 0, 'shared memory');
      vm.setMemoryAttributes({ address: gpa + page, size: page, attributes: MemoryAttribute.PRIVATE });
      guestSees(agent, 0, page, 0, 'the page that stayed shared');
      isPrivateFault(agent.run([{ op: 'load', gpa: gpa + page }], { timeout }).exit, gpa + page);
    },
  },
  {
    name: 'memory-fault/no-slot',
    title:
      'Private memory where no memslot is is a MEMORY_FAULT with flag PRIVATE, where shared memory is an MMIO exit',
    upstream: ['K1'],
    since: '6.8',
    requires: [memoryAttributes, guestProgram],
    run: (check) => {
      const vm = check.vm(VmType.SW_PROTECTED);
      const agent = guest(check, vm);
      vm.setMemoryAttributes({ address: gpa + page, size: page, attributes: MemoryAttribute.PRIVATE });
      const { exit } = agent.run([{ op: 'load', gpa }], { timeout });
      equal(exit?.reason, 'MMIO', 'exit of shared memory');
      agent.restart();
      isPrivateFault(agent.run([{ op: 'load', gpa: gpa + page }], { timeout }).exit, gpa + page);
    },
  },
  {
    name: 'memory-fault/write',
    title: 'A write tells of its page as a read does, wherever in the page it goes',
    upstream: ['K2'],
    since: '6.8',
    requires: [memoryAttributes, guestProgram],
    run: (check) => {
      const vm = check.vm(VmType.SW_PROTECTED);
      const mapping = check.use(mapAnonymous({ size }));
      vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size, mapping });
      const agent = guest(check, vm);
      vm.setMemoryAttributes({ address: gpa, size, attributes: MemoryAttribute.PRIVATE });
      for (const offset of [0, page + 8, size - 8]) {
        const { exit } = agent.run([{ op: 'store', gpa: gpa + offset, value: 1 }], { timeout });
        isPrivateFault(exit, gpa + offset - (offset % page));
        agent.restart();
      }
    },
  },
  {
    name: 'memory-fault/resumed',
    title: 'When the host makes the memory shared, the guest goes on at the access that faulted',
    upstream: ['K2'],
    since: '6.8',
    requires: [memoryAttributes, guestProgram],
    run: (check) => {
      const vm = check.vm(VmType.SW_PROTECTED);
      const mapping = check.use(mapAnonymous({ size }));
      mapping.fill(0x17);
      vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size, mapping });
      const agent = guest(check, vm);
      vm.setMemoryAttributes({ address: gpa, size, attributes: MemoryAttribute.PRIVATE });
      const { exit } = agent.run(
        [
          { op: 'load', gpa: gpa + page, width: 1 },
          { op: 'store', gpa, value: 5, width: 1 },
        ],
        { timeout },
      );
      isPrivateFault(exit, gpa + page);
      vm.setMemoryAttributes({ address: gpa, size, attributes: 0 });
      const { finished, results } = agent.resume({ timeout });
      equal(finished, true, 'the guest came to its end');
      equal(results[0], 0x17n, 'what it loaded');
      equal(mapping.read(0, 1)[0], 5, 'what it stored');
    },
  },
  {
    name: 'memory-fault/file-closed-meanwhile',
    title: 'A vCPU that reads private memory leaves with MEMORY_FAULT, flag PRIVATE, when its guest_memfd is closed',
    since: '6.8',
    requires: [memoryAttributes, guestProgram],
    run: async (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      convert(memory, 0, size, 'private');
      guestFills(agent, 0, size, 0x21);
      const running = agent.runAsync([{ op: 'spin', gpa: gpa + page, value: 1 }], { timeout });
      await sleep(5);
      memory.gmem.close();
      isPrivateFault((await running).exit, gpa + page);
    },
  },
];
