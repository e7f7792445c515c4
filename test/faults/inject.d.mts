import type { Row } from './table.ts';

type Choice = (site: { readonly nth: number }, all: readonly string[]) => readonly string[];
export const shortChoice: Choice;
export const partChoice: (part: readonly [number, number]) => Choice;
export function injectFaults(
  part: string,
  options: { library: string; seconds?: number; choose?: Choice; onRow?: (row: Row) => void },
): Promise<Row[]>;
