import type { BenchResult } from './run.mjs';
import type { Bar } from './statistics.mjs';

export declare function barText(bar: Bar): string;
export declare function markdown(measured: { facts: object; results: readonly BenchResult[] }): string;
export declare function count(results: readonly BenchResult[]): { holds: number; missed: number; unjudged: number };
