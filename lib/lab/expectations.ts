import type { Surprise } from '../reporters/report.ts';
import { compareReleases, expectedBug } from '../smoke/known-bugs.ts';
import type { Check, CheckResult, Status } from '../smoke/model.ts';
import type { NamedKernel } from './kernel-names.ts';

/** What a kernel must be for one of the suite's requirements to be met in the lab. */
interface Availability {
  /** The first release that has it. */
  readonly since?: string;
  readonly architecture?: NamedKernel['architecture'];
  /** Only kernels with software-protected VMs. */
  readonly swProtected?: true;
  /** Only kernels that convert in place, or only those that do not. */
  readonly inPlace?: boolean;
  /** NUMA nodes of the machine. */
  readonly nodes?: number;
}

/** By the names of requirements; those that are not here every kernel of the lab meets. */
const availability: Readonly<Record<string, Availability>> = {
  guest_memfd: { since: '6.18' },
  MMAP: { since: '6.18' },
  INIT_SHARED: { since: '6.18' },
  USER_MEMORY2: { since: '6.8' },
  PRE_FAULT_MEMORY: { since: '6.11', architecture: 'x86_64' },
  VM_TYPES: { since: '6.8', architecture: 'x86_64' },
  'memory attributes': { since: '6.8', swProtected: true, inPlace: false },
  'in-place conversion': { inPlace: true },
  '2 NUMA nodes': { nodes: 2 },
  arm64: { architecture: 'aarch64' },
  'x86-64': { architecture: 'x86_64' },
};

/** How a check is expected to end on a kernel: by its first release, what it requires and the known bugs. */
export function expectedStatus(check: Check, kernel: NamedKernel & { version: string }, numaNodes: number): Status {
  const available = (check.requires ?? []).every(({ name }) => {
    const { since, architecture, swProtected, inPlace, nodes } = availability[name] ?? {};
    return (
      (since === undefined || compareReleases(kernel.series, since) >= 0) &&
      (architecture === undefined || architecture === kernel.architecture) &&
      (!swProtected || kernel.swProtected) &&
      (inPlace === undefined || inPlace === kernel.inPlace) &&
      (nodes === undefined || numaNodes >= nodes)
    );
  });
  if (!available || compareReleases(kernel.series, check.since) < 0) return 'skip';
  return expectedBug(check.knownBugs, kernel.version) ? 'xfail' : 'pass';
}

/** Compares the results on one kernel with what is expected of it, in both directions. */
export function surprises(
  checks: readonly Check[],
  kernel: NamedKernel & { version: string },
  numaNodes: number,
  results: readonly CheckResult[],
): Surprise[] {
  const byName = new Map(checks.map((check) => [check.name, check]));
  return results.flatMap((result) => {
    const check = byName.get(result.name);
    // What the kernel says outside of checks is never expected.
    const expected = check ? expectedStatus(check, kernel, numaNodes) : 'pass';
    if (result.status === expected) return [];
    if (check?.race && expected === 'xfail' && result.status === 'pass') return [];
    const reason = result.failure?.message ?? result.reason;
    return [{ kernel: kernel.name, check: result.name, expected, got: result.status, reason }];
  });
}
