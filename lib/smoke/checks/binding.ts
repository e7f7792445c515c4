import { closeSync, openSync } from 'node:fs';
import { GuestMemfdFlag } from '../../kvm/constants.ts';
import { mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { CheckContext } from '../context.ts';
import { CheckFailure, equal, refused } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestMemfd, userMemory2 } from '../requirements.ts';
import { unaligned } from '../unaligned.ts';

const page = pageSize;
const size = 4 * page;
const gpa = 0x1_0000_0000;

/** What stands behind userspace_addr: memory that the check never touches. */
function anonymous(check: CheckContext, bytes = size) {
  return check.use(mapAnonymous({ size: bytes }));
}

/** A guest_memfd bound to memslots. */
export const bindingChecks: readonly Check[] = [
  {
    name: 'binding/offset-overflow',
    title: 'An offset so high that offset plus size leaves the signed 64-bit range is refused with EINVAL',
    upstream: ['G16'],
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    knownBugs: ['B4'],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        const guestMemfdOffset = (1n << 63n) - BigInt(page);
        const mapping = anonymous(check);
        const region = { slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem, guestMemfdOffset };
        try {
          refused('EINVAL', `binding at offset 0x${guestMemfdOffset.toString(16)}`, () =>
            vm.setUserMemoryRegion(region),
          );
        } finally {
          // A kernel with the bug made the slot.
          if (vm.slots.has(1)) vm.deleteUserMemoryRegion(1);
        }
      }),
  },
  {
    name: 'binding/beyond-end',
    title: 'A range that ends beyond the guest_memfd is refused with EINVAL',
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        const mapping = anonymous(check, 2 * size);
        for (const [guestMemfdOffset, bytes] of [
          [0, size + page],
          [page, size],
          [size, page],
          [size + page, page],
        ] as const)
          refused('EINVAL', `binding ${bytes} bytes at offset ${guestMemfdOffset} of ${size}`, () =>
            vm.setUserMemoryRegion({
              slot: 1,
              guestPhysAddr: gpa,
              size: bytes,
              mapping,
              guestMemfd: gmem,
              guestMemfdOffset,
            }),
          );
      }),
  },
  {
    name: 'binding/foreign-fd',
    title: 'A file descriptor that is no guest_memfd of this VM is refused: EINVAL, and EBADF for one that is not open',
    upstream: ['M2'],
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    run: (check) =>
      check.eachVmType((vm) => {
        using other = check.kvm.createVm({ type: Number(vm.type) });
        using foreign = other.createGuestMemfd({ size, flags: check.bindable });
        const plain = openSync('/proc/self/exe', 'r');
        try {
          const mapping = anonymous(check);
          const bind = (fd: number) =>
            vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: fd });
          refused('EINVAL', 'binding the KVM device', () => bind(check.kvm.fd));
          refused('EINVAL', 'binding the VM itself', () => bind(vm.fd));
          refused('EINVAL', 'binding an ordinary file', () => bind(plain));
          refused('EINVAL', 'binding a guest_memfd of another VM', () => bind(foreign.fd));
          refused('EBADF', 'binding a descriptor that is not open', () => bind(-1));
        } finally {
          closeSync(plain);
        }
      }),
  },
  {
    name: 'binding/unaligned-offset',
    title: 'Every offset in the guest_memfd that is not page-aligned is refused with EINVAL; the aligned one works',
    upstream: ['M2'],
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    run: (check) =>
      check.eachVmType((vm) => {
        using gmem = vm.createGuestMemfd({ size: 2 * size, flags: check.bindable });
        const mapping = anonymous(check);
        const region = { slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem };
        for (const guestMemfdOffset of unaligned)
          refused('EINVAL', `binding at offset ${guestMemfdOffset}`, () =>
            vm.setUserMemoryRegion({ ...region, guestMemfdOffset }),
          );
        vm.setUserMemoryRegion({ ...region, guestMemfdOffset: page });
        vm.deleteUserMemoryRegion(1);
      }),
  },
  {
    name: 'binding/close-orders',
    title: 'A bound guest_memfd and its VM can be closed in both orders, and the memslot deleted before or not',
    upstream: ['M2'],
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    run: (check) => {
      for (const type of check.ground.host.vmTypes) {
        for (const order of ['file first', 'VM first', 'slot first']) {
          check.configuration = `VM type ${type}, ${order}`;
          using vm = check.kvm.createVm({ type });
          using gmem = vm.createGuestMemfd({ size, flags: check.bindable });
          vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping: anonymous(check), guestMemfd: gmem });
          if (order === 'slot first') vm.deleteUserMemoryRegion(1);
          if (order === 'VM first') {
            vm.close();
            // The file outlives the VM's descriptor, and can still be worked with.
            gmem.allocate(0, size);
            gmem.punchHole(0, size);
          }
          gmem.close();
        }
      }
    },
  },
  {
    name: 'binding/overlap-guest-memory',
    title:
      'A memslot whose guest physical range overlaps another one, at its front or its back, is refused with EEXIST',
    upstream: ['M3'],
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    run: (check) =>
      check.eachVmType((vm) => {
        using gmem = vm.createGuestMemfd({ size: 4 * size, flags: check.bindable });
        const mapping = anonymous(check);
        const region = { slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem, guestMemfdOffset: 0 };
        vm.setUserMemoryRegion(region);
        for (const shift of [-size + page, size - page, 0])
          refused('EEXIST', `a second slot ${shift} bytes from the first`, () =>
            vm.setUserMemoryRegion({ ...region, slot: 2, guestPhysAddr: gpa + shift, guestMemfdOffset: 2 * size }),
          );
        vm.deleteUserMemoryRegion(1);
      }),
  },
  {
    name: 'binding/overlap-file-range',
    title:
      'A range of a guest_memfd that is bound to a memslot cannot be bound to a second one: EEXIST, or EINVAL before 7.x',
    upstream: ['M3'],
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    run: (check) =>
      check.eachVmType((vm) => {
        using gmem = vm.createGuestMemfd({ size: 4 * size, flags: check.bindable });
        const mapping = anonymous(check);
        const region = { slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem };
        vm.setUserMemoryRegion({ ...region, guestMemfdOffset: size });
        for (const guestMemfdOffset of [page, size, 2 * size - page]) {
          const code = refused(['EEXIST', 'EINVAL'], `binding offset ${guestMemfdOffset} again`, () =>
            vm.setUserMemoryRegion({ ...region, slot: 2, guestPhysAddr: 2 * gpa, guestMemfdOffset }),
          );
          check.note(`this kernel refuses with ${code}`);
        }
        vm.setUserMemoryRegion({ ...region, slot: 2, guestPhysAddr: 2 * gpa, guestMemfdOffset: 2 * size });
        vm.deleteUserMemoryRegion(2);
        vm.deleteUserMemoryRegion(1);
      }),
  },
  {
    name: 'binding/free-after-delete',
    title: 'Deleting a memslot frees both its guest physical range and its range of the guest_memfd',
    upstream: ['M3'],
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    run: (check) =>
      check.eachVmType((vm) => {
        using gmem = vm.createGuestMemfd({ size, flags: check.bindable });
        const mapping = anonymous(check);
        for (let round = 0; round < 10; round++) {
          vm.setUserMemoryRegion({ slot: 1 + round, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
          vm.deleteUserMemoryRegion(1 + round);
        }
        refused('EINVAL', 'deleting a slot that is not there', () => vm.deleteUserMemoryRegion(1));
      }),
  },
  {
    name: 'binding/immutable',
    title: 'A memslot with guest_memfd cannot be set again, moved or resized: EINVAL',
    since: '6.8',
    requires: [guestMemfd, userMemory2],
    run: (check) =>
      check.eachVmType((vm) => {
        using gmem = vm.createGuestMemfd({ size, flags: check.bindable });
        const mapping = anonymous(check);
        const region = { slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem };
        vm.setUserMemoryRegion(region);
        refused('EINVAL', 'setting the same again', () => vm.setUserMemoryRegion(region));
        refused('EINVAL', 'moving it', () => vm.setUserMemoryRegion({ ...region, guestPhysAddr: 2 * gpa }));
        refused('EINVAL', 'making it smaller', () => vm.setUserMemoryRegion({ ...region, size: page }));
        const { guestMemfd: _, ...plain } = region;
        refused('EINVAL', 'taking the guest_memfd away', () => vm.setUserMemoryRegion(plain));
        equal(vm.slots.get(1)?.size, size, 'size of the slot as this package knows it');
        vm.deleteUserMemoryRegion(1);
      }),
  },
  {
    name: 'binding/many-files',
    title: 'Several guest_memfds of one VM, with and without MMAP, are bound side by side',
    since: '6.18',
    requires: [guestMemfd, userMemory2],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        for (let slot = 1; slot <= 8; slot++) {
          const gmem = check.use(vm.createGuestMemfd({ size, flags }));
          const mapping = flags & GuestMemfdFlag.MMAP ? check.use(gmem.map()) : anonymous(check);
          vm.setUserMemoryRegion({ slot, guestPhysAddr: gpa + slot * size, size, mapping, guestMemfd: gmem });
        }
        if (vm.slots.size !== 8) throw new CheckFailure('slots', '8', String(vm.slots.size));
      }, check.bindable),
  },
];
