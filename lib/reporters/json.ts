import { onlyResult, type Report } from './report.ts';

/** A single run is its result, as schema/result.schema.json has it; anything more is as in schema/report.schema.json. */
export function json(report: Report): string {
  return `${JSON.stringify(onlyResult(report) ?? { schemaVersion: 2, ...report }, null, 2)}\n`;
}
