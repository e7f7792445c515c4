import { GuestAgent } from '../../guest/agent.ts';
import { BindFlag, GuestMemfdFlag, MemoryPolicy } from '../../kvm/constants.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import { pageSize } from '../../kvm/native.ts';
import { type CheckContext, CheckSkip } from '../context.ts';
import { allBytes, equal, refused } from '../expect.ts';
import { compareReleases } from '../known-bugs.ts';
import type { Check } from '../model.ts';
import { guestMemfd, guestProgram, initShared, mmap, numaNodes } from '../requirements.ts';

const page = pageSize;
const size = 4 * page;
const shared = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;
const modeMask = 0xfff; // the bits above are mode flags

/** Sets a policy through one mapping, gives what a later one has, and skips where the kernel is known to ignore it. */
function skipIfIgnored(check: CheckContext, gmem: GuestMemfd): number {
  using first = gmem.map();
  first.bind({ mode: MemoryPolicy.BIND, nodes: [0] });
  equal(first.policy().mode & modeMask, MemoryPolicy.BIND, 'policy in the mapping it was set through');
  first.close();
  using second = gmem.map();
  const kept = second.policy().mode & modeMask;
  if (kept === MemoryPolicy.DEFAULT && compareReleases(check.ground.host.kernelRelease, '6.19') < 0)
    throw new CheckSkip(
      'this kernel accepts a NUMA policy for a guest_memfd and ignores it: the policy is gone in the next mapping',
      'Linux 6.19 and later honour it',
    );
  return kept;
}

