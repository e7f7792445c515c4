import { readFileSync } from 'node:fs';
import { Advice, GuestMemfdFlag } from '../../kvm/constants.ts';
import type { Mapping } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { CheckContext } from '../context.ts';
import { allBytes, equal, holds, inaccessible, refused } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestMemfd, hugePages, initShared, mmap, type Requirement } from '../requirements.ts';

const page = pageSize;
const size = 4 * page;
const shared = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;
const requires = [guestMemfd, mmap, initShared];

/** /proc/self/smaps, where a mapping's flags are seen. */
const smaps: Requirement = {
  name: '/proc/self/smaps',
  unmet: () => {
    try {
      readFileSync('/proc/self/smaps');
      return undefined;
    } catch {
      return {
        reason: 'this kernel does not show the flags of mappings (/proc/self/smaps)',
        remedy: 'Build it with CONFIG_PROC_PAGE_MONITOR',
      };
    }
  },
};

/** What /proc/self/smaps tells of the mapping. */
function smapsOf(mapping: Mapping): string {
  const first = mapping.address.toString(16).padStart(8, '0');
  const sections = readFileSync('/proc/self/smaps', 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  return sections.find((section) => section.startsWith(`${first}-`)) ?? '';
}

/** The two-letter flags of the mapping. */
function flagsOf(mapping: Mapping): readonly string[] {
  return /^VmFlags: (.*)$/m.exec(smapsOf(mapping))?.[1]?.trim().split(' ') ?? [];
}

/** Tries something with mapped shared memory of each configuration, filled with 0x5a. */
function eachMapped(check: CheckContext, attempt: (mapping: Mapping) => void): void {
  check.eachConfiguration(({ vm, flags }) => {
    using gmem = vm.createGuestMemfd({ size, flags });
    using mapping = gmem.map();
    mapping.fill(0x5a);
    attempt(mapping);
  }, shared);
}

/** Advice that must leave the memory as it is, one check for each. */
const harmless = [
  { name: 'dontneed', advice: Advice.DONTNEED, what: 'MADV_DONTNEED gives up the mapping of pages and not the pages' },
  { name: 'cold', advice: Advice.COLD, what: 'MADV_COLD is accepted' },
  { name: 'pageout', advice: Advice.PAGEOUT, what: 'MADV_PAGEOUT is accepted, though the memory cannot be reclaimed' },
].map(
  ({ name, advice, what }): Check => ({
    name: `advice/${name}`,
    title: `${what}: the contents stay`,
    since: '6.18',
    requires,
    run: (check) =>
      eachMapped(check, (mapping) => {
        mapping.advise(advice);
        allBytes(mapping, 0, size, 0x5a, 'the memory after the advice');
        mapping.fill(0x66);
        allBytes(mapping, 0, size, 0x66, 'the memory, written again');
      }),
  }),
);

/** madvise on guest_memfd memory: what is done, what is refused, and what is accepted and ignored. */
export const adviceChecks: readonly Check[] = [
  ...harmless,
  {
    name: 'advice/remove',
    title: 'MADV_REMOVE punches a hole: the page reads zero and its neighbours stay',
    since: '6.18',
    requires,
    run: (check) =>
      eachMapped(check, (mapping) => {
        mapping.advise(Advice.REMOVE, page, page);
        allBytes(mapping, 0, page, 0x5a, 'the page before');
        allBytes(mapping, page, page, 0, 'the removed page');
        allBytes(mapping, 2 * page, 2 * page, 0x5a, 'the pages behind');
      }),
  },
  {
    name: 'advice/free',
    title: 'MADV_FREE, which is for anonymous memory, is refused with EINVAL',
    since: '6.18',
    requires,
    run: (check) =>
      eachMapped(check, (mapping) => {
        refused('EINVAL', 'MADV_FREE', () => mapping.advise(Advice.FREE));
        allBytes(mapping, 0, size, 0x5a, 'the memory afterwards');
      }),
  },
  {
    name: 'advice/populate-read',
    title: 'MADV_POPULATE_READ makes shared memory resident, and fails with EFAULT on private memory',
    since: '6.18',
    requires: [guestMemfd, mmap],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        if (flags & GuestMemfdFlag.INIT_SHARED) {
          mapping.advise(Advice.POPULATE_READ);
          equal(mapping.residency().every(Boolean), true, 'every page is resident');
        } else refused('EFAULT', 'populating private memory', () => mapping.advise(Advice.POPULATE_READ));
      }, GuestMemfdFlag.MMAP),
  },
  {
    name: 'advice/dontfork',
    title: 'MADV_DONTFORK keeps the mapping from a forked child',
    since: '6.18',
    requires,
    run: (check) =>
      eachMapped(check, (mapping) => {
        using before = mapping.forkChild();
        equal(before.load(0), 0x5a, 'what a child finds, made before the advice');
        mapping.advise(Advice.DONTFORK);
        using after = mapping.forkChild();
        inaccessible('reading in a child, made after the advice', () => after.load(0));
        before.store(0, 0x11);
        allBytes(mapping, 0, 1, 0x11, 'the memory of the parent');
      }),
  },
  {
    name: 'advice/dontdump',
    title: 'MADV_DONTDUMP and MADV_DODUMP keep the memory from core dumps and give it back to them',
    since: '6.18',
    requires: [...requires, smaps],
    run: (check) =>
      eachMapped(check, (mapping) => {
        mapping.advise(Advice.DONTDUMP);
        equal(flagsOf(mapping).includes('dd'), true, 'flag dd after MADV_DONTDUMP');
        mapping.advise(Advice.DODUMP);
        equal(flagsOf(mapping).includes('dd'), false, 'flag dd after MADV_DODUMP');
      }),
  },
  {
    name: 'advice/mergeable-ignored',
    title: 'MADV_MERGEABLE never lets the kernel merge guest memory: where it is accepted, it has no effect',
    since: '6.18',
    requires: [...requires, smaps],
    run: (check) =>
      eachMapped(check, (mapping) => {
        try {
          mapping.advise(Advice.MERGEABLE);
        } catch (error) {
          check.note(`MADV_MERGEABLE is refused: ${(error as NodeJS.ErrnoException).code}`);
          return;
        }
        equal(flagsOf(mapping).includes('mg'), false, 'flag mg: the mapping is open to merging');
        check.note('MADV_MERGEABLE is accepted but ignored');
      }),
  },
  {
    name: 'advice/huge-page-ignored',
    title: 'MADV_HUGEPAGE gives no huge pages, as guest_memfd has none: where it is accepted, it has no effect',
    since: '6.18',
    requires: [...requires, hugePages, smaps],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        const huge = (page / 8) * page;
        using gmem = vm.createGuestMemfd({ size: huge, flags });
        using mapping = gmem.map({ alignment: huge });
        mapping.advise(Advice.HUGEPAGE);
        mapping.fill(0x5a, 0, 4 * page);
        const text = smapsOf(mapping);
        for (const field of ['ShmemPmdMapped', 'FilePmdMapped', 'AnonHugePages']) {
          const [, kilobytes = '0'] = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text) ?? [];
          equal(kilobytes, '0', `${field} in kB`);
        }
        const resident = mapping.residency().filter(Boolean).length;
        equal(resident, 4, 'resident pages: those that were touched');
        check.note('MADV_HUGEPAGE is accepted but ignored');
      }, shared),
  },
  {
    name: 'advice/on-private',
    title: 'Advice on private memory does not make it accessible',
    since: '6.18',
    requires: [guestMemfd, mmap],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        if (flags & GuestMemfdFlag.INIT_SHARED) return;
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        gmem.allocate(0, size);
        for (const advice of [Advice.DONTNEED, Advice.COLD, Advice.REMOVE]) mapping.advise(advice);
        inaccessible('reading private memory', () => mapping.read(0, 1));
        holds(!mapping.residency().some(Boolean), 'no page is resident after MADV_REMOVE');
      }, GuestMemfdFlag.MMAP),
  },
];
