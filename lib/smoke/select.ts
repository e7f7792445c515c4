import type { CheckEntry } from './runner.ts';

function toRegExp(pattern: string): RegExp {
  const escaped = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  // Without a wildcard any part of the name will do, as 'guest/' or 'punch'.
  return new RegExp(/[*?]/.test(pattern) ? `^${escaped}$` : escaped, 'i');
}

/**
 * The checks that match any of the patterns: a part of the name, a glob with `*` and `?` over the whole name, or the id
 * of an upstream selftest, as 'G5'. All checks when there is no pattern.
 *
 * @returns the checks in the suite's order, and the patterns that matched nothing
 */
export function selectChecks<T extends CheckEntry>(
  checks: readonly T[],
  patterns: readonly string[],
): { selected: T[]; unmatched: string[] } {
  const matches = (pattern: string) => {
    const name = toRegExp(pattern);
    const id = pattern.toUpperCase();
    return (check: T) => name.test(check.name) || (check.upstream?.includes(id) ?? false);
  };
  const unmatched = patterns.filter((pattern) => !checks.some(matches(pattern)));
  if (patterns.length === 0) return { selected: [...checks], unmatched };
  return { selected: checks.filter((check) => patterns.some((pattern) => matches(pattern)(check))), unmatched };
}

/**
 * One of `count` parts of the checks, the parts together being all of them. Neighbours, which are about alike in cost, go to
 * different parts.
 *
 * @param part from 1 to `count`
 */
export function shard<T>(checks: readonly T[], part: number, count: number): T[] {
  return checks.filter((_, index) => index % count === part - 1);
}
