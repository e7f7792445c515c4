import type { CheckResult, HostFacts } from './model.ts';

/** What the worker process is told first. */
export interface Assignment {
  readonly device: string;
  /** The checks to run, in this order. */
  readonly names: readonly string[];
  /** A module whose `checks` are run instead of the suite's: for tests of the runner. */
  readonly catalogue?: string;
}

/** What the worker process tells. */
export type WorkerMessage =
  | { readonly type: 'ready'; readonly host: HostFacts }
  | { readonly type: 'unusable'; readonly reason: string }
  | { readonly type: 'start'; readonly name: string }
  | { readonly type: 'result'; readonly result: CheckResult };

/** How a worker ended. */
export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it wrote to its standard error, the last few KiB. */
  readonly stderr: string;
  /** What came of the machine around it, where it had one of its own: what to say instead of code and signal. */
  readonly story?: string;
  /** What the kernel complained of meanwhile. */
  readonly complaints?: readonly Complaint[];
}

/** Something that the kernel under test said of itself: a warning, an oops, a report of a checker. */
export interface Complaint {
  /** The check that was running; undefined before the first and after the last. */
  readonly check: string | undefined;
  /** 'panic', 'WARNING', 'KASAN', … */
  readonly kind: string;
  readonly text: string;
}

/** A worker under way. */
export interface RunningWorker {
  readonly ended: Promise<WorkerEnd>;
  kill(): void;
}

/** Starts a worker: a process of this machine, or a machine of its own. */
export type Launch = (assignment: Assignment, onMessage: (message: WorkerMessage) => void) => RunningWorker;
