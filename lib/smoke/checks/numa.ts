import { GuestMemfdFlag, MemoryPolicy } from '../../kvm/constants.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import { pageSize } from '../../kvm/native.ts';
import { type CheckContext, CheckSkip } from '../context.ts';
import { equal, refused } from '../expect.ts';
import { compareReleases } from '../known-bugs.ts';
import type { Check } from '../model.ts';
import { guestMemfd, initShared, mmap, numaNodes } from '../requirements.ts';

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
];
