import { GuestAgent } from '../../guest/agent.ts';
import { GuestMemfdFlag } from '../../kvm/constants.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import { type Mapping, mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { CheckContext } from '../context.ts';
import { allBytes, CheckFailure, equal, holds } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestMemfd, guestProgram, initShared, mmap } from '../requirements.ts';

const page = pageSize;
const size = 4 * page;
const gpa = 0x1_0000_0000;
const shared = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;
const timeout = 2000;

interface GuestSetUp {
  vm: Vm;
  gmem: GuestMemfd;
  mapping: Mapping;
  agent: GuestAgent;
}

/** A default VM with shared guest_memfd memory at 4 GiB and a guest that works on it. */
function setUp(check: CheckContext, offset = 0): GuestSetUp {
  const vm = check.vm();
  const gmem = check.use(vm.createGuestMemfd({ size: size + offset, flags: shared }));
  const mapping = check.use(gmem.map());
  vm.setUserMemoryRegion({
    slot: 1,
    guestPhysAddr: gpa,
    size,
    mapping,
    mappingOffset: offset,
    guestMemfd: gmem,
    guestMemfdOffset: offset,
  });
  return { vm, gmem, mapping, agent: check.use(GuestAgent.create(vm)) };
}

/** The guest must see `value` in every byte. */
function guestSees(agent: GuestAgent, offset: number, length: number, value: number, what: string): void {
  const [differs] = agent.execute([{ op: 'compare', gpa: gpa + offset, length, value }], { timeout });
  if (differs === BigInt(length)) return;
  const at = gpa + offset + Number(differs);
  const got = agent.load(at, 1);
  throw new CheckFailure(`${what}, at 0x${at.toString(16)}`, `0x${value.toString(16)}`, `0x${got.toString(16)}`);
}

const requires = [guestMemfd, mmap, initShared, guestProgram];

