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
