import { FallocateMode } from '../../kvm/constants.ts';
import { fileDataSync, fileOwner, fileReopen, fileSync, fileTimes } from '../../kvm/file-calls.ts';
import { Request, rawIoctl, rawIoctlInChild, words } from '../../kvm/raw.ts';
import { guestMemfd } from '../requirements.ts';
import { page, type Row, refusals, size } from './errno.ts';

/** struct kvm_create_guest_memfd for a file of one page. */
const creation = () => words(64, { 0: page });

const rows: readonly Row[] = [
  {
    name: 'create-bad-pointer',
    what: 'KVM_CREATE_GUEST_MEMFD with a bad pointer',
    refuses: 'EFAULT',
    since: '6.8',
    call: ({ vm }) => rawIoctl(vm.fd, Request.CREATE_GUEST_MEMFD, null),
  },
  {
    name: 'create-from-child',
    what: 'KVM_CREATE_GUEST_MEMFD from a forked child, which has not the address space that the VM was made in,',
    refuses: 'EIO',
    since: '6.8',
    call: ({ vm }) => rawIoctlInChild(vm.fd, Request.CREATE_GUEST_MEMFD, creation()),
  },
  {
    name: 'create-flags-unknown',
    what: 'A guest_memfd with all flag bits set',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm }) => vm.createGuestMemfd({ size, flags: 0xffff_ffff_ffff_ffffn }),
  },
  {
    name: 'create-size-zero',
    what: 'A guest_memfd of no bytes',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm }) => vm.createGuestMemfd({ size: 0 }),
  },
  {
    name: 'create-size-negative',
    what: 'A guest_memfd whose size is negative as a signed number',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ vm }) => vm.createGuestMemfd({ size: 1n << 63n }),
  },
  {
    name: 'gmem-ioctl-unknown',
    what: 'An ioctl on a guest_memfd that no kernel has',
    refuses: 'ENOTTY',
    since: '6.8',
    call: ({ gmem }) => rawIoctl(gmem.fd, Request.UNKNOWN, new Uint8Array(8)),
  },
  {
    name: 'vm-ioctl-unknown',
    what: 'An ioctl on a VM that no kernel has',
    refuses: { x64: 'ENOTTY', arm64: 'EINVAL' },
    since: '6.8',
    call: ({ vm }) => rawIoctl(vm.fd, Request.UNKNOWN, new Uint8Array(8)),
  },
  {
    name: 'fsync',
    what: 'fsync of a guest_memfd, which has no storage behind it,',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ gmem }) => fileSync(gmem.fd),
  },
  {
    name: 'fdatasync',
    what: 'fdatasync of a guest_memfd',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ gmem }) => fileDataSync(gmem.fd),
  },
  {
    name: 'fchown',
    what: 'Giving a guest_memfd another owner',
    // The kernel asks for the right to do it before it asks the file.
    refuses: ['EINVAL', 'EPERM'],
    since: '6.8',
    call: ({ gmem }) => fileOwner(gmem.fd, 1, 1),
  },
  {
    name: 'futimes',
    what: 'Setting the times of a guest_memfd',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ gmem }) => fileTimes(gmem.fd, 1),
  },
  {
    name: 'reopen',
    what: 'Opening a guest_memfd anew through /proc/self/fd',
    refuses: 'ENXIO',
    since: '6.8',
    call: ({ gmem }) => fileReopen(gmem.fd),
  },
  {
    name: 'allocate-no-keep-size',
    what: 'fallocate without KEEP_SIZE, which would make the file grow,',
    refuses: ['EOPNOTSUPP', 'ENOTSUP'],
    since: '6.8',
    call: ({ gmem }) => gmem.fallocate(0, 0, page),
  },
  {
    name: 'allocate-zero-range',
    what: 'fallocate with ZERO_RANGE',
    refuses: ['EOPNOTSUPP', 'ENOTSUP'],
    since: '6.8',
    call: ({ gmem }) => gmem.fallocate(FallocateMode.KEEP_SIZE | 0x10, 0, page),
  },
  {
    name: 'allocate-unaligned-offset',
    what: 'Allocating at an offset that is not page-aligned',
    refuses: 'EINVAL',
    since: '6.8',
    upstream: ['G14'],
    call: ({ gmem }) => gmem.allocate(page - 1, page),
  },
  {
    name: 'allocate-unaligned-length',
    what: 'Allocating a length that is not page-aligned',
    refuses: 'EINVAL',
    since: '6.8',
    upstream: ['G14'],
    call: ({ gmem }) => gmem.allocate(0, page - 1),
  },
  {
    name: 'allocate-nothing',
    what: 'Allocating no bytes',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ gmem }) => gmem.allocate(0, 0),
  },
  {
    name: 'allocate-across-end',
    what: 'Allocating a range that begins inside the file and ends beyond it',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ gmem }) => gmem.allocate(size - page, 2 * page),
  },
  {
    name: 'allocate-negative-offset',
    what: 'Allocating at a negative offset',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ gmem }) => gmem.allocate(1n << 63n, page),
  },
  {
    name: 'allocate-too-far',
    what: 'Allocating a range whose end leaves the signed 64-bit range',
    refuses: 'EFBIG',
    since: '6.8',
    call: ({ gmem }) => gmem.allocate((1n << 63n) - BigInt(page), page),
  },
  {
    name: 'punch-nothing',
    what: 'Punching a hole of no bytes',
    refuses: 'EINVAL',
    since: '6.8',
    call: ({ gmem }) => gmem.punchHole(0, 0),
  },
];

/** What the file itself refuses. */
export const fileErrnoChecks = refusals([guestMemfd], rows);
