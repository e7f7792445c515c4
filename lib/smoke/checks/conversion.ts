import { FallocateMode, MemoryAttribute, VmType } from '../../kvm/constants.ts';
import { mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { CheckContext } from '../context.ts';
import { allBytes, equal } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestProgram, memoryAttributes } from '../requirements.ts';
import {
  type Conversion,
  convert,
  convertByGuest,
  gpa,
  guest,
  guestFills,
  guestSees,
  privateVm,
  timeout,
} from './private-guest.ts';

const page = pageSize;
const pages = 8;
const size = pages * page;
const requires = [memoryAttributes, guestProgram];

/** Shared to private and back, at the guest's request: the whole range, then every second page, then the rest. */
function roundTrip(check: CheckContext, how: Conversion): void {
  const memory = privateVm(check, size);
  const agent = guest(check, memory.vm);
  const inner = { offset: page, length: size - 2 * page };
  memory.shared.fill(0x11);
  guestSees(agent, 0, size, 0x11, 'memory is shared at first');

  convertByGuest(memory, agent, inner.offset, inner.length, 'private', how);
  guestSees(agent, inner.offset, inner.length, 0, 'private memory that nobody has written');
  guestFills(agent, inner.offset, inner.length, 0x22);
  guestSees(agent, inner.offset, inner.length, 0x22, 'what the guest wrote to private memory');
  guestSees(agent, 0, page, 0x11, 'the page before the range');
  guestSees(agent, size - page, page, 0x11, 'the page behind the range');
  allBytes(memory.shared, 0, size, 0x11, 'the host still has what was shared');

  for (let offset = inner.offset; offset < size - page; offset += 2 * page) {
    convertByGuest(memory, agent, offset, page, 'shared', how);
    guestSees(agent, offset, page, 0x11, 'a page that became shared again');
    guestFills(agent, offset, page, 0x33);
    allBytes(memory.shared, offset, page, 0x33, 'what the guest wrote to it');
  }
  for (let offset = 2 * page; offset < size - page; offset += 2 * page)
    guestSees(agent, offset, page, 0x22, 'a page that stayed private');

  convertByGuest(memory, agent, 0, size, 'shared', how);
  for (let offset = 0; offset < size; offset += page)
    equal(memory.shared.compare(offset, memory.shared.read(offset, page)), -1, 'shared memory can be read');
  guestFills(agent, 0, size, 0x44);
  allBytes(memory.shared, 0, size, 0x44, 'all of it is shared');
}

