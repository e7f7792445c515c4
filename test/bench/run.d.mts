import type { Bar, Judged, Spread } from './statistics.mjs';

export interface BenchCase {
  readonly name: string;
  readonly title: string;
  readonly bars: readonly Bar[];
  unmet?(terms: unknown): string | undefined;
  open(terms: unknown): unknown;
}
export interface BenchResult {
  readonly name: string;
  readonly title: string;
  readonly status: 'measured' | 'skipped' | 'failed';
  readonly reason?: string;
  readonly operations?: number;
  readonly contestants?: Readonly<Record<string, Spread>>;
  readonly bars: readonly Judged[];
  readonly rounds?: Readonly<Record<string, readonly number[]>>;
}
export declare function together(
  benchCase: Pick<BenchCase, 'bars'>,
  results: readonly BenchResult[],
  emulated: string | undefined,
): BenchResult;
export declare function measure(benchCase: BenchCase, terms: { rounds: number; roundNs: number }): Promise<BenchResult>;
