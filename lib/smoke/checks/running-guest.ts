import { setTimeout as sleep } from 'node:timers/promises';
import { GuestAgent } from '../../guest/agent.ts';
import { checksum } from '../../guest/commands.ts';
import { GuestMemfdFlag } from '../../kvm/constants.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import { type Mapping, mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { CheckContext } from '../context.ts';
import { allBytes, equal } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestMemfd, guestProgram, initShared, mmap, preFault } from '../requirements.ts';

const page = pageSize;
const size = 4 * page;
const gpa = 0x1_0000_0000;
const shared = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;
const timeout = 5000;
const requires = [guestMemfd, mmap, initShared, guestProgram];

interface Subject {
  readonly vm: Vm;
  readonly gmem: GuestMemfd;
  readonly mapping: Mapping;
  readonly agent: GuestAgent;
}

/** A default VM with shared guest_memfd memory and a guest. */
function setUp(check: CheckContext): Subject {
  const vm = check.vm();
  const gmem = check.use(vm.createGuestMemfd({ size, flags: shared }));
  const mapping = check.use(gmem.map());
  vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
  return { vm, gmem, mapping, agent: check.use(GuestAgent.create(vm)) };
}

const word = (value: number) => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);

/** What happens to guest_memfd memory while guests run on it. */
export const runningGuestChecks: readonly Check[] = [
  {
    name: 'guest/host-writes-meanwhile',
    title: 'A running guest sees what the host writes',
    since: '6.18',
    requires,
    run: async (check) => {
      const { mapping, agent } = setUp(check);
      const running = agent.runAsync([{ op: 'spin', gpa: gpa + page, value: 7 }], { timeout });
      await sleep(5);
      mapping.write(page, word(7));
      equal((await running).finished, true, 'the guest saw the word');
    },
  },
  {
    name: 'guest/punched-meanwhile',
    title: 'A hole that is punched under a running guest shows as zero at once',
    since: '6.18',
    requires,
    knownBugs: ['B5'],
    run: async (check) => {
      const vm = check.vm();
      const gmem = check.use(vm.createGuestMemfd({ size, flags: shared }));
      const decoy = check.use(mapAnonymous({ size }));
      vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping: decoy, guestMemfd: gmem });
      const agent = check.use(GuestAgent.create(vm));
      agent.fill(gpa, size, 0x11);
      const running = agent.runAsync([{ op: 'spin', gpa: gpa + page, value: 0 }], { timeout });
      await sleep(5);
      gmem.punchHole(page, page);
      equal((await running).finished, true, 'the guest saw zero');
      equal(agent.compare(gpa + 2 * page, page, 0x11), -1, 'first byte of the page behind that differs');
    },
  },
  {
    name: 'guest/closed-meanwhile',
    title: 'Closing the last reference to a guest_memfd ends a guest that runs on it with MEMORY_FAULT',
    since: '6.18',
    requires,
    run: async (check) => {
      const { gmem, mapping, agent } = setUp(check);
      mapping.fill(0x11);
      const running = agent.runAsync([{ op: 'spin', gpa: gpa + page, value: 1 }], { timeout });
      await sleep(5);
      mapping.close();
      gmem.close();
      const { exit } = await running;
      equal(exit?.reason, 'MEMORY_FAULT', 'exit reason');
      equal(exit?.reason === 'MEMORY_FAULT' && exit.guestPhysAddr, BigInt(gpa + page), 'address of the fault');
    },
  },
  {
    name: 'guest/unmapped-meanwhile',
    title: 'A guest runs on when the host unmaps the memory, and sees what a later mapping writes',
    since: '6.18',
    requires,
    run: async (check) => {
      const { gmem, mapping, agent } = setUp(check);
      mapping.fill(0x11);
      const running = agent.runAsync([{ op: 'spin', gpa: gpa + page, value: 9 }], { timeout });
      await sleep(5);
      mapping.close();
      using later = gmem.map();
      allBytes(later, 0, size, 0x11, 'the memory in the later mapping');
      later.write(page, word(9));
      equal((await running).finished, true, 'the guest saw the word');
    },
  },
  {
    name: 'guest/vm-closed-meanwhile',
    title: 'A vCPU runs on when the descriptor of its VM is closed, on the same memory',
    since: '6.18',
    requires,
    run: async (check) => {
      const { vm, mapping, agent } = setUp(check);
      const running = agent.runAsync([{ op: 'spin', gpa: gpa + page, value: 3 }], { timeout });
      await sleep(5);
      vm.close();
      mapping.write(page, word(3));
      equal((await running).finished, true, 'the guest saw the word');
    },
  },
  {
    name: 'guest/slot-replaced-meanwhile',
    title:
      'In the middle of a loop of the guest its memslot can be deleted and bound anew, and it goes on with the same memory',
    since: '6.18',
    requires,
    run: async (check) => {
      const { vm, gmem, mapping, agent } = setUp(check);
      mapping.fill(0x11);
      const running = agent.runAsync([{ op: 'spin', gpa: gpa + page, value: 5 }], { timeout });
      await sleep(5);
      agent.vcpu.stop();
      equal((await running).exit?.reason, 'INTR', 'the guest waits');
      vm.deleteUserMemoryRegion(1);
      vm.setUserMemoryRegion({ slot: 2, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
      mapping.write(page, word(5));
      equal(agent.resume({ timeout }).finished, true, 'the guest saw the word');
    },
  },
  {
    name: 'guest/two-vcpus',
    title: 'Two vCPUs see each other write guest_memfd memory while both run',
    since: '6.18',
    requires,
    run: async (check) => {
      const { vm, mapping, agent } = setUp(check);
      const other = check.use(GuestAgent.create(vm, { slot: 3, vcpuId: 1, guestPhysAddr: 0x10_0000 }));
      const ball = gpa + page;
      const play = (mine: number) =>
        [0, 2, 4, 6].flatMap((turn) => [
          { op: 'spin', gpa: ball, value: turn + mine } as const,
          { op: 'store', gpa: ball, value: turn + mine + 1 } as const,
        ]);
      const runs = await Promise.all([agent.runAsync(play(0), { timeout }), other.runAsync(play(1), { timeout })]);
      equal(
        runs.every(({ finished }) => finished),
        true,
        'both came to their end',
      );
      equal(new DataView(mapping.read(page, 8).buffer).getBigUint64(0, true), 8n, 'the last word');
    },
  },
  {
    name: 'guest/every-byte',
    title: 'A pattern with no two pages alike goes from host to guest, through a copy in the guest, and back',
    since: '6.18',
    requires,
    run: (check) => {
      const { mapping, agent } = setUp(check);
      const half = size / 2;
      const bytes = new Uint8Array(half);
      for (let i = 0; i < half; i++) bytes[i] = (i * 31 + (i >> 8) * 7) & 0xff;
      mapping.write(0, bytes);
      const [sum] = agent.execute(
        [
          { op: 'checksum', gpa, length: half },
          { op: 'copy', to: gpa + half, from: gpa, length: half },
        ],
        { timeout },
      );
      equal(sum, checksum(bytes), 'checksum that the guest computes');
      equal(mapping.compare(half, bytes), -1, 'first byte of the copy that differs');
      equal(mapping.compare(0, bytes), -1, 'first byte of the source that differs');
    },
  },
  {
    name: 'guest/residency',
    title: 'Pages that only the guest touched are resident in the host, and no others',
    since: '6.18',
    requires,
    run: (check) => {
      const { mapping, agent } = setUp(check);
      agent.store(gpa + page, 1);
      agent.load(gpa + 3 * page);
      equal(mapping.residency().join(' '), 'false true false true', 'resident pages');
    },
  },
  {
    name: 'guest/two-slots',
    title: 'Two memslots over one file, in the reverse order of its pages, show each its own part',
    since: '6.18',
    requires,
    run: (check) => {
      const vm = check.vm();
      const gmem = check.use(vm.createGuestMemfd({ size, flags: shared }));
      const mapping = check.use(gmem.map());
      const half = size / 2;
      for (const slot of [1, 2])
        vm.setUserMemoryRegion({
          slot,
          guestPhysAddr: gpa + (2 - slot) * half,
          size: half,
          mapping,
          mappingOffset: (slot - 1) * half,
          guestMemfd: gmem,
          guestMemfdOffset: (slot - 1) * half,
        });
      const agent = check.use(GuestAgent.create(vm));
      agent.fill(gpa, half, 0x22);
      agent.fill(gpa + half, half, 0x11);
      allBytes(mapping, 0, half, 0x11, 'the first half of the file');
      allBytes(mapping, half, half, 0x22, 'the second half of the file');
    },
  },
  {
    name: 'guest/far-offset',
    title: 'A memslot may show a page from anywhere in a file larger than any memory',
    since: '6.18',
    requires,
    run: (check) => {
      const vm = check.vm();
      const gmem = check.use(vm.createGuestMemfd({ size: 2n ** 62n, flags: shared }));
      const offset = 2 ** 50;
      const mapping = check.use(gmem.map({ offset, length: page }));
      vm.setUserMemoryRegion({
        slot: 1,
        guestPhysAddr: gpa,
        size: page,
        mapping,
        guestMemfd: gmem,
        guestMemfdOffset: offset,
      });
      const agent = check.use(GuestAgent.create(vm));
      agent.fill(gpa, page, 0x5c);
      allBytes(mapping, 0, page, 0x5c, 'the page, seen by the host');
      gmem.punchHole(offset, page);
      equal(agent.compare(gpa, page, 0), -1, 'first byte that is not zero after punching it');
    },
  },
  {
    name: 'guest/beside-slot',
    title: 'An access right behind a memslot is an MMIO exit, and its answer reaches the guest',
    since: '6.18',
    requires,
    run: (check) => {
      const { mapping, agent } = setUp(check);
      const { exit } = agent.run([{ op: 'load', gpa: gpa + size }], { timeout });
      equal(exit?.reason, 'MMIO', 'exit reason');
      equal(exit?.reason === 'MMIO' && exit.guestPhysAddr, BigInt(gpa + size), 'address');
      agent.vcpu.completeMmio(word(0x1234));
      equal(agent.resume({ timeout }).results[0], 0x1234n, 'what the guest loaded');
      agent.store(gpa + size - 8, 0x55);
      equal(mapping.read(size - 8, 1)[0], 0x55, 'the last word of the memslot');
    },
  },
  {
    name: 'guest/without-mmap',
    title:
      'A guest_memfd that cannot be mapped stands unused beside the shared memory of a default VM, which has no private memory',
    since: '6.18',
    requires: [
      ...requires,
      {
        name: 'x86-64',
        unmet: ({ host }) =>
          host.architecture === 'x64' ? undefined : { reason: 'KVM of arm64 binds only what can be mapped' },
      },
    ],
    run: (check) => {
      const vm = check.vm();
      const gmem = check.use(vm.createGuestMemfd({ size }));
      const mapping = check.use(mapAnonymous({ size }));
      vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
      const agent = check.use(GuestAgent.create(vm));
      agent.fill(gpa, size, 0x47);
      allBytes(mapping, 0, size, 0x47, 'the memory at userspace_addr');
      gmem.punchHole(0, size);
      equal(agent.compare(gpa, size, 0x47), -1, 'first byte that a hole in the guest_memfd changed');
    },
  },
  {
    name: 'pre-fault/guest-memfd',
    title: 'Pre-faulting allocates the pages of a shared guest_memfd, which the guest has not touched yet',
    upstream: ['F1'],
    since: '6.18',
    requires: [...requires, preFault],
    run: (check) => {
      const { mapping, agent } = setUp(check);
      mapping.fill(0x3e, page, page);
      let [at, left] = [BigInt(gpa), BigInt(size - page)];
      while (left > 0n) {
        const progress = agent.vcpu.preFault({ guestPhysAddr: at, size: left });
        [at, left] = [progress.guestPhysAddr, progress.remaining];
      }
      equal(mapping.residency().join(' '), 'true true true false', 'resident pages');
      equal(agent.compare(gpa + page, page, 0x3e), -1, 'first byte of the written page that differs');
      equal(agent.compare(gpa, page, 0), -1, 'first byte of an untouched page that is not zero');
    },
  },
];