/** NUMA policies of guest_memfd memory. */
export const numaChecks: readonly Check[] = [
  {
    name: 'numa/allocation',
    title:
      'Pages land on the node that a policy binds them to, set before or after, and again after a hole was punched',
    upstream: ['G7'],
    since: '6.19',
    requires: [guestMemfd, mmap, initShared, numaNodes(2)],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        skipIfIgnored(check, gmem);
        using mapping = gmem.map();
        for (const node of [0, 1, 0]) {
          gmem.punchHole(0, size);
          mapping.bind({ mode: MemoryPolicy.BIND, nodes: [node] });
          mapping.fill(0xaa);
          for (const [i, got] of mapping.nodes().entries())
            equal(got, node, `node of page ${i}, bound to node ${node}`);
        }
      }, shared),
  },
  {
    name: 'numa/policy-round-trip',
    title: 'get_mempolicy gives back the policy and the nodes that mbind set: INTERLEAVE, BIND and DEFAULT',
    upstream: ['G11'],
    since: '6.18',
    requires: [guestMemfd, mmap, numaNodes(2)],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        for (const [mode, nodes] of [
          [MemoryPolicy.INTERLEAVE, [0, 1]],
          [MemoryPolicy.BIND, [1]],
          [MemoryPolicy.DEFAULT, []],
        ] as const) {
          mapping.bind({ mode, nodes });
          const got = mapping.policy();
          equal(got.mode & modeMask, mode, 'policy');
          equal(got.nodes.join(' '), nodes.join(' '), 'nodes of the policy');
        }
      }, GuestMemfdFlag.MMAP),
  },
  {
    name: 'numa/invalid-policy',
    title: 'mbind with a policy that does not exist is refused with EINVAL',
    upstream: ['G11'],
    since: '6.18',
    requires: [guestMemfd, mmap],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        refused('EINVAL', 'mbind with policy 999', () => mapping.bind({ mode: 999, nodes: [0] }));
      }, GuestMemfdFlag.MMAP),
  },
  {
    name: 'numa/policy-kept-by-file',
    title: 'A NUMA policy belongs to the guest_memfd and not to one mapping: it is there in a later mapping',
    since: '6.19',
    requires: [guestMemfd, mmap],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        equal(skipIfIgnored(check, gmem), MemoryPolicy.BIND, 'policy in a later mapping');
      }, GuestMemfdFlag.MMAP),
  },
  {
    name: 'numa/allocate',
    title: 'fallocate allocates pages on the node that the policy binds them to',
    upstream: ['G7'],
    since: '6.19',
    requires: [guestMemfd, mmap, initShared, numaNodes(2)],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        skipIfIgnored(check, gmem);
        using mapping = gmem.map();
        for (const node of [1, 0]) {
          gmem.punchHole(0, size);
          mapping.bind({ mode: MemoryPolicy.BIND, nodes: [node] });
          gmem.allocate(0, size);
          mapping.bind({ mode: MemoryPolicy.DEFAULT });
          mapping.read(0, size);
          equal(mapping.nodes().join(' '), Array(4).fill(node).join(' '), `nodes of pages allocated on ${node}`);
        }
      }, shared),
  },
  {
    name: 'numa/interleave',
    title: 'INTERLEAVE gives each node its equal share of the pages, in whatever order they are touched',
    upstream: ['G7'],
    since: '6.19',
    requires: [guestMemfd, mmap, initShared, numaNodes(2)],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        const pages = 16;
        using gmem = vm.createGuestMemfd({ size: pages * page, flags });
        skipIfIgnored(check, gmem);
        using mapping = gmem.map();
        mapping.bind({ mode: MemoryPolicy.INTERLEAVE, nodes: [0, 1] });
        // In order, and every second page before the others.
        for (const order of [1, 2]) {
          gmem.punchHole(0, pages * page);
          for (let i = 0; i < pages; i += order) mapping.fill(1, i * page, 1);
          mapping.fill(1);
          const nodes = mapping.nodes();
          for (const node of [0, 1])
            equal(nodes.filter((one) => one === node).length, pages / 2, `pages on node ${node}: ${nodes.join(' ')}`);
        }
      }, shared),
  },
  {
    name: 'numa/guest-allocation',
    title: 'Pages that the guest touches first land on the node that the policy binds them to',
    upstream: ['G7'],
    since: '6.19',
    requires: [guestMemfd, mmap, initShared, guestProgram, numaNodes(2)],
    run: (check) => {
      const vm = check.vm();
      const gmem = check.use(vm.createGuestMemfd({ size, flags: shared }));
      skipIfIgnored(check, gmem);
      const mapping = check.use(gmem.map());
      vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0x1_0000_0000, size, mapping, guestMemfd: gmem });
      const agent = check.use(GuestAgent.create(vm));
      for (const node of [1, 0]) {
        gmem.punchHole(0, size);
        mapping.bind({ mode: MemoryPolicy.BIND, nodes: [node] });
        agent.fill(0x1_0000_0000, size, 1);
        mapping.read(0, size);
        equal(mapping.nodes().join(' '), Array(4).fill(node).join(' '), `nodes of pages bound to ${node}`);
      }
    },
  },
  {
    name: 'numa/ranges',
    title: 'Ranges of one file have policies of their own, by their offset in the file and not by the mapping',
    upstream: ['G11'],
    since: '6.19',
    requires: [guestMemfd, mmap, initShared, numaNodes(2)],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        skipIfIgnored(check, gmem);
        using first = gmem.map();
        first.bind({ mode: MemoryPolicy.BIND, nodes: [1], offset: page, length: page });
        first.bind({ mode: MemoryPolicy.BIND, nodes: [0], offset: 3 * page, length: page });
        using later = gmem.map({ offset: page, length: 3 * page });
        equal(later.policy(0).nodes.join(' '), '1', 'nodes of the second page');
        equal(later.policy(2 * page).nodes.join(' '), '0', 'nodes of the fourth page');
        later.fill(1, 0, page);
        later.fill(1, 2 * page, page);
        equal(
          later
            .nodes()
            .filter((node) => node >= 0)
            .join(' '),
          '1 0',
          'nodes of the pages',
        );
      }, shared),
  },
  {
    name: 'numa/not-moved',
    title: 'Pages that are there already are not moved by mbind with MPOL_MF_MOVE, and keep their contents',
    since: '6.18',
    requires: [guestMemfd, mmap, initShared, numaNodes(2)],
    run: (check) =>
      check.eachConfiguration(({ vm, flags }) => {
        using gmem = vm.createGuestMemfd({ size, flags });
        using mapping = gmem.map();
        mapping.fill(0x6d);
        const before = mapping.nodes();
        for (const node of [0, 1])
          try {
            mapping.bind({ mode: MemoryPolicy.BIND, nodes: [node], flags: BindFlag.MOVE | BindFlag.STRICT });
          } catch (error) {
            check.note(`mbind with MOVE and STRICT is refused: ${(error as NodeJS.ErrnoException).code}`);
          }
        equal(mapping.nodes().join(' '), before.join(' '), 'nodes of the pages');
        allBytes(mapping, 0, size, 0x6d, 'their contents');
      }, shared),
  },
];