/** A guest that runs on guest_memfd memory. */
export const guestChecks: readonly Check[] = [
  {
    name: 'guest/shared-memory',
    title: 'Guest and host see what the other wrote, also through a mapping made afterwards',
    upstream: ['G17'],
    since: '6.18',
    requires,
    run: (check) => {
      const { gmem, mapping, agent } = setUp(check);
      mapping.fill(0xaa);
      mapping.close();
      guestSees(agent, 0, size, 0xaa, 'what the host wrote, seen by the guest');
      agent.execute([{ op: 'fill', gpa, length: size, value: 0xff }], { timeout });
      using later = gmem.map();
      allBytes(later, 0, size, 0xff, 'what the guest wrote, seen by the host');
    },
  },
  {
    name: 'guest/pages-come-from-file',
    title: 'The guest gets its pages from the guest_memfd, even where userspace_addr leads to other memory',
    since: '6.18',
    requires,
    run: (check) => {
      const vm = check.vm();
      const gmem = check.use(vm.createGuestMemfd({ size, flags: shared }));
      const file = check.use(gmem.map());
      const decoy = check.use(mapAnonymous({ size }));
      file.fill(0xaa);
      decoy.fill(0xdd);
      vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping: decoy, guestMemfd: gmem });
      const agent = check.use(GuestAgent.create(vm));
      guestSees(agent, 0, size, 0xaa, 'the guest_memfd, seen by the guest');
      agent.execute([{ op: 'fill', gpa, length: size, value: 0xbb }], { timeout });
      allBytes(file, 0, size, 0xbb, 'what the guest wrote, in the guest_memfd');
      allBytes(decoy, 0, size, 0xdd, 'the other memory');
    },
  },
  {
    name: 'guest/first-touch-is-zero',
    title: 'Memory that nobody has written reads as zero in the guest, and becomes what the guest writes',
    since: '6.18',
    requires,
    run: (check) => {
      const { mapping, agent } = setUp(check);
      guestSees(agent, 0, size, 0, 'untouched memory');
      agent.execute([{ op: 'store', gpa: gpa + page, value: 0x1122334455667788n }], { timeout });
      equal(new DataView(mapping.read(page, 8).buffer).getBigUint64(0, true), 0x1122334455667788n, 'seen by the host');
    },
  },
  {
    name: 'guest/offset-in-file',
    title: 'A memslot bound at an offset shows the guest just that part of the guest_memfd',
    since: '6.18',
    requires,
    run: (check) => {
      const offset = 2 * page;
      const { mapping, agent } = setUp(check, offset);
      for (let i = 0; i < mapping.length / page; i++) mapping.fill(0x10 + i, i * page, page);
      for (let i = 0; i < size / page; i++) guestSees(agent, i * page, page, 0x12 + i, `page ${i} of the slot`);
    },
  },
  {
    name: 'guest/punch-shared',
    title: 'A hole punched in shared memory takes the page from the guest too: it reads zero, its neighbours stay',
    since: '6.18',
    requires,
    knownBugs: ['B5'],
    run: (check) => {
      const { gmem, mapping, agent } = setUp(check);
      mapping.fill(0xaa);
      guestSees(agent, 0, size, 0xaa, 'before the hole');
      gmem.punchHole(page, page);
      guestSees(agent, page, page, 0, 'the punched page');
      guestSees(agent, 0, page, 0xaa, 'the page before it');
      guestSees(agent, 2 * page, 2 * page, 0xaa, 'the pages behind it');
      allBytes(mapping, page, page, 0, 'the punched page, seen by the host');
    },
  },
  {
    name: 'guest/punch-unmapped',
    title: 'A hole takes the page from the guest also where no mapping of it goes away with it: it reads zero',
    since: '6.18',
    requires,
    knownBugs: ['B5'],
    run: (check) => {
      const vm = check.vm();
      const gmem = check.use(vm.createGuestMemfd({ size, flags: shared }));
      // A hole in memory that the host has touched at userspace_addr takes the page from the guest by itself.
      const decoy = check.use(mapAnonymous({ size }));
      vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping: decoy, guestMemfd: gmem });
      const agent = check.use(GuestAgent.create(vm));
      agent.execute([{ op: 'fill', gpa, length: size, value: 0x77 }], { timeout });
      gmem.punchHole(page, 2 * page);
      guestSees(agent, page, 2 * page, 0, 'the punched pages');
      guestSees(agent, 0, page, 0x77, 'the page before them');
      guestSees(agent, 3 * page, page, 0x77, 'the page behind them');
    },
  },
  {
    name: 'guest/closed-file',
    title: 'When file descriptor and mapping are closed under a memslot, the next guest access is a MEMORY_FAULT exit',
    since: '6.18',
    requires,
    run: (check) => {
      const { gmem, mapping, agent } = setUp(check);
      mapping.fill(0xaa);
      guestSees(agent, 0, page, 0xaa, 'before closing');
      gmem.close();
      guestSees(agent, 0, size, 0xaa, 'with the mapping still open');
      mapping.close();
      const { exit } = agent.run([{ op: 'load', gpa: gpa + page }], { timeout });
      equal(exit?.reason, 'MEMORY_FAULT', 'exit reason');
      if (exit?.reason !== 'MEMORY_FAULT') return;
      equal(exit.code, 'EFAULT', 'errno of KVM_RUN');
      equal(exit.guestPhysAddr, BigInt(gpa + page), 'address of the fault');
      equal(exit.size, BigInt(page), 'size of the fault');
    },
  },
  {
    name: 'guest/file-closed-under-slot',
    title: 'Closing a guest_memfd takes its pages from the guest, also where no mapping of it goes away with it',
    since: '6.18',
    requires,
    run: (check) => {
      const vm = check.vm();
      const gmem = check.use(vm.createGuestMemfd({ size, flags: shared }));
      // Unmapping the file would take the pages from the guest by itself: the memslot has other memory at userspace_addr.
      const decoy = check.use(mapAnonymous({ size }));
      vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping: decoy, guestMemfd: gmem });
      const agent = check.use(GuestAgent.create(vm));
      agent.execute([{ op: 'fill', gpa, length: size, value: 0x77 }], { timeout });
      gmem.close();
      const { exit } = agent.run([{ op: 'load', gpa: gpa + page }], { timeout });
      equal(exit?.reason, 'MEMORY_FAULT', 'exit reason');
      equal(exit?.reason === 'MEMORY_FAULT' && exit.guestPhysAddr, BigInt(gpa + page), 'address of the fault');
    },
  },
  {
    name: 'guest/deleted-slot',
    title: 'After its memslot is deleted the guest no longer reaches the memory: the access is an MMIO exit',
    since: '6.18',
    requires,
    run: (check) => {
      const { vm, mapping, agent } = setUp(check);
      mapping.fill(0xaa);
      guestSees(agent, 0, page, 0xaa, 'before deleting');
      vm.deleteUserMemoryRegion(1);
      const { exit } = agent.run([{ op: 'load', gpa }], { timeout });
      equal(exit?.reason, 'MMIO', 'exit reason');
      holds(
        exit?.reason === 'MMIO' && exit.guestPhysAddr === BigInt(gpa),
        'address of the access',
        `0x${gpa.toString(16)}`,
      );
      allBytes(mapping, 0, size, 0xaa, 'the memory itself');
    },
  },
  {
    name: 'guest/fresh-binding',
    title: 'Bound again after deleting its memslot, a guest_memfd shows the guest what it held',
    since: '6.18',
    requires,
    run: (check) => {
      const { vm, gmem, mapping, agent } = setUp(check);
      agent.execute([{ op: 'fill', gpa, length: size, value: 0x3c }], { timeout });
      vm.deleteUserMemoryRegion(1);
      vm.setUserMemoryRegion({ slot: 2, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
      guestSees(agent, 0, size, 0x3c, 'after binding it to another slot');
    },
  },
];
