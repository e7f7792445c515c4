import { setTimeout as sleep } from 'node:timers/promises';
import { GuestAgent } from '../../guest/agent.ts';
import { Capability, MemoryRegionFlag } from '../../kvm/constants.ts';
import { type Mapping, mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import { Request, rawIoctl, words } from '../../kvm/raw.ts';
import type { UserMemoryRegion, Vm } from '../../kvm/vm.ts';
import { type CheckContext, CheckSkip } from '../context.ts';
import { allBytes, equal, holds, refused } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestMemfd, guestProgram, type Requirement, userMemory2 } from '../requirements.ts';

const page = pageSize;
const size = 4 * page;
const gpa = 0x1_0000_0000;
const timeout = 5000;

const x64: Requirement = {
  name: 'x86-64',
  unmet: ({ host }) =>
    host.architecture === 'x64' ? undefined : { reason: `this is a rule of x86, not of ${host.architecture}` },
};

interface Plain {
  readonly vm: Vm;
  readonly mapping: Mapping;
  readonly region: UserMemoryRegion;
  readonly agent: GuestAgent;
}

/** A default VM with a plain memslot and a guest. */
function plainVm(check: CheckContext, flags = 0): Plain {
  const vm = check.vm();
  const mapping = check.use(mapAnonymous({ size }));
  const region = { slot: 1, guestPhysAddr: gpa, size, mapping, flags };
  vm.setUserMemoryRegion(region);
  return { vm, mapping, region, agent: check.use(GuestAgent.create(vm)) };
}

