import { closeSync, openSync } from 'node:fs';
import { Advice, GuestMemfdFlag, Protection } from '../../kvm/constants.ts';
import { fileRead, fileWrite } from '../../kvm/file-calls.ts';
import { pageSize } from '../../kvm/native.ts';
import { allBytes, equal, inaccessible, refused } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestMemfd, initShared, mmap } from '../requirements.ts';

const page = pageSize;
const size = 4 * page;
const shared = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;
const requires = [guestMemfd, mmap, initShared];

/** How the host reaches the memory of a guest_memfd, beyond plain loads and stores. */
export const hostAccessChecks: readonly Check[] = [
  {
    name: 'host-mapping/contents-stay',
    title: 'What was written is there in a mapping that is made after the last one was closed',
    upstream: ['G17'],
    since: '6.18',
    requires,
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        for (let round = 1; round <= 3; round++) {
          using mapping = gmem.map();
          allBytes(mapping, 0, size, round - 1, `round ${round}`);
          mapping.fill(round);
        }
      }, shared),
  },
  {
    name: 'host-mapping/read-only',
    title: 'A mapping without write permission shows what another one writes, and cannot be written itself',
    since: '6.18',
    requires,
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using writable = gmem.map();
        using readable = gmem.map({ protection: Protection.READ });
        allBytes(readable, 0, size, 0, 'untouched memory');
        writable.fill(0x42);
        allBytes(readable, 0, size, 0x42, 'what the other mapping wrote');
        inaccessible('writing through it', () => readable.fill(1, 0, 1));
        readable.protect(Protection.READ | Protection.WRITE);
        readable.fill(0x43);
        allBytes(writable, 0, size, 0x43, 'what it wrote once it was allowed to');
      }, shared),
  },
  {
    name: 'host-mapping/no-access',
    title: 'A mapping whose permissions are taken away is inaccessible, and shows the same memory when they are back',
    since: '6.18',
    requires,
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        mapping.fill(0x42);
        mapping.protect(Protection.NONE);
        inaccessible('reading', () => mapping.read(0, 1));
        mapping.protect(Protection.READ | Protection.WRITE);
        allBytes(mapping, 0, size, 0x42, 'the memory');
      }, shared),
  },
  {
    name: 'host-mapping/populated',
    title: 'MAP_POPULATE makes all of shared memory resident at once, and does nothing to private memory',
    since: '6.18',
    requires: [guestMemfd, mmap],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map({ populate: true });
        const expected = (flags & GuestMemfdFlag.INIT_SHARED) !== 0;
        for (const [i, resident] of mapping.residency().entries()) equal(resident, expected, `page ${i} is resident`);
      }, GuestMemfdFlag.MMAP),
  },
  {
    name: 'host-mapping/residency',
    title: 'mincore shows the pages that were touched, through whatever mapping, and not those that were punched',
    since: '6.18',
    requires,
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        using other = gmem.map();
        const shows = (what: string, ...expected: boolean[]) =>
          equal(other.residency().join(' '), expected.join(' '), what);
        shows('untouched', false, false, false, false);
        mapping.fill(1, 0, 1);
        mapping.read(2 * page, 1);
        shows('two pages touched', true, false, true, false);
        mapping.advise(Advice.DONTNEED);
        shows('after MADV_DONTNEED, which keeps the pages', true, false, true, false);
        gmem.punchHole(0, page);
        shows('the first one punched', false, false, true, false);
      }, shared),
  },
  {
    name: 'host-mapping/punch-every-mapping',
    title: 'A hole takes the page from every mapping of the file, and all of them get the same new page',
    since: '6.18',
    requires,
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        const mappings = Array.from({ length: 4 }, () => check.use(gmem.map()));
        for (const mapping of mappings) mapping.fill(0x42);
        gmem.punchHole(page, 2 * page);
        for (const mapping of mappings) allBytes(mapping, page, 2 * page, 0, 'the punched pages');
        mappings[0]?.fill(0x43, page, page);
        for (const mapping of mappings) allBytes(mapping, page, page, 0x43, 'the page, written through the first');
        for (const mapping of mappings) allBytes(mapping, 3 * page, page, 0x42, 'the last page');
      }, shared),
  },
  {
    name: 'host-mapping/punch-beyond',
    title: 'A hole that begins in the file and ends beyond it punches what the file has of it',
    since: '6.18',
    requires,
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        mapping.fill(0x42);
        gmem.punchHole(2 * page, 1024 * size);
        allBytes(mapping, 0, 2 * page, 0x42, 'the pages before');
        allBytes(mapping, 2 * page, 2 * page, 0, 'the punched pages');
      }, shared),
  },
  {
    name: 'host-mapping/sparse',
    title: 'Single pages at terabytes of distance belong to one file and keep apart',
    since: '6.18',
    requires,
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size: 2n ** 50n, flags });
        const offsets = [0, 2 ** 32, 2 ** 40, 2 ** 50 - page];
        for (const [i, offset] of offsets.entries()) {
          using mapping = gmem.map({ offset, length: page });
          mapping.fill(0x10 + i);
        }
        for (const [i, offset] of offsets.entries()) {
          using mapping = gmem.map({ offset, length: page });
          allBytes(mapping, 0, page, 0x10 + i, `the page at 0x${offset.toString(16)}`);
        }
        gmem.punchHole(0, 2 ** 45);
        using last = gmem.map({ offset: 2 ** 50 - page, length: page });
        allBytes(last, 0, page, 0x13, 'the last page, after a hole before it');
      }, shared),
  },
  {
    name: 'host-mapping/all-beyond-end',
    title: 'A mapping that lies wholly behind the end of the file can be made, and touching it is a SIGBUS',
    upstream: ['G6'],
    since: '6.18',
    requires,
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map({ offset: size, length: page });
        inaccessible('reading it', () => mapping.read(0, 1));
        refused('EFAULT', 'populating it', () => mapping.advise(Advice.POPULATE_READ));
      }, shared),
  },
  {
    name: 'host-mapping/kernel-copies',
    title: 'read and write take shared guest memory as their buffer, in full length',
    since: '6.18',
    requires,
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        const program = openSync(process.execPath, 'r');
        const sink = openSync('/dev/null', 'w');
        try {
          const expected = Buffer.alloc(size);
          fileRead(program, expected, 0);
          const view = new Uint8Array(mapping.view());
          equal(fileRead(program, view, 0), size, 'bytes that read put into guest memory');
          equal(mapping.compare(0, expected), -1, 'first byte that differs from the file');
          equal(fileWrite(sink, view), size, 'bytes that write took from guest memory');
        } finally {
          closeSync(program);
          closeSync(sink);
        }
      }, shared),
  },
  {
    name: 'host-mapping/forked-child',
    title: 'A forked child has the mapping too: parent and child see what the other writes',
    since: '6.18',
    requires,
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        mapping.fill(0x21);
        using child = mapping.forkChild();
        equal(child.load(page), 0x21, 'what the child found');
        child.store(page, 0x22);
        allBytes(mapping, page, 1, 0x22, 'what the child wrote');
        mapping.fill(0x23, 2 * page, page);
        equal(child.load(2 * page), 0x23, 'what the parent wrote');
        gmem.punchHole(0, size);
        equal(child.load(page), 0, 'what the child finds in a hole that was punched under it');
        child.store(page, 0x24);
        allBytes(mapping, page, 1, 0x24, 'what it wrote there');
      }, shared),
  },
  {
    name: 'host-mapping/forked-child-private',
    title: 'A forked child cannot touch private memory either, allocated or not',
    upstream: ['G9'],
    since: '6.18',
    requires: [guestMemfd, mmap],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        if (flags & GuestMemfdFlag.INIT_SHARED) return;
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        gmem.allocate(0, page);
        using child = mapping.forkChild();
        inaccessible('reading an allocated page', () => child.load(0));
        inaccessible('reading an untouched page', () => child.load(page));
        inaccessible('writing an allocated page', () => child.store(0, 1));
      }, GuestMemfdFlag.MMAP),
  },
];
