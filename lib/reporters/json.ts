import type { SuiteResult } from '../smoke/model.ts';

/** The result as JSON, as text that ends in a newline. */
export function json(result: SuiteResult): string {
  return `${JSON.stringify(result, null, 2)}\n`;
}
