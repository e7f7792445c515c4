import { GuestMemfdFlag } from '../../kvm/constants.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import { mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { UserMemoryRegion, Vm } from '../../kvm/vm.ts';
import type { CheckContext } from '../context.ts';
import { equal, refused } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestMemfd, userMemory2 } from '../requirements.ts';

const page = pageSize;
const size = 4 * page;
const gpa = 0x1_0000_0000;
const requires = [guestMemfd, userMemory2];

interface Bound {
  readonly vm: Vm;
  readonly gmem: GuestMemfd;
  readonly region: UserMemoryRegion;
}

/** Tries something with each VM type: a guest_memfd of 4 pages and a memslot for it that is not set yet. */
function eachRegion(check: CheckContext, attempt: (bound: Bound) => void): void {
  check.eachVmType((vm) => {
    using gmem = vm.createGuestMemfd({ size, flags: check.bindable });
    const mapping = check.use(mapAnonymous({ size }));
    attempt({ vm, gmem, region: { slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem } });
  });
}

/** What bindings of a guest_memfd leave behind: after a refusal, after the file, after the memslot. */
export const bindingLifetimeChecks: readonly Check[] = [
  {
    name: 'binding/tiles',
    title: 'A file can be bound in pieces that touch each other, in any order and at any guest physical address',
    upstream: ['P5'],
    since: '6.8',
    requires,
    run: (check) =>
      eachRegion(check, ({ vm, region }) => {
        for (const [i, tile] of [2, 0, 3, 1].entries())
          vm.setUserMemoryRegion({
            ...region,
            slot: 1 + i,
            guestPhysAddr: gpa + (3 - tile) * page,
            size: page,
            mappingOffset: tile * page,
            guestMemfdOffset: tile * page,
          });
        refused('EEXIST', 'a guest physical page between them', () =>
          vm.setUserMemoryRegion({ ...region, slot: 9, guestPhysAddr: gpa + page, size: page, guestMemfdOffset: 0 }),
        );
        for (let slot = 1; slot <= 4; slot++) vm.deleteUserMemoryRegion(slot);
        vm.setUserMemoryRegion(region);
      }),
  },
  {
    name: 'binding/neighbours',
    title: 'Memslots whose guest physical ranges touch do not overlap',
    upstream: ['M3'],
    since: '6.8',
    requires,
    run: (check) =>
      eachRegion(check, ({ vm, region }) => {
        for (const shift of [0, -2, 2, 4])
          vm.setUserMemoryRegion({
            ...region,
            slot: 5 + shift,
            guestPhysAddr: gpa + (shift * page) / 2,
            size: page,
            guestMemfdOffset: (shift / 2 + 1) * page,
          });
        equal(vm.slots.size, 4, 'memslots');
      }),
  },
  {
    name: 'binding/refusal-leaves-nothing',
    title: 'A binding that is refused takes neither the memslot nor the range of the file',
    upstream: ['M3'],
    since: '6.8',
    requires,
    run: (check) =>
      eachRegion(check, ({ vm, region }) => {
        const { guestMemfd: _, ...plain } = region;
        vm.setUserMemoryRegion({ ...plain, slot: 7 });
        for (const bad of [
          { guestPhysAddr: gpa + page },
          { guestPhysAddr: 2 * gpa, guestMemfdOffset: 1 },
          { guestPhysAddr: 2 * gpa, guestMemfdOffset: page },
          { guestPhysAddr: 2 * gpa, flags: 1 },
        ])
          refused(['EEXIST', 'EINVAL'], 'a bad binding', () => vm.setUserMemoryRegion({ ...region, ...bad }));
        vm.setUserMemoryRegion({ ...region, guestPhysAddr: 2 * gpa });
        refused(['EEXIST', 'EINVAL'], 'a second binding of the range', () =>
          vm.setUserMemoryRegion({ ...region, slot: 2, guestPhysAddr: 3 * gpa }),
        );
        vm.deleteUserMemoryRegion(1);
        vm.setUserMemoryRegion({ ...region, slot: 2, guestPhysAddr: 3 * gpa });
      }),
  },
  {
    name: 'binding/slot-number-again',
    title: 'The number of a deleted memslot can be given to another file, and to memory without one',
    since: '6.8',
    requires,
    run: (check) =>
      eachRegion(check, ({ vm, region }) => {
        const { guestMemfd: _, ...plain } = region;
        using other = vm.createGuestMemfd({ size, flags: check.bindable });
        for (const next of [region, { ...region, guestMemfd: other }, plain, region]) {
          vm.setUserMemoryRegion(next);
          vm.deleteUserMemoryRegion(1);
        }
      }),
  },
  {
    name: 'binding/slot-outlives-file',
    title: 'A memslot whose guest_memfd was closed stays in its place until it is deleted, and can be deleted',
    upstream: ['M2'],
    since: '6.8',
    requires,
    run: (check) =>
      eachRegion(check, ({ vm, gmem, region }) => {
        vm.setUserMemoryRegion(region);
        gmem.close();
        using other = vm.createGuestMemfd({ size, flags: check.bindable });
        refused('EEXIST', 'a second memslot in its place', () =>
          vm.setUserMemoryRegion({ ...region, slot: 2, guestMemfd: other }),
        );
        vm.deleteUserMemoryRegion(1);
        vm.setUserMemoryRegion({ ...region, slot: 2, guestMemfd: other });
      }),
  },
  {
    name: 'binding/file-outlives-slots',
    title: 'Punching and allocating work the same before, between and after bindings',
    since: '6.8',
    requires,
    run: (check) =>
      eachRegion(check, ({ vm, gmem, region }) => {
        const work = () => {
          gmem.allocate(0, size);
          gmem.punchHole(page, 2 * page);
          gmem.punchHole(0, size);
        };
        for (let round = 0; round < 3; round++) {
          work();
          vm.setUserMemoryRegion(region);
          work();
          vm.deleteUserMemoryRegion(1);
        }
        work();
      }),
  },
  {
    name: 'binding/no-memory-behind',
    title: 'A memslot of a mappable guest_memfd needs no memory at userspace_addr',
    since: '6.18',
    requires,
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, userspaceAddr: 0, guestMemfd: gmem });
        vm.deleteUserMemoryRegion(1);
      }, GuestMemfdFlag.MMAP),
  },
  {
    name: 'binding/far-offset',
    title: 'A page at the end of the largest file can be bound, and the one behind it cannot',
    upstream: ['G16'],
    since: '6.8',
    requires,
    knownBugs: ['B4'],
    run: (check) =>
      check.eachVmType((vm) => {
        const largest = 2n ** 63n - BigInt(page);
        using gmem = vm.createGuestMemfd({ size: largest, flags: check.bindable });
        const mapping = check.use(mapAnonymous({ size: page }));
        const region = { slot: 1, guestPhysAddr: gpa, size: page, mapping, guestMemfd: gmem };
        vm.setUserMemoryRegion({ ...region, guestMemfdOffset: largest - BigInt(page) });
        vm.deleteUserMemoryRegion(1);
        try {
          refused('EINVAL', 'the page behind the end', () =>
            vm.setUserMemoryRegion({ ...region, guestMemfdOffset: largest }),
          );
        } finally {
          // A kernel with B4 made the slot.
          if (vm.slots.has(1)) vm.deleteUserMemoryRegion(1);
        }
      }),
  },
];
