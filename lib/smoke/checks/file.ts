import { Capability } from '../../kvm/constants.ts';
import { fileMode, fileRead, fileSystem, fileTruncate, fileWrite } from '../../kvm/file-calls.ts';
import { pageSize } from '../../kvm/native.ts';
import { describeFlags } from '../context.ts';
import { equal, holds, refused } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestMemfd } from '../requirements.ts';
import { unaligned } from '../unaligned.ts';

const page = pageSize;
const size = 4 * page;

/** The guest_memfd as a file: creation, size, holes. */
export const fileChecks: readonly Check[] = [
  {
    name: 'file/flags',
    title: 'Each flag bit is accepted if and only if KVM_CAP_GUEST_MEMFD_FLAGS has it for this VM',
    upstream: ['G1'],
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm, supported) => {
        for (let bit = 0n; bit < 64n; bit++) {
          const flags = 1n << bit;
          if (flags & BigInt(supported)) vm.createGuestMemfd({ size: page, flags }).close();
          else
            refused('EINVAL', `creating a guest_memfd with flag bit ${bit}`, () =>
              vm.createGuestMemfd({ size: page, flags }),
            );
        }
      }),
  },
  {
    name: 'file/all-flags',
    title: 'All supported flags together are accepted',
    since: '6.18',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm, supported) => {
        check.note(`VM type ${vm.type} supports flags ${describeFlags(supported)}`);
        vm.createGuestMemfd({ size: page, flags: supported }).close();
      }),
  },
  {
    name: 'file/two-are-distinct',
    title: 'Two guest_memfds of one VM have their own size and inode, and making the second leaves the first alone',
    upstream: ['G2'],
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm) => {
        using first = vm.createGuestMemfd({ size: page });
        const before = first.stat();
        using second = vm.createGuestMemfd({ size: 2 * page });
        equal(second.stat().size, BigInt(2 * page), 'size of the second');
        equal(first.stat().size, BigInt(page), 'size of the first');
        equal(first.stat().inode, before.inode, 'inode of the first');
        holds(second.stat().inode !== before.inode, 'both have the same inode');
      }),
  },
  {
    name: 'file/invalid-size',
    title: 'A size that is 0, not a multiple of the page size, or 2^63 and above is refused with EINVAL',
    upstream: ['G3'],
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        const beyond = [1n << 63n, (1n << 64n) - BigInt(page)];
        for (const bad of [0, ...unaligned, page + 1, ...beyond])
          refused('EINVAL', `creating a guest_memfd of ${bad} bytes`, () => vm.createGuestMemfd({ size: bad, flags }));
      }),
  },
  {
    name: 'file/no-read-write',
    title: 'read, write, pread and pwrite of the file descriptor fail',
    upstream: ['G4'],
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        const bytes = Buffer.alloc(16);
        refused(['EINVAL', 'EBADF'], 'read', () => fileRead(gmem.fd, bytes));
        refused(['EINVAL', 'EBADF'], 'write', () => fileWrite(gmem.fd, bytes));
        refused(['ESPIPE', 'EINVAL'], 'pread', () => fileRead(gmem.fd, bytes, 0));
        refused(['ESPIPE', 'EINVAL'], 'pwrite', () => fileWrite(gmem.fd, bytes, 0));
      }),
  },
  {
    name: 'file/stat',
    title: 'fstat shows the size that was asked for and the page size as block size',
    upstream: ['G13'],
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        const stat = gmem.stat();
        equal(stat.size, BigInt(size), 'st_size');
        equal(stat.blockSize, BigInt(page), 'st_blksize');
        equal(stat.mode & 0o170000n, 0o100000n, 'file type in st_mode');
        const magic = fileSystem(gmem.fd);
        equal(magic, stat.fileSystem, 'f_type of statfs');
        check.note(`statfs f_type is 0x${magic.toString(16)}`);
      }),
  },
  {
    name: 'file/allocate',
    title: 'fallocate allocates aligned ranges inside the file, again too, and refuses those beyond its end',
    upstream: ['G14'],
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        gmem.allocate(0, size);
        gmem.allocate(0, size);
        gmem.allocate(page, page);
        refused('EINVAL', 'allocating at the end of the file', () => gmem.allocate(size, page));
        refused('EINVAL', 'allocating after the end of the file', () => gmem.allocate(size + page, page));
        refused('EINVAL', 'allocating across the end of the file', () => gmem.allocate(0, size + page));
        gmem.punchHole(0, page);
        gmem.allocate(0, page);
      }),
  },
  {
    name: 'file/punch-beyond-end',
    title: 'Punching a hole at or after the end of the file succeeds and changes nothing',
    upstream: ['G14'],
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        gmem.punchHole(size, page);
        gmem.punchHole(size + page, page);
        equal(gmem.stat().size, BigInt(size), 'st_size afterwards');
      }),
  },
  {
    name: 'file/invalid-punch',
    title: 'A hole whose offset or length is not page-aligned is refused with EINVAL',
    upstream: ['G15', 'G14'],
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        const pairs: [offset: number, length: number][] = [
          [0, 1],
          [0, page - 1],
          [0, page + 1],
          [1, 1],
          [1, page - 1],
          [1, page],
          [1, page + 1],
          [page, 1],
          [page, page - 1],
          [page, page + 1],
          [page - 1, page],
        ];
        for (const [offset, length] of pairs)
          refused('EINVAL', `punching ${length} bytes at ${offset}`, () => gmem.punchHole(offset, length));
      }),
  },
  {
    name: 'file/fallocate-modes',
    title: 'fallocate modes other than KEEP_SIZE, alone or with PUNCH_HOLE, are refused with EOPNOTSUPP',
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        // ZERO_RANGE and UNSHARE_RANGE reach the file only with KEEP_SIZE; without, the check of KEEP_SIZE refuses them.
        for (const mode of [0, 8, 0x10, 0x20, 0x40, 0x11, 0x41])
          refused(['EOPNOTSUPP', 'ENOTSUP'], `fallocate mode ${mode}`, () => gmem.fallocate(mode, 0, page));
      }),
  },
  {
    name: 'file/fixed',
    title: 'Size and permission bits of a guest_memfd cannot be changed: ftruncate and fchmod are refused with EINVAL',
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        for (const length of [0, page, size, 2 * size])
          refused('EINVAL', `ftruncate to ${length} bytes`, () => fileTruncate(gmem.fd, length));
        refused('EINVAL', 'fchmod', () => fileMode(gmem.fd, 0o777));
        equal(gmem.stat().size, BigInt(size), 'size afterwards');
      }),
  },
  {
    name: 'file/close-on-exec',
    title: 'The file descriptors that this package hands out are closed in a program that the process executes',
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        equal(gmem.stat().closeOnExec, true, 'FD_CLOEXEC');
      }),
  },
  {
    name: 'file/capability',
    title: 'A VM whose type has guest_memfd can make one, and a type without refuses',
    since: '6.8',
    run: (check) => {
      for (const type of check.ground.host.vmTypes) {
        check.configuration = `VM type ${type}`;
        const vm = check.vm(type);
        if (vm.checkExtension(Capability.GUEST_MEMFD) > 0) vm.createGuestMemfd({ size: page }).close();
        else refused(['ENOTTY', 'EINVAL'], 'creating a guest_memfd', () => vm.createGuestMemfd({ size: page }));
      }
    },
  },
];
