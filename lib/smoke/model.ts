import type { CheckContext } from './context.ts';
import type { Requirement } from './requirements.ts';

/**
 * How a check ended.
 * - `pass`: the kernel did what the check asserts.
 * - `fail`: it did not.
 * - `xfail`: it did not, because of a kernel bug on our list that this kernel release is expected to have.
 * - `skip`: the check could not be asked here; `reason` tells why.
 * - `error`: no verdict: the check itself broke, crashed its process or did not end in time.
 */
export type Status = 'pass' | 'fail' | 'xfail' | 'skip' | 'error';

/** Why a check has no verdict: it did not end in time, took its process down, threw, or made the kernel complain. */
export type ErrorCause = 'timeout' | 'crash' | 'exception' | 'kernel';

/** A property of the kernel's guest_memfd, and the function that finds out whether it holds. */
export interface Check {
  /** `subject/property`, stable: what reports and patterns go by. */
  readonly name: string;
  /** What it asserts, in a sentence. */
  readonly title: string;
  /** Counterparts among the kernel's selftests, by the ids of docs/checks.md, as 'G5'. */
  readonly upstream?: readonly string[];
  /** The first kernel release that is expected to pass. */
  readonly since: string;
  /** What must be there for the check to make sense; the first that is not gives the reason to skip. */
  readonly requires?: readonly Requirement[];
  /** Ids in the list of known kernel bugs that make this check fail. */
  readonly knownBugs?: readonly string[];
  /**
   * Random work for as long as it is told to go on (`context.deadline`), driven by `context.seed`: runs only when asked for
   * with --stress.
   */
  readonly stress?: true;
  /** It may well take its process down, or leave it in a state that others should not meet: it gets one of its own. */
  readonly isolated?: true;
  /** A race: whether it meets a known bug is a matter of chance, so a pass does not tell that the bug is gone. */
  readonly race?: true;
  /** Throws what `expect` throws when the property does not hold; any KvmError counts as a failure too. */
  run(context: CheckContext): void | Promise<void>;
}

/** A kernel call, decoded. */
export interface KernelCall {
  /** As in errors: 'ioctl(KVM_CREATE_GUEST_MEMFD)', 'fallocate', 'run' of a vCPU. */
  readonly call: string;
  /** By name; numbers above 2^53-1, addresses and masks as hexadecimal text. */
  readonly arguments: Readonly<Record<string, string | number>>;
  /** What it returned, where it was not refused. An access to memory returns the bytes done. */
  readonly result?: number;
  /** The name of the errno it was refused with. */
  readonly errno?: string;
  /** What came of it besides: the exit of a run, where an access faulted. */
  readonly outcome?: string;
  /** The call had not come back when its process ended. */
  readonly unfinished?: true;
  /** When it began, in milliseconds since the check did. */
  readonly atMs: number;
  readonly durationMs: number;
}

/** A range of guest memory, as a picture shows it. */
export interface MemoryRange {
  /** Guest physical address, hexadecimal. */
  readonly gpa: string;
  /** Bytes. */
  readonly size: number;
  readonly state: 'shared' | 'private' | 'untouched' | 'hole';
}

/** What a failed check saw. */
export interface Failure {
  readonly message: string;
  readonly expected?: string;
  readonly got?: string;
  /** The VM type and guest_memfd flags it happened with, where a check tries several. */
  readonly configuration?: string;
  /** The kernel calls that led there, the last ones of the check. */
  readonly calls?: readonly KernelCall[];
  /** The vCPU's state, where one was involved: registers and last exit, by name. */
  readonly guest?: Readonly<Record<string, string>>;
  /** The memory under test. */
  readonly memory?: readonly MemoryRange[];
}

/** A bug of the kernel's that a check meets, as results show it. */
export interface KnownBugShown {
  readonly id: string;
  readonly title: string;
  /** The commit that fixes it, in the mainline tree. */
  readonly fixedBy: string;
}

/** What came out of one check. */
export interface CheckResult {
  readonly name: string;
  readonly title: string;
  readonly status: Status;
  readonly durationMs: number;
  /** Why it was skipped, or has no verdict. */
  readonly reason?: string;
  readonly remedy?: string;
  /** Of a skip: why that is so, each the cause of the one before, down to the first cause that was found. */
  readonly chain?: readonly string[];
  /** Of a skip: the name of the requirement that was not met, as --require takes it. */
  readonly requirement?: string;
  /** Why there is no verdict, for status `error`. */
  readonly cause?: ErrorCause;
  /** What a random check was driven by: the same seed gives the same steps. */
  readonly seed?: number;
  readonly failure?: Failure;
  readonly upstream?: readonly string[];
  readonly since: string;
  readonly knownBug?: KnownBugShown;
  /** True when a check passed that this release's known bug should have made fail. */
  readonly unexpectedPass?: true;
  /** What is worth knowing besides the verdict. */
  readonly notes?: readonly string[];
}

/** The machine the checks ran on. */
export interface HostFacts {
  readonly kernelRelease: string;
  readonly kernelVersion: string;
  readonly architecture: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly pageSize: number;
  readonly numaNodes: number;
  readonly nodeVersion: string;
  /** KVM_CHECK_EXTENSION on the device, by capability name. */
  readonly capabilities: Readonly<Record<string, number>>;
  /** VM types that could be created. */
  readonly vmTypes: readonly number[];
}

/** The virtual machine that a kernel of the lab ran in. */
export interface LabFacts {
  /** The image, as it was given. */
  readonly image: string;
  readonly architecture: string;
  /** What executed it: QEMU's software emulation, or the host's KVM. */
  readonly accelerator: 'tcg' | 'kvm';
  /** 'QEMU emulator version …' */
  readonly emulator: string;
  readonly cpus: number;
  readonly memory: string;
  readonly numaNodes: number;
  /** The kernel's command line. */
  readonly commandLine: string;
  /** Modules that were loaded before the checks. */
  readonly modules: readonly string[];
  /** From the start of QEMU to the first check, in milliseconds, the last time the machine was started. */
  readonly bootMs: number;
  /** How often the machine was started: once more after each check that took it down. */
  readonly boots: number;
}

/**
 * What came out of a run: what every reporter renders, and what `--reporter json` prints, as schema/result.schema.json tells.
 * A result of version 1 lacks what later properties hold, and is otherwise the same.
 */
export interface SuiteResult {
  readonly schemaVersion: 2;
  readonly tool: { readonly name: string; readonly version: string };
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  /** What random checks were driven by. */
  readonly seed?: number;
  readonly host: HostFacts;
  /** There when the run was one of the lab's. */
  readonly lab?: LabFacts;
  readonly summary: Readonly<Record<Status, number>> & { readonly durationMs: number };
  /** True when the run was ended from outside; checks that had not run are skipped with that reason. */
  readonly interrupted?: true;
  readonly checks: readonly CheckResult[];
}

/** Counts the results by status. */
export function summarise(checks: readonly CheckResult[], durationMs: number): SuiteResult['summary'] {
  const summary = { pass: 0, fail: 0, xfail: 0, skip: 0, error: 0, durationMs };
  for (const check of checks) summary[check.status]++;
  return summary;
}
