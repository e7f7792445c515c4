/** A bug that kernel releases are known to have. */
export interface KnownBug {
  readonly id: string;
  readonly title: string;
  /** The mainline commit that fixes it, or what is known of it. */
  readonly fixedBy: string;
  /** The first release that has the bug. */
  readonly since: string;
  /**
   * A release that was seen to be fixed: from there on a failure is a regression. Stable branches may be fixed earlier.
   * Missing where no release is known to be.
   */
  readonly fixedIn?: string;
  /** By series, a stable release that was seen to be fixed, as { '7.2': '7.2.12' }. */
  readonly fixedInStable?: Readonly<Record<string, string>>;
}

/** Known bugs that checks of the suite meet. */
export const knownBugs: readonly KnownBug[] = [
  {
    id: 'B4',
    title: 'guest_memfd_offset + size overflows as a signed number, so a memslot far beyond the file is accepted',
    fixedBy: 'eba85fee7fc6',
    since: '6.8',
    fixedIn: '7.3',
    fixedInStable: { '7.1': '7.1.13', '7.2': '7.2.12' },
  },
  {
    id: 'B5',
    title: 'punching a hole in initially shared memory left the guest its old pages',
    fixedBy: '5d3341d684be',
    since: '6.18-rc1',
    fixedIn: '6.18',
  },
  {
    // Seen to hang 6.12.117 and not 6.16.12.
    id: 'L1',
    title: 'KVM_PRE_FAULT_MEMORY does not come back when it is called after a memslot was deleted',
    fixedBy: 'a commit not identified, before 6.16.12',
    since: '6.11',
    fixedIn: '6.16',
  },
  {
    // Seen to hang 6.16.12 and 6.17.13, and not 6.18.15.
    id: 'B11',
    title: 'KVM_PRE_FAULT_MEMORY retries for ever while a memslot is being deleted',
    fixedBy: '3ccbf6f47098',
    since: '6.11',
    fixedIn: '6.18',
  },
  {
    // Seen on 7.3.4; what hangs before 6.18 is B11. The loop of the pre-fault reads is_page_fault_stale() as true for its old root and never loads a new one;
    // it is an SRCU reader meanwhile, for which the deletion waits.
    id: 'L2',
    title:
      'KVM_PRE_FAULT_MEMORY retries for ever, and the deletion of a memslot waits for it, when the deletion makes its root obsolete',
    fixedBy: 'no commit known, as of 7.3.4',
    since: '6.18',
  },
];

/** Major, minor and patch number of a kernel release such as '6.18.44-cloud-amd64'. */
function parseRelease(release: string): [major: number, minor: number, patch: number] {
  const match = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release);
  return match ? [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)] : [0, 0, 0];
}

/** Negative where `a` is older than `b`, by major and minor number. */
export function compareReleases(a: string, b: string): number {
  const [majorA, minorA] = parseRelease(a);
  const [majorB, minorB] = parseRelease(b);
  return majorA - majorB || minorA - minorB;
}

function isFixed(bug: KnownBug, release: string): boolean {
  if (bug.fixedIn !== undefined && compareReleases(release, bug.fixedIn) >= 0) return true;
  const [major, minor, patch] = parseRelease(release);
  const stable = bug.fixedInStable?.[`${major}.${minor}`];
  return stable !== undefined && patch >= parseRelease(stable)[2];
}

/** The first of the named bugs that a kernel release is expected to have. */
export function expectedBug(ids: readonly string[] | undefined, release: string): KnownBug | undefined {
  return knownBugs.find(
    (bug) => ids?.includes(bug.id) && compareReleases(release, bug.since) >= 0 && !isFixed(bug, release),
  );
}