/** Conversions between shared and private memory by the VM's memory attributes. */
export const conversionChecks: readonly Check[] = [
  {
    name: 'conversion/round-trip',
    title:
      'At its hypercall the guest gets private memory apart from the shared one, page by page, and the shared one back',
    upstream: ['P1'],
    since: '6.8',
    requires,
    run: (check) => roundTrip(check, { fallocate: false }),
  },
  {
    name: 'conversion/round-trip-fallocate',
    title: 'The same with private memory allocated and given back at each conversion',
    upstream: ['P2'],
    since: '6.8',
    requires,
    run: (check) => roundTrip(check, { fallocate: true }),
  },
  {
    name: 'conversion/private-contents-stay',
    title: 'What was private is there again after shared and back, unless it was given back meanwhile',
    upstream: ['P1', 'P2'],
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      convert(memory, 0, size, 'private');
      guestFills(agent, 0, size, 0x5a);
      convert(memory, 0, size, 'shared');
      guestSees(agent, 0, size, 0, 'shared memory that nobody has written');
      convert(memory, 0, size, 'private');
      guestSees(agent, 0, size, 0x5a, 'private memory, after shared and back');
      convert(memory, 0, size, 'shared', { fallocate: true });
      convert(memory, 0, size, 'private');
      guestSees(agent, 0, size, 0, 'private memory that was given back');
    },
  },
  {
    name: 'conversion/punch-page',
    title: 'A page punched out of private memory reads zero in the guest without any conversion, its neighbours stay',
    upstream: ['P3'],
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      convert(memory, 0, size, 'private');
      for (const offset of [0, 3 * page, size - page]) {
        guestFills(agent, 0, size, 0x77);
        memory.gmem.punchHole(offset, page);
        guestSees(agent, offset, page, 0, 'the punched page');
        if (offset > 0) guestSees(agent, 0, offset, 0x77, 'the pages before it');
        if (offset < size - page) guestSees(agent, offset + page, size - offset - page, 0x77, 'the pages behind it');
      }
    },
  },
  {
    name: 'conversion/punch-whole',
    title: 'All private memory punched out reads zero in the guest, and the shared side is untouched',
    upstream: ['P3'],
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      memory.shared.fill(0x11);
      convert(memory, 0, size, 'private');
      guestFills(agent, 0, size, 0x77);
      memory.gmem.fallocate(FallocateMode.PUNCH_HOLE | FallocateMode.KEEP_SIZE, 0, size);
      guestSees(agent, 0, size, 0, 'the punched memory');
      allBytes(memory.shared, 0, size, 0x11, 'the shared side');
    },
  },
  {
    name: 'conversion/file-outlives-vm',
    title: 'After the VM has been closed its guest_memfd can still be punched and allocated',
    upstream: ['P4'],
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size);
      const agent = guest(check, memory.vm);
      convert(memory, 0, size, 'private');
      guestFills(agent, 0, size, 0x12);
      agent.close();
      memory.vm.close();
      memory.gmem.punchHole(0, size);
      memory.gmem.allocate(0, size);
      memory.gmem.punchHole(page, page);
    },
  },
  {
    name: 'conversion/several-slots',
    title: 'Conversions across memslots that share one guest_memfd reach just the pages they name',
    upstream: ['P5'],
    since: '6.8',
    requires,
    run: (check) => {
      const memory = privateVm(check, size, 4);
      const agent = guest(check, memory.vm);
      memory.shared.fill(0x11);
      // Begins in the first slot and ends in the last.
      const [offset, length] = [page, size - 2 * page];
      convertByGuest(memory, agent, offset, length, 'private');
      guestSees(agent, offset, length, 0, 'the private side');
      guestFills(agent, offset, length, 0x66);
      guestSees(agent, 0, page, 0x11, 'the page before the range');
      guestSees(agent, size - page, page, 0x11, 'the page behind the range');
      memory.gmem.punchHole(2 * page, 2 * page);
      guestSees(agent, 2 * page, 2 * page, 0, 'the second slot, punched');
      guestSees(agent, page, page, 0x66, 'the first slot');
      guestSees(agent, 4 * page, size - 5 * page, 0x66, 'the slots behind');
      allBytes(memory.shared, 0, size, 0x11, 'the shared side');
    },
  },
  {
    name: 'conversion/several-vcpus',
    title:
      'vCPUs that work on private memory at the same time each see their own part of it, also while others are punched',
    upstream: ['P5'],
    since: '6.8',
    requires,
    run: async (check) => {
      const count = 2;
      const memory = privateVm(check, size, count);
      const agents = Array.from({ length: count }, (_, i) => guest(check, memory.vm, i));
      const each = size / count;
      convert(memory, 0, size, 'private');
      for (let round = 1; round <= 3; round++) {
        await Promise.all(
          agents.map(async (agent, i) => {
            const at = { gpa: gpa + i * each, length: each, value: 16 * round + i };
            const { results } = await agent.runAsync(
              [
                { op: 'fill', ...at },
                { op: 'compare', ...at },
              ],
              { timeout },
            );
            equal(results[1], BigInt(each), `round ${round}, vCPU ${i}: bytes as it wrote them`);
          }),
        );
        const [first, second] = agents;
        if (!first || !second) return;
        memory.gmem.punchHole(0, each);
        guestSees(second, 0, each, 0, `round ${round}: the part of vCPU 0, punched, as vCPU 1 sees it`);
        guestSees(first, each, each, 16 * round + 1, `round ${round}: the part of vCPU 1, as vCPU 0 sees it`);
      }
    },
  },
  {
    name: 'conversion/hypercall-refused',
    title:
      'KVM_HC_MAP_GPA_RANGE with an unaligned address, no pages or a range that wraps is refused to the guest at once',
    since: '6.8',
    requires,
    run: (check) => {
      const { vm } = privateVm(check, size);
      const agent = guest(check, vm);
      for (const [address, count] of [
        [gpa + 1, 1],
        [gpa, 0],
        [gpa, 0xffff_ffff_ffff_ffffn],
      ] as const) {
        const [result] = agent.execute([{ op: 'hypercall', number: 12, args: [address, count, 16] }], { timeout });
        equal(BigInt.asIntN(64, result ?? 0n), -22n, `address 0x${address.toString(16)}, ${count} pages`);
      }
    },
  },
  {
    name: 'conversion/without-memslot',
    title: 'Attributes can be set where no memslot is, and are there when one comes',
    since: '6.8',
    requires,
    run: (check) => {
      const vm = check.vm(VmType.SW_PROTECTED);
      const gmem = check.use(vm.createGuestMemfd({ size }));
      const shared = check.use(mapAnonymous({ size }));
      shared.fill(0x11);
      vm.setMemoryAttributes({ address: gpa + page, size: page, attributes: MemoryAttribute.PRIVATE });
      vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size, mapping: shared, guestMemfd: gmem });
      const agent = guest(check, vm);
      guestSees(agent, 0, page, 0x11, 'the page before');
      guestSees(agent, page, page, 0, 'the page that had become private before the memslot came');
      guestSees(agent, 2 * page, size - 2 * page, 0x11, 'the pages behind');
    },
  },
];
