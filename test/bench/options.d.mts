export declare class UsageError extends Error {}
export interface BenchOptions {
  readonly names: readonly string[];
  readonly rounds: number;
  readonly [name: string]: unknown;
}
export declare function parseOptions(argv: readonly string[]): BenchOptions;
export declare function select<T extends { name: string }>(cases: readonly T[], names: readonly string[]): T[];
