import type { Check } from '../smoke/model.ts';
import { meets, requirementKey } from '../smoke/requirement-name.ts';
import { UsageError } from './io.ts';

// Options of `gmem smoke` whose text is more than a text.

/** Seconds above 0, fractions too. */
export function parseSeconds(name: string, text: string): number {
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= 86_400) || text.trim() === '')
    throw new UsageError(`--${name} takes seconds above 0 and up to 86400, not "${text}"`);
  return seconds;
}

/** A whole number from 0 on. */
export function parseInteger(name: string, text: string, most: number): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > most)
    throw new UsageError(`--${name} takes a whole number from 0 to ${most}, not "${text}"`);
  return number;
}

/** 'I/N': a part and how many there are. */
export function parseShard(text: string): [part: number, count: number] {
  const match = /^(\d+)\/(\d+)$/.exec(text);
  const [part, count] = [Number(match?.[1]), Number(match?.[2])];
  if (!match || part < 1 || part > count)
    throw new UsageError(`--shard takes a part and the number of parts, as 2/3, not "${text}"`);
  return [part, count];
}

/** Names of requirements, separated by commas, as the catalogue has them. */
export function parseRequired(texts: readonly string[], catalogue: readonly Check[]): string[] {
  const names = texts.flatMap((text) => text.split(',')).map((name) => name.trim());
  const known = [...new Set(catalogue.flatMap((check) => check.requires ?? []).map(({ name }) => name))];
  const unknown = names.find((name) => !known.some((one) => meets(one, [name])));
  if (unknown !== undefined)
    throw new UsageError(
      `--require: no check needs "${unknown}"; there are: ${known.map(requirementKey).sort().join(', ')}`,
    );
  return names;
}
