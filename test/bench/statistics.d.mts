export interface Bar {
  readonly against?: string;
  readonly as?: 'ratio' | 'over' | 'alone' | string;
  readonly most: number;
}
export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}
export type Judged = Bar & Partial<Spread> & { readonly status: 'holds' | 'missed' | 'unjudged' };
export declare function quantile(values: readonly number[], share: number): number;
export declare function spread(values: readonly number[]): Spread;
export declare function judge(bar: Bar, rounds: Readonly<Record<string, readonly number[]>>, emulated?: string): Judged;
export declare function duration(ns: number): string;
