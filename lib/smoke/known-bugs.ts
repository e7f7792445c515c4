/** A bug that kernel releases are known to have. */
export interface KnownBug {
  readonly id: string;
  readonly title: string;
  /** The mainline commit that fixes it. */
  readonly fixedBy: string;
  /** The first release that has the bug. */
  readonly since: string;
  /** A release that was seen to be fixed: from there on a failure is a regression. Stable branches may be fixed earlier. */
  readonly fixedIn: string;
}

/** Known bugs that checks of the suite meet. */
export const knownBugs: readonly KnownBug[] = [
  {
    id: 'B4',
    title: 'guest_memfd_offset + size overflows as a signed number, so a memslot far beyond the file is accepted',
    fixedBy: 'eba85fee7fc6',
    since: '6.8',
    fixedIn: '7.3',
  },
  {
    id: 'B5',
    title: 'punching a hole in initially shared memory left the guest its old pages',
    fixedBy: '5d3341d684be',
    since: '6.18-rc1',
    fixedIn: '6.18',
  },
];

/** Major and minor number of a kernel release such as '6.18.44-cloud-amd64'. */
function parseRelease(release: string): [major: number, minor: number] {
  const match = /^(\d+)\.(\d+)/.exec(release);
  return match ? [Number(match[1]), Number(match[2])] : [0, 0];
}

/** Negative where `a` is older than `b`, by major and minor number. */
export function compareReleases(a: string, b: string): number {
  const [majorA, minorA] = parseRelease(a);
  const [majorB, minorB] = parseRelease(b);
  return majorA - majorB || minorA - minorB;
}

/** The first of the named bugs that a kernel release is expected to have. */
export function expectedBug(ids: readonly string[] | undefined, release: string): KnownBug | undefined {
  return knownBugs.find(
    (bug) =>
      ids?.includes(bug.id) && compareReleases(release, bug.since) >= 0 && compareReleases(release, bug.fixedIn) < 0,
  );
}
