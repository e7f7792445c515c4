import { Capability } from '../../kvm/constants.ts';
import { Request, rawIoctl, rawIoctlInChild } from '../../kvm/raw.ts';
import { guestMemfd, userMemory2 } from '../requirements.ts';
import { type Bench, gpa, page, type Row, refusals, size } from './errno.ts';

/** How many address spaces the VM's memslots have: two on x86 with system management mode, but one for private memory. */
const addressSpaces = ({ vm }: Bench) => vm.checkExtension(Capability.MULTI_ADDRESS_SPACE) || 1;

const rows: readonly Row[] = [
  {
    name: 'region-bad-pointer',
    what: 'KVM_SET_USER_MEMORY_REGION2 with a bad pointer',
    refuses: 'EFAULT',
    since: '6.8',
    call: ({ vm }) => rawIoctl(vm.fd, Request.SET_USER_MEMORY_REGION2, null),
  },
  {
    name: 'region-from-child',
    what: 'KVM_SET_USER_MEMORY_REGION2 from a forked child',
    refuses: 'EIO',
    since: '6.8',
    call: ({ vm }) => rawIoctlInChild(vm.fd, Request.SET_USER_MEMORY_REGION2, new Uint8Array(160)),
  },
  {
    name: 'region-size-unaligned',
    what: 'A memslot whose size is not page-aligned',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm, region }) => vm.setUserMemoryRegion({ ...region, size: size - 1 }),
  },
  {
    name: 'region-address-unaligned',
    what: 'A memslot whose guest physical address is not page-aligned',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm, region }) => vm.setUserMemoryRegion({ ...region, guestPhysAddr: gpa + 1 }),
  },
  {
    name: 'region-host-address-unaligned',
    what: 'A memslot whose host address is not page-aligned',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm, region }) => vm.setUserMemoryRegion({ ...region, size: page, mappingOffset: 1 }),
  },
  {
    name: 'region-host-address-kernel',
    what: "A memslot whose host address is the kernel's",
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm, region: { mapping: _, ...region } }) =>
      vm.setUserMemoryRegion({ ...region, userspaceAddr: 0xffff_8000_0000_0000n }),
  },
  {
    name: 'region-wraps',
    what: 'A memslot whose guest physical range wraps',
    // Where the address is beyond what the processor has, KVM of arm64 says EFAULT.
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm, region }) => vm.setUserMemoryRegion({ ...region, guestPhysAddr: (1n << 64n) - BigInt(page) }),
  },
  {
    name: 'region-beyond-address-width',
    what: 'A memslot beyond the addresses that a guest can have',
    refuses: { x64: 'EINVAL', arm64: 'EFAULT' },
    since: '6.8',
    call: ({ vm, region }) => vm.setUserMemoryRegion({ ...region, guestPhysAddr: 1n << 52n }),
  },
  {
    name: 'region-too-many-pages',
    what: 'A memslot of 2^31 pages',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ check, vm }) => {
      // Large enough itself, so that its size cannot be the reason.
      using gmem = vm.createGuestMemfd({ size: 2n ** 62n, flags: check.bindable });
      const bytes = 2 ** 31 * page;
      vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size: bytes, userspaceAddr: 0, guestMemfd: gmem });
    },
  },
  {
    name: 'region-slot-number',
    what: 'A memslot with the number that is one too high',
    refuses: 'EINVAL',
    since: '6.8',
    upstream: ['M4'],
    call: ({ vm, region }) => vm.setUserMemoryRegion({ ...region, slot: vm.checkExtension(Capability.NR_MEMSLOTS) }),
  },
  {
    name: 'region-address-space',
    what: 'A memslot in an address space that the VM does not have',
    refuses: 'EINVAL',
    since: '6.8',
    call: (bench) => bench.vm.setUserMemoryRegion({ ...bench.region, slot: addressSpaces(bench) * 0x1_0000 }),
  },
  {
    name: 'region-offset-wraps',
    what: 'An offset in the guest_memfd that wraps with the size added',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm, region }) => vm.setUserMemoryRegion({ ...region, guestMemfdOffset: (1n << 64n) - BigInt(page) }),
  },
  {
    name: 'region-delete-absent',
    what: 'Deleting a memslot that is not there',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm }) => vm.deleteUserMemoryRegion(1),
  },
  {
    name: 'region-add-guest-memfd',
    what: 'Giving a guest_memfd to a memslot that was made without one',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm, plain, region }) => {
      vm.setUserMemoryRegion(plain);
      vm.setUserMemoryRegion(region);
    },
  },
  {
    name: 'region-overlap-before-file',
    what: 'A memslot that overlaps another one, with a file descriptor that is not open,',
    refuses: 'EEXIST',
    since: '6.8',
    call: ({ vm, plain }) => {
      vm.setUserMemoryRegion(plain);
      vm.setUserMemoryRegion({ ...plain, slot: 2, guestPhysAddr: gpa + page, guestMemfd: -1 });
    },
  },
  {
    name: 'region-closed-file',
    what: 'A guest_memfd that has been closed, by the number it had,',
    refuses: 'EBADF',
    since: '6.8',
    call: ({ vm, plain, gmem }) => {
      const { fd } = gmem;
      gmem.close();
      vm.setUserMemoryRegion({ ...plain, guestMemfd: fd });
    },
  },
  {
    name: 'region-not-mappable',
    what: 'On arm64, which has no private memory, a guest_memfd without MMAP',
    refuses: 'EINVAL',
    since: '6.18',
    requires: [
      {
        name: 'arm64',
        unmet: ({ host }) =>
          host.architecture === 'arm64'
            ? undefined
            : { reason: `KVM of ${host.architecture} binds every guest_memfd; this is a rule of arm64` },
      },
    ],
    call: ({ vm, plain }) => {
      using gmem = vm.createGuestMemfd({ size });
      vm.setUserMemoryRegion({ ...plain, guestMemfd: gmem });
    },
  },
];

/** What memslots refuse. */
export const memslotErrnoChecks = refusals([guestMemfd, userMemory2], rows);
