import { setTimeout as sleep } from 'node:timers/promises';
import { GuestAgent } from '../../guest/agent.ts';
import { Advice, Capability, GuestMemfdFlag, HypercallNumber, MemoryAttribute, VmType } from '../../kvm/constants.ts';
import { mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import { allBytes, equal, holds, inaccessible, refused } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestMemfd, guestProgram, memoryAttributes, mmap } from '../requirements.ts';
import {
  convert,
  convertByGuest,
  gpa,
  guest,
  guestFills,
  guestSees,
  passingFaults,
  privateVm,
  timeout,
} from './private-guest.ts';

const page = pageSize;
const pages = 8;
const size = pages * page;
const requires = [memoryAttributes, guestProgram];
const hugePage = (page / 8) * page;

/** Conversions at the edges: of ranges that are mixed already, while guests run, on huge pages, of mappable files. */
export const conversionEdgeChecks: readonly Check[] = [
  {
    name: 'conversion/mixed-to-private',
    title: 'A range of which a part is private already becomes private as a whole, and keeps what was private in it',
    upstream: ['P1'],
    since: '6.8',
    requires,
    run: (check) => {
      for (const [first, count] of [
        [0, 2],
        [3, 2],
        [6, 2],
      ] as const) {
        const memory = privateVm(check, size);
        const agent = guest(check, memory.vm);
        memory.shared.fill(0x11);
        check.configuration = `pages ${first} to ${first + count - 1} private before`;
        convert(memory, first * page, count * page, 'private');
        guestFills(agent, first * page, count * page, 0x22);
        convert(memory, 0, size, 'private');
        for (let i = 0; i < pages; i++)
          guestSees(agent, i * page, page, i >= first && i < first + count ? 0x22 : 0, `page ${i}`);
        agent.close();
      }
    },
  },
  {
    name: 'conversion/mixed-to-shared',
    title: 'A range of which every second page is private becomes shared as a whole',
    upstream: ['P1'],
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      memory.shared.fill(0x11);
      for (let i = 1; i < pages; i += 2) convert(memory, i * page, page, 'private');
      for (let i = 0; i < pages; i++) guestSees(agent, i * page, page, i % 2 ? 0 : 0x11, `page ${i}, mixed`);
      convert(memory, 0, size, 'shared');
      guestSees(agent, 0, size, 0x11, 'the whole, shared');
    },
  },
  {
    name: 'conversion/again',
    title: 'Converting to the state that memory has already changes nothing',
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      convert(memory, 0, size, 'shared');
      guestFills(agent, 0, size, 0x11);
      convert(memory, page, page, 'shared');
      guestSees(agent, 0, size, 0x11, 'shared memory');
      convert(memory, 0, size, 'private');
      guestFills(agent, 0, size, 0x22);
      convert(memory, page, page, 'private');
      convert(memory, 0, size, 'private');
      guestSees(agent, 0, size, 0x22, 'private memory');
    },
  },
  {
    name: 'conversion/both-sides-apart',
    title: 'What the host does to the shared side of private memory, even discarding it, the guest does not see',
    upstream: ['P1'],
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      convert(memory, 0, size, 'private');
      guestFills(agent, 0, size, 0x22);
      memory.shared.fill(0x99);
      guestSees(agent, 0, size, 0x22, 'private memory, while the host writes the shared side');
      memory.shared.advise(Advice.DONTNEED);
      guestSees(agent, 0, size, 0x22, 'private memory, after the shared side was discarded');
      allBytes(memory.shared, 0, size, 0, 'the shared side');
    },
  },
  {
    name: 'conversion/punched-while-shared',
    title: 'Punching the private side of shared memory leaves the shared side alone',
    upstream: ['P2'],
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      convert(memory, 0, size, 'private');
      guestFills(agent, 0, size, 0x22);
      convert(memory, 0, size, 'shared');
      guestFills(agent, 0, size, 0x11);
      memory.gmem.punchHole(0, 2 * page);
      guestSees(agent, 0, size, 0x11, 'the shared side');
      convert(memory, 0, size, 'private');
      guestSees(agent, 0, 2 * page, 0, 'the punched pages, private again');
      guestSees(agent, 2 * page, size - 2 * page, 0x22, 'the others, private again');
    },
  },
  {
    name: 'conversion/meanwhile',
    title: 'A guest that reads shared memory sees the private side as soon as the host has converted it, and back',
    upstream: ['P5'],
    since: '6.8',
    requires,
    run: async (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      const [from, to] = [0x1111_1111_1111_1111n, 0x2222_2222_2222_2222n];
      convert(memory, 0, size, 'private');
      guestFills(agent, 0, size, 0x22);
      convert(memory, 0, size, 'shared');
      memory.shared.fill(0x11);
      for (const [value, side] of [
        [to, 'private'],
        [from, 'shared'],
      ] as const) {
        const running = agent.runAsync([{ op: 'spin', gpa: gpa + page, value }], { timeout });
        await sleep(5);
        convert(memory, page, page, side);
        const { finished, exit } = await passingFaults(agent, running);
        holds(finished, `the guest saw the ${side} side`, 'the end of its loop', exit?.reason);
      }
    },
  },
  {
    name: 'conversion/huge-page',
    title: 'One page inside a huge page of shared memory can be converted: its neighbours stay what they were',
    upstream: ['P5'],
    since: '6.8',
    requires,
    run: (check) => {
      const vm = check.vm(VmType.SW_PROTECTED);
      const bytes = hugePage + page;
      const gmem = check.use(vm.createGuestMemfd({ size: 2 * hugePage }));
      const shared = check.use(mapAnonymous({ size: 2 * hugePage, alignment: hugePage }));
      shared.advise(Advice.HUGEPAGE);
      shared.fill(0x11);
      vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size: 2 * hugePage, mapping: shared, guestMemfd: gmem });
      const agent = guest(check, vm);
      const memory = { vm, gmem, shared };
      guestSees(agent, 0, bytes, 0x11, 'shared memory, which the guest has mapped huge where the kernel can');
      const inside = hugePage / 2;
      convert(memory, inside, page, 'private');
      guestSees(agent, inside, page, 0, 'the private page');
      guestSees(agent, inside - page, page, 0x11, 'the page before it');
      guestSees(agent, inside + page, page, 0x11, 'the page behind it');
      convert(memory, 0, hugePage, 'private');
      guestSees(agent, 0, hugePage, 0, 'the whole huge page, private');
      guestFills(agent, 0, hugePage, 0x22);
      convert(memory, inside, page, 'shared');
      guestSees(agent, inside, page, 0x11, 'the page inside, shared again');
      guestSees(agent, inside + page, page, 0x22, 'the private page behind it');
      guestSees(agent, hugePage, page, 0x11, 'the page behind the huge page');
    },
  },
  {
    name: 'conversion/several-vcpus-ask',
    title: 'Two vCPUs that ask for conversions of their own parts of several memslots at once each get them',
    upstream: ['P5'],
    since: '6.8',
    requires,
    run: async (check) => {
      const memory = privateVm(check, size, 4);
      const each = size / 2;
      memory.shared.fill(0x11);
      await Promise.all(
        [0, 1].map(async (i) => {
          const agent = guest(check, memory.vm, i);
          const at = { gpa: gpa + i * each, length: each };
          for (const [round, side] of (['private', 'shared', 'private'] as const).entries()) {
            const attributes = side === 'private' ? 16 : 0;
            const args = [at.gpa, each / page, attributes];
            const asked = await agent.runAsync([{ op: 'hypercall', number: 12, args }], { timeout });
            equal(asked.exit?.reason, 'HYPERCALL', `vCPU ${i}, round ${round}: exit`);
            equal(asked.exit?.reason === 'HYPERCALL' && asked.exit.args[0], BigInt(at.gpa), `vCPU ${i}: address`);
            convert(memory, i * each, each, side, { fallocate: true });
            agent.vcpu.completeHypercall(0);
            agent.resume({ timeout });
            const value = 0x20 * (round + 1) + i;
            const { results } = await agent.runAsync(
              [
                { op: 'compare', ...at, value: side === 'private' ? 0 : 0x11 },
                { op: 'fill', ...at, value },
                { op: 'compare', ...at, value },
                { op: 'fill', ...at, value: side === 'private' ? 0 : 0x11 },
              ],
              { timeout },
            );
            equal(results[0], BigInt(each), `vCPU ${i}, round ${round}: bytes as they must be after the conversion`);
            equal(results[2], BigInt(each), `vCPU ${i}, round ${round}: bytes as it wrote them`);
          }
        }),
      );
    },
  },
  {
    name: 'conversion/two-vms',
    title: 'Attributes belong to one VM: another one with memory at the same address keeps its own',
    since: '6.8',
    requires,
    run: (check) => {
      const [first, second] = [privateVm(check, size), privateVm(check, size)];
      const [one, two] = [guest(check, first.vm), guest(check, second.vm)];
      first.shared.fill(0x11);
      second.shared.fill(0x12);
      convert(first, 0, size, 'private');
      guestSees(two, 0, size, 0x12, 'memory of the VM that was not converted');
      guestFills(one, 0, size, 0x21);
      convert(second, 0, size, 'private');
      guestSees(two, 0, size, 0, 'private memory of the second VM');
      guestSees(one, 0, size, 0x21, 'private memory of the first VM');
    },
  },
  {
    name: 'conversion/hypercall-not-enabled',
    title:
      'Without KVM_CAP_EXIT_HYPERCALL the guest that asks for a conversion is told that there is none (KVM_ENOSYS)',
    since: '6.8',
    requires,
    run: (check) => {
      const agent = guest(check, check.vm(VmType.SW_PROTECTED));
      const [result] = agent.execute([{ op: 'hypercall', number: HypercallNumber.MAP_GPA_RANGE, args: [gpa, 1, 16] }], {
        timeout,
      });
      equal(BigInt.asIntN(64, result ?? 0n), -1000n, 'what the hypercall gave the guest');
    },
  },
  {
    name: 'conversion/hypercall-answer',
    title: 'The guest finds what the host answers to KVM_HC_MAP_GPA_RANGE, and nothing is converted by itself',
    upstream: ['P1'],
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      memory.shared.fill(0x11);
      const args = [gpa, pages, 16];
      agent.run([{ op: 'hypercall', number: HypercallNumber.MAP_GPA_RANGE, args }], { timeout });
      agent.vcpu.completeHypercall(0xdead_beefn);
      equal(agent.resume({ timeout }).results[0], 0xdead_beefn, 'the answer');
      guestSees(agent, 0, size, 0x11, 'memory that nobody converted');
    },
  },
  {
    name: 'conversion/mappable-file',
    title:
      'Where the file is mappable it backs both states: contents stay at a conversion, and the host never sees them',
    since: '6.18',
    requires: [...requires, mmap, guestMemfd],
    run: (check) => {
      const vm = check.vm(VmType.SW_PROTECTED);
      const gmem = check.use(vm.createGuestMemfd({ size, flags: GuestMemfdFlag.MMAP }));
      const mapping = check.use(gmem.map());
      vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
      const agent = guest(check, vm);
      guestFills(agent, 0, size, 0x22);
      inaccessible('the host reading it', () => mapping.read(0, 1));
      convert({ vm, gmem, shared: mapping }, 0, size, 'private');
      guestSees(agent, 0, size, 0x22, 'memory after it became private');
      guestFills(agent, 0, size, 0x23);
      convert({ vm, gmem, shared: mapping }, 0, size, 'shared');
      guestSees(agent, 0, size, 0x23, 'memory after it became shared again');
      inaccessible('the host reading it', () => mapping.read(0, 1));
    },
  },
  {
    name: 'conversion/not-without-private-memory',
    title:
      'A VM without private memory refuses the attribute PRIVATE, and takes "no attributes" where the kernel has any',
    since: '6.8',
    requires: [memoryAttributes],
    run: (check) => {
      const vm = check.vm();
      equal(vm.checkExtension(Capability.MEMORY_ATTRIBUTES), 0, 'KVM_CAP_MEMORY_ATTRIBUTES of a default VM');
      const range = { address: gpa, size: page };
      refused('EINVAL', 'PRIVATE', () => vm.setMemoryAttributes({ ...range, attributes: MemoryAttribute.PRIVATE }));
      vm.setMemoryAttributes({ ...range, attributes: 0 });
    },
  },
  {
    name: 'conversion/unknown-attributes',
    title: 'Each attribute bit but PRIVATE is refused with EINVAL, alone and beside PRIVATE',
    since: '6.8',
    requires: [memoryAttributes],
    run: (check) => {
      const { vm } = privateVm(check, size);
      equal(vm.checkExtension(Capability.MEMORY_ATTRIBUTES), MemoryAttribute.PRIVATE, 'KVM_CAP_MEMORY_ATTRIBUTES');
      for (let bit = 0n; bit < 64n; bit++) {
        if (1n << bit === BigInt(MemoryAttribute.PRIVATE)) continue;
        for (const beside of [0n, BigInt(MemoryAttribute.PRIVATE)])
          refused('EINVAL', `attribute bit ${bit}`, () =>
            vm.setMemoryAttributes({ address: gpa, size: page, attributes: (1n << bit) | beside }),
          );
      }
    },
  },
  {
    name: 'conversion/large-range',
    title: 'Four gigabytes of addresses are converted at once and back, in memslots or not, in seconds',
    since: '6.8',
    stress: true,
    requires,
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      memory.shared.fill(0x11);
      const range = { address: gpa, size: 0x1_0000_0000 };
      const started = performance.now();
      memory.vm.setMemoryAttributes({ ...range, attributes: MemoryAttribute.PRIVATE });
      guestSees(agent, 0, size, 0, 'memory in the range, private');
      memory.vm.setMemoryAttributes({ ...range, attributes: 0 });
      check.note(`${Math.round(performance.now() - started)} ms for both conversions`);
      guestSees(agent, 0, size, 0x11, 'memory in the range, shared again');
    },
  },
  {
    name: 'conversion/neighbour-slots',
    title: 'A conversion by the guest that ends inside the next memslot stops at the page that it names',
    upstream: ['P5'],
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size, 2);
      const agent = guest(check, memory.vm);
      memory.shared.fill(0x11);
      const [offset, length] = [size / 2 - page, 2 * page];
      convertByGuest(memory, agent, offset, length, 'private', { fallocate: true });
      guestSees(agent, 0, offset, 0x11, 'the pages before');
      guestSees(agent, offset, length, 0, 'the private pages, one in each memslot');
      guestSees(agent, offset + length, size - offset - length, 0x11, 'the pages behind');
      memory.vm.deleteUserMemoryRegion(11);
      guestSees(agent, offset, page, 0, 'the private page of the memslot that is left');
    },
  },
  {
    name: 'conversion/agent-of-its-own',
    title: 'Converting all of the memory under test leaves the memory beside it, where the guest program lies, alone',
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = check.use(GuestAgent.create(memory.vm, { slot: 3, guestPhysAddr: gpa - 0x10_0000 }));
      for (const side of ['private', 'shared', 'private'] as const) {
        memory.vm.setMemoryAttributes({
          address: gpa,
          size: 16 * 2 ** 20,
          attributes: side === 'private' ? MemoryAttribute.PRIVATE : 0,
        });
        guestFills(agent, 0, size, 0x33);
        guestSees(agent, 0, size, 0x33, `${side} memory`);
      }
    },
  },
];
