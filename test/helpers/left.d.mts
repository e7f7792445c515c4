import type { SpawnOptions } from 'node:child_process';

/** Processes that were started with this mark in their environment, by whomever. */
export declare function marked(mark: string): string[];

/** What {@link kill} found. */
export interface Left {
  /** 'SIGKILL', unless it had come to its end before. */
  readonly how: string;
  /** What is left of it after its time: processes, and names in the folders that were not there before. */
  readonly left: readonly string[];
}

export declare function kill(
  args: readonly string[],
  options: {
    after: number | (() => boolean);
    signal?: NodeJS.Signals;
    env?: NodeJS.ProcessEnv;
    folders?: readonly string[];
    fine?: RegExp;
    patience?: number;
    stdio?: SpawnOptions['stdio'];
  },
): Promise<Left>;
