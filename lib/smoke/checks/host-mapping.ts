import { Advice, GuestMemfdFlag, MapFlag, Protection } from '../../kvm/constants.ts';
import { pageSize } from '../../kvm/native.ts';
import type { CheckContext } from '../context.ts';
import { allBytes, equal, inaccessible, refused } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestMemfd, hugePages, initShared, mmap } from '../requirements.ts';

const page = pageSize;
const size = 4 * page;
const shared = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;
// The huge page size of the middle page table level: one page of 8-byte entries, each a page.
const hugePage = (page / 8) * page;

/** Each configuration with MMAP whose memory the host may not touch. */
function eachPrivate(check: CheckContext, attempt: Parameters<CheckContext['eachConfiguration']>[0]): void {
  check.eachConfiguration((configuration) => {
    if (!(configuration.flags & GuestMemfdFlag.INIT_SHARED)) attempt(configuration);
  }, GuestMemfdFlag.MMAP);
}

/** The guest_memfd mapped into the host. */
export const hostMappingChecks: readonly Check[] = [
  {
    name: 'host-mapping/read-write-punch',
    title:
      'Shared memory can be mapped, written and read; a punched page reads as zero, its neighbours keep their data',
    upstream: ['G5'],
    since: '6.18',
    requires: [guestMemfd, mmap, initShared],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        allBytes(mapping, 0, size, 0, 'memory that was never written');
        mapping.fill(0xaa);
        allBytes(mapping, 0, size, 0xaa, 'memory that was written');
        gmem.punchHole(0, page);
        allBytes(mapping, 0, page, 0, 'the punched page');
        allBytes(mapping, page, size - page, 0xaa, 'the pages beside the hole');
        mapping.fill(0x55, 0, page);
        allBytes(mapping, 0, page, 0x55, 'the punched page, written again');
      }, shared),
  },
  {
    name: 'host-mapping/two-mappings',
    title: 'Two mappings of one guest_memfd, at different offsets, show the same memory',
    since: '6.18',
    requires: [guestMemfd, mmap, initShared],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using whole = gmem.map();
        using third = gmem.map({ offset: 2 * page, length: page });
        whole.fill(0x11, 2 * page, page);
        allBytes(third, 0, page, 0x11, 'the third page through the second mapping');
        third.fill(0x22);
        allBytes(whole, 2 * page, page, 0x22, 'the third page through the first mapping');
        allBytes(whole, 3 * page, page, 0, 'the page behind it');
      }, shared),
  },
  {
    name: 'host-mapping/fault-beyond-end',
    title: 'A mapping may be longer than the file, but touching a page beyond its end is a SIGBUS',
    upstream: ['G6'],
    since: '6.18',
    requires: [guestMemfd, mmap, initShared],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map({ length: 4 * size });
        mapping.fill(0xaa, 0, size);
        for (const beyond of [size, size + page, 4 * size - 1]) {
          inaccessible(`reading at offset ${beyond}`, () => mapping.read(beyond, 1));
          inaccessible(`writing at offset ${beyond}`, () => mapping.fill(0xbb, beyond, 1));
        }
        allBytes(mapping, 0, size, 0xaa, 'the file itself');
      }, shared),
  },
  {
    name: 'host-mapping/fault-private',
    title: 'Memory that is private can be mapped, but touching it is a SIGBUS, allocated or not',
    upstream: ['G9'],
    since: '6.18',
    requires: [guestMemfd, mmap],
    run: (check) =>
      eachPrivate(check, ({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        for (const state of ['untouched', 'allocated']) {
          for (let at = 0; at < size; at += page) {
            inaccessible(`reading ${state} private memory`, () => mapping.read(at, 1));
            inaccessible(`writing ${state} private memory`, () => mapping.fill(1, at, 1));
          }
          gmem.allocate(0, size);
        }
      }),
  },
  {
    name: 'host-mapping/populate',
    title: 'MADV_POPULATE_WRITE fills shared memory and fails with EFAULT on private memory',
    since: '6.18',
    requires: [guestMemfd, mmap],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        if (flags & GuestMemfdFlag.INIT_SHARED) {
          mapping.advise(Advice.POPULATE_WRITE);
          equal(mapping.residency().every(Boolean), true, 'every page is resident');
        } else {
          refused('EFAULT', 'populating private memory', () => mapping.advise(Advice.POPULATE_WRITE));
        }
      }, GuestMemfdFlag.MMAP),
  },
  {
    name: 'host-mapping/no-copy-on-write',
    title: 'A private mapping (MAP_PRIVATE) is refused with EINVAL',
    upstream: ['G10'],
    since: '6.18',
    requires: [guestMemfd, mmap],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        refused('EINVAL', 'mmap with MAP_PRIVATE', () => gmem.map({ flags: MapFlag.PRIVATE }));
      }, GuestMemfdFlag.MMAP),
  },
  {
    name: 'host-mapping/not-without-flag',
    title: 'A guest_memfd made without the MMAP flag cannot be mapped: ENODEV',
    upstream: ['G12'],
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        if (flags & GuestMemfdFlag.MMAP) return;
        using gmem = vm.createGuestMemfd({ size, flags });
        for (const length of [page, size]) refused('ENODEV', `mmap of ${length} bytes`, () => gmem.map({ length }));
      }),
  },
  {
    name: 'host-mapping/not-executable',
    title: 'Memory of a guest_memfd cannot be mapped executable, nor made so later',
    since: '6.18',
    requires: [guestMemfd, mmap],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        refused(['EPERM', 'EACCES'], 'mmap with PROT_EXEC', () =>
          gmem.map({ protection: Protection.READ | Protection.EXEC }),
        );
        using mapping = gmem.map();
        refused(['EPERM', 'EACCES'], 'mprotect with PROT_EXEC', () =>
          mapping.protect(Protection.READ | Protection.EXEC),
        );
      }, GuestMemfdFlag.MMAP),
  },
  {
    name: 'host-mapping/no-huge-pages',
    title:
      'MADV_HUGEPAGE is accepted, MADV_COLLAPSE of a huge page is refused with EINVAL, and the memory stays usable',
    upstream: ['G8'],
    since: '6.18',
    requires: [guestMemfd, mmap, initShared, hugePages],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size: hugePage, flags });
        using mapping = gmem.map({ alignment: hugePage });
        equal(mapping.address % BigInt(hugePage), 0n, 'alignment of the mapping');
        mapping.advise(Advice.HUGEPAGE);
        mapping.fill(0x5a, 0, 1);
        refused('EINVAL', 'MADV_COLLAPSE', () => mapping.advise(Advice.COLLAPSE));
        mapping.advise(Advice.DONTNEED);
        allBytes(mapping, 0, 1, 0x5a, 'the byte after MADV_DONTNEED');
        allBytes(mapping, page, page, 0, 'the second page');
      }, shared),
  },
  {
    name: 'host-mapping/outlives-file',
    title: 'A mapping keeps its memory when the file descriptor and the VM are closed',
    since: '6.18',
    requires: [guestMemfd, mmap, initShared],
    run: (check) =>
      check.eachVmType((vm, supported) => {
        if ((supported & shared) !== shared) return;
        const gmem = vm.createGuestMemfd({ size, flags: shared });
        using mapping = gmem.map();
        mapping.fill(0x77);
        gmem.close();
        vm.close();
        allBytes(mapping, 0, size, 0x77, 'memory after both were closed');
        mapping.fill(0x78);
        allBytes(mapping, 0, size, 0x78, 'memory written after both were closed');
      }),
  },
];
