import { closeSync, readFileSync, readlinkSync } from 'node:fs';
import { Capability, FileSystemMagic, GuestMemfdFlag } from '../../kvm/constants.ts';
import { pageSize } from '../../kvm/native.ts';
import { fallocateInChild, Request, rawIoctl, words } from '../../kvm/raw.ts';
import { CheckSkip } from '../context.ts';
import { equal, holds } from '../expect.ts';
import { compareReleases } from '../known-bugs.ts';
import type { Check } from '../model.ts';
import { guestMemfd } from '../requirements.ts';

const page = pageSize;
const size = 4 * page;

/** Flags of an open file as /proc/self/fdinfo shows them. */
function openFlags(fd: number): number {
  const [, octal = ''] = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? [];
  return Number.parseInt(octal, 8);
}

const closeOnExec = 0o2000000;
const readWrite = 2;

/** The guest_memfd as a file descriptor and an inode. */
export const descriptorChecks: readonly Check[] = [
  {
    name: 'file/open-for-both',
    title: 'The file descriptor is open for reading and writing, and the kernel itself does not make it close-on-exec',
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm) => {
        const fd = rawIoctl(vm.fd, Request.CREATE_GUEST_MEMFD, words(64, { 0: page }));
        try {
          const flags = openFlags(fd);
          equal(flags & 3, readWrite, 'access mode of the file');
          equal(flags & closeOnExec, 0, 'O_CLOEXEC, as the kernel sets it');
        } finally {
          closeSync(fd);
        }
      }),
  },
  {
    name: 'file/named',
    title: 'Its link in /proc/self/fd says what it is: kvm-gmem',
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm) => {
        using gmem = vm.createGuestMemfd({ size });
        const link = readlinkSync(`/proc/self/fd/${gmem.fd}`);
        holds(link.includes('kvm-gmem'), 'link in /proc/self/fd', 'a name with kvm-gmem', link);
        check.note(`the link is ${link}`);
      }),
  },
  {
    name: 'file/owner-only',
    title: 'Permission bits allow reading and writing to the owner alone',
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm) => {
        using gmem = vm.createGuestMemfd({ size });
        equal(Number(gmem.stat().mode & 0o7777n).toString(8), '600', 'permission bits');
      }),
  },
  {
    name: 'file/own-file-system',
    title: 'statfs tells a file system of its own, GUEST_MEMFD, and no longer that of anonymous inodes',
    since: '6.19',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm) => {
        using gmem = vm.createGuestMemfd({ size });
        const { fileSystem } = gmem.stat();
        if (fileSystem === FileSystemMagic.ANON_INODE && compareReleases(check.ground.host.kernelRelease, '6.19') < 0)
          throw new CheckSkip(
            'guest_memfds of this kernel are anonymous inodes, which no program can tell from others by statfs',
            'Linux 6.19 gave them a file system of their own',
          );
        equal(fileSystem, FileSystemMagic.GUEST_MEMFD, 'f_type of statfs');
      }),
  },
  {
    name: 'file/many-inodes',
    title: 'Each of many guest_memfds of several VMs has an inode of its own',
    upstream: ['G2'],
    since: '6.8',
    requires: [guestMemfd],
    run: (check) => {
      const inodes = new Set<bigint>();
      for (let i = 0; i < 4; i++) {
        const vm = check.vm();
        for (let j = 0; j < 8; j++) inodes.add(check.use(vm.createGuestMemfd({ size: page })).stat().inode);
      }
      equal(inodes.size, 32, 'inodes of 32 guest_memfds');
    },
  },
  {
    name: 'file/huge-size',
    title: 'A guest_memfd may be larger than any memory: it takes none until it is used',
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm) => {
        const huge = 2n ** 62n;
        using gmem = vm.createGuestMemfd({ size: huge });
        equal(gmem.stat().size, huge, 'st_size');
        gmem.allocate(huge - BigInt(page), page);
        gmem.punchHole(huge - BigInt(page), page);
      }),
  },
  {
    name: 'file/largest-size',
    title: 'The largest size that is a signed 64-bit number is accepted',
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm) => {
        const largest = 2n ** 63n - BigInt(page);
        using gmem = vm.createGuestMemfd({ size: largest });
        equal(gmem.stat().size, largest, 'st_size');
      }),
  },
  {
    name: 'file/reserved-ignored',
    title: 'Reserved fields of KVM_CREATE_GUEST_MEMFD are not looked at, so that programs may not rely on them',
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm) => {
        const filled = Object.fromEntries([16, 24, 32, 40, 48, 56].map((offset) => [offset, 0xffff_ffff_ffffn]));
        closeSync(rawIoctl(vm.fd, Request.CREATE_GUEST_MEMFD, words(64, { 0: page, ...filled })));
      }),
  },
  {
    name: 'file/flag-combinations',
    title: 'Every combination of the supported flags is accepted, INIT_SHARED without MMAP too',
    upstream: ['G1'],
    since: '6.18',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm, supported) => {
        for (let flags = 0; flags <= supported; flags++)
          if ((flags & ~supported) === 0) vm.createGuestMemfd({ size: page, flags }).close();
      }),
  },
  {
    name: 'file/flags-by-vm',
    title: 'INIT_SHARED is offered to a VM without private memory, and MMAP wherever there are flags at all',
    upstream: ['G1'],
    since: '6.18',
    requires: [guestMemfd],
    run: (check) =>
      check.eachVmType((vm, supported) => {
        equal(supported & GuestMemfdFlag.MMAP, GuestMemfdFlag.MMAP, 'MMAP');
        if (vm.checkExtension(Capability.MEMORY_ATTRIBUTES) === 0)
          equal(supported & GuestMemfdFlag.INIT_SHARED, GuestMemfdFlag.INIT_SHARED, 'INIT_SHARED');
      }),
  },
  {
    name: 'file/allocate-in-child',
    title: 'A forked child, which cannot use the VM, can allocate and punch a guest_memfd that it was given',
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        fallocateInChild(gmem.fd, 1, 0, size);
        fallocateInChild(gmem.fd, 3, page, page);
      }),
  },
  {
    name: 'file/outlives-vm',
    title: 'After its VM is closed a guest_memfd can still be looked at, allocated and punched',
    upstream: ['P4'],
    since: '6.8',
    requires: [guestMemfd],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        vm.close();
        gmem.allocate(0, size);
        gmem.punchHole(page, page);
        equal(gmem.stat().size, BigInt(size), 'st_size');
      }),
  },
];
