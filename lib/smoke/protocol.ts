import { writeSync } from 'node:fs';
import type { CheckResult, HostFacts, KernelCall } from './model.ts';

/** What the worker process is told first. */
export interface Assignment {
  readonly device: string;
  /** The checks to run, in this order. */
  readonly names: readonly string[];
  /** See {@link CheckContext.seed}. */
  readonly seed: number;
  /** Seconds that one check may take. */
  readonly timeoutSeconds: number;
  /** Seconds that a stress check goes on. */
  readonly stressSeconds?: number;
  /** Tell of every kernel call. */
  readonly trace?: boolean;
  /** Write a C program for each check that fails. */
  readonly reproduce?: boolean;
  /** A module whose `checks` are run instead of the suite's: for tests of the runner. */
  readonly catalogue?: string;
}

/** A C program that repeats what a failed check did. */
export interface Reproducer {
  /** The program; undefined where there can be none. */
  readonly source?: string;
  /** Why there is none. */
  readonly problem?: string;
}

/** What the worker process tells. */
export type WorkerMessage =
  | { readonly type: 'ready'; readonly host: HostFacts }
  | { readonly type: 'unusable'; readonly reason: string }
  | { readonly type: 'start'; readonly name: string }
  /** A kernel call begins; only where calls are told of. */
  | { readonly type: 'begin'; readonly check: string; readonly call: KernelCall }
  /** It has ended. */
  | { readonly type: 'call'; readonly check: string; readonly call: KernelCall }
  | { readonly type: 'result'; readonly result: CheckResult; readonly reproducer?: Reproducer };

/** The descriptor by which workers tell, a line of JSON for each message, on this machine and in those of the lab. */
export const channel = 3;

/** Tells at once: a check that kills its process must not take the news of its start with it. */
export function tellByChannel(message: WorkerMessage): void {
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(channel, bytes, at);
}

/** Calls back with every whole line. */
export function lines(onLine: (line: string) => void): (chunk: string) => void {
  let rest = '';
  return (chunk) => {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) onLine(part);
  };
}

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