/** Memslots, with and without guest_memfd. */
export const memslotChecks: readonly Check[] = [
  {
    name: 'memory-region/none',
    title: 'A vCPU of a VM without any memory comes back with an error of its own, and the VM can be closed',
    upstream: ['M4'],
    since: '6.8',
    requires: [x64],
    run: (check) => {
      for (const type of check.ground.host.vmTypes) {
        check.configuration = `VM type ${type}`;
        const vcpu = check.use(check.vm(type).createVcpu());
        const { reason } = vcpu.run({ timeout });
        holds(
          ['INTERNAL_ERROR', 'SHUTDOWN', 'FAIL_ENTRY', 'MMIO'].includes(reason),
          'exit of a vCPU without memory',
          'INTERNAL_ERROR or the like',
          reason,
        );
        check.note(`VM type ${type}: ${reason}`);
      }
    },
  },
  {
    name: 'memory-region/last-number',
    title: 'The last memslot number that KVM_CAP_NR_MEMSLOTS promises can be used',
    upstream: ['M4'],
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    run: (check) =>
      check.eachVmType((vm) => {
        using gmem = vm.createGuestMemfd({ size, flags: check.bindable });
        const mapping = check.use(mapAnonymous({ size }));
        const slot = vm.checkExtension(Capability.NR_MEMSLOTS) - 1;
        check.note(`the last number is ${slot}`);
        vm.setUserMemoryRegion({ slot, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
        vm.deleteUserMemoryRegion(slot);
      }),
  },
  {
    name: 'memory-region/address-spaces',
    title: 'Each address space that KVM_CAP_MULTI_ADDRESS_SPACE promises has memslots of its own',
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    run: (check) =>
      check.eachVmType((vm) => {
        const spaces = vm.checkExtension(Capability.MULTI_ADDRESS_SPACE) || 1;
        check.note(`VM type ${vm.type} has ${spaces}`);
        using gmem = vm.createGuestMemfd({ size: spaces * size, flags: check.bindable });
        for (let space = 0; space < spaces; space++) {
          const mapping = check.use(mapAnonymous({ size }));
          const slot = space * 0x1_0000 + 1;
          const region = { slot, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem };
          vm.setUserMemoryRegion({ ...region, guestMemfdOffset: space * size });
        }
        if (spaces > 1)
          refused(['EEXIST', 'EINVAL'], 'the same range of the file in another address space', () =>
            vm.setUserMemoryRegion({
              slot: 0x1_0002,
              guestPhysAddr: 2 * gpa,
              size,
              mapping: check.use(mapAnonymous({ size })),
              guestMemfd: gmem,
            }),
          );
      }),
  },
  {
    name: 'memory-region/pads-ignored',
    title: 'The pads of KVM_SET_USER_MEMORY_REGION2 are not looked at, so that programs may not rely on them',
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    run: (check) =>
      check.eachVmType((vm) => {
        using gmem = vm.createGuestMemfd({ size, flags: check.bindable });
        const mapping = check.use(mapAnonymous({ size }));
        const region = words(160, {
          0: 1n | (4n << 32n), // slot 1, KVM_MEM_GUEST_MEMFD
          8: gpa,
          16: size,
          24: mapping.address,
          32: 0,
          40: BigInt(gmem.fd) | (0xffff_ffffn << 32n),
          48: 0xffff_ffff_ffff_ffffn,
          152: 0xffff_ffff_ffff_ffffn,
        });
        rawIoctl(vm.fd, Request.SET_USER_MEMORY_REGION2, region);
        rawIoctl(vm.fd, Request.SET_USER_MEMORY_REGION2, words(160, { 0: 1n | (4n << 32n), 40: 0xffff_ffffn }));
      }),
  },
  {
    name: 'memory-region/plain-changes',
    title: 'A plain memslot can change its flags and be set again, but not its size or its host address',
    upstream: ['M4'],
    since: '6.8',
    requires: [userMemory2],
    run: (check) => {
      const { vm, region } = plainVm(check);
      vm.setUserMemoryRegion(region);
      vm.setUserMemoryRegion({ ...region, flags: MemoryRegionFlag.LOG_DIRTY_PAGES });
      vm.setUserMemoryRegion(region);
      refused('EINVAL', 'making it smaller', () => vm.setUserMemoryRegion({ ...region, size: page }));
      refused('EINVAL', 'making it read-only', () =>
        vm.setUserMemoryRegion({ ...region, flags: MemoryRegionFlag.READONLY }),
      );
      const elsewhere = check.use(mapAnonymous({ size }));
      refused('EINVAL', 'another host address', () => vm.setUserMemoryRegion({ ...region, mapping: elsewhere }));
    },
  },
  {
    name: 'memory-region/readonly-plain',
    title: 'A write to a plain read-only memslot is an MMIO exit, and reads go on',
    upstream: ['M4'],
    since: '6.8',
    requires: [userMemory2, guestProgram],
    run: (check) => {
      const { mapping, agent } = plainVm(check, MemoryRegionFlag.READONLY);
      mapping.fill(0x31);
      equal(agent.load(gpa, 1), 0x31n, 'what the guest reads');
      const { exit } = agent.run([{ op: 'store', gpa: gpa + page, value: 0x77, width: 1 }], { timeout });
      equal(exit?.reason, 'MMIO', 'exit of the write');
      equal(exit?.reason === 'MMIO' && exit.isWrite, true, 'it is a write');
      agent.resume({ timeout });
      allBytes(mapping, 0, size, 0x31, 'the memory');
    },
  },
  {
    name: 'memory-region/deleted-in-use',
    title: 'A memslot that is deleted while a vCPU reads it becomes an MMIO exit at the address',
    upstream: ['M4'],
    since: '6.8',
    requires: [userMemory2, guestProgram],
    run: async (check) => {
      const { vm, mapping, agent } = plainVm(check);
      mapping.fill(0x31);
      const running = agent.runAsync([{ op: 'spin', gpa: gpa + page, value: 1 }], { timeout });
      await sleep(5);
      vm.deleteUserMemoryRegion(1);
      const { exit } = await running;
      equal(exit?.reason, 'MMIO', 'exit reason');
      equal(exit?.reason === 'MMIO' && exit.guestPhysAddr, BigInt(gpa + page), 'address');
    },
  },
  {
    name: 'memory-region/moved-in-use',
    title: 'A plain memslot can be moved while a vCPU reads it: the old place is MMIO, and the new one has the memory',
    upstream: ['M4'],
    since: '6.8',
    requires: [userMemory2, guestProgram],
    run: async (check) => {
      const { vm, mapping, region, agent } = plainVm(check);
      mapping.fill(0x31);
      const running = agent.runAsync([{ op: 'spin', gpa: gpa + page, value: 1 }], { timeout });
      await sleep(5);
      vm.setUserMemoryRegion({ ...region, guestPhysAddr: gpa + size });
      const { exit } = await running;
      equal(exit?.reason, 'MMIO', 'exit reason');
      agent.restart();
      equal(agent.load(gpa + size + page, 1), 0x31n, 'memory at the new place');
    },
  },
  {
    name: 'memory-region/max-slots',
    title: 'As many memslots as KVM_CAP_NR_MEMSLOTS promises exist at once, and one more is refused',
    upstream: ['M4'],
    since: '6.8',
    stress: true,
    requires: [userMemory2],
    run: (check) => {
      const vm = check.vm();
      const mapping = check.use(mapAnonymous({ size: page }));
      const count = vm.checkExtension(Capability.NR_MEMSLOTS);
      for (let slot = 0; slot < count; slot++) {
        vm.setUserMemoryRegion({ slot, guestPhysAddr: gpa + slot * page, size: page, mapping });
        if (performance.now() > check.deadline)
          throw new CheckSkip(
            `only ${slot} of ${count} memslots could be made in the time given`,
            'Give --stress more',
          );
      }
      refused('EINVAL', 'one more', () =>
        vm.setUserMemoryRegion({ slot: count, guestPhysAddr: gpa + count * page, size: page, mapping }),
      );
      check.note(`${count} memslots`);
    },
  },
];
