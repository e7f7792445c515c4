import { knownBugs } from '../smoke/known-bugs.ts';
import type { Check } from '../smoke/model.ts';
import { requirementKey } from '../smoke/requirement-name.ts';
import { UsageError } from './io.ts';

// What `gmem smoke` tells of its checks without running any.

/** A line for each check. */
export function listing(checks: readonly Check[]): string {
  const width = Math.max(...checks.map((check) => check.name.length));
  return checks
    .map(({ name, upstream = [], title }) => `${name.padEnd(width)}  ${upstream.join(' ').padEnd(7)}  ${title}\n`)
    .join('');
}

/** The catalogue for machines. */
export function catalogueJson(checks: readonly Check[]): string {
  const entries = checks.map(({ name, title, upstream, since, requires, knownBugs: bugs, stress, isolated }) => ({
    name,
    title,
    upstream: upstream ?? [],
    since,
    requires: (requires ?? []).map((one) => requirementKey(one.name)),
    knownBugs: bugs ?? [],
    stress: stress ?? false,
    isolated: isolated ?? false,
  }));
  return `${JSON.stringify({ checks: entries }, null, 2)}\n`;
}

/** A check for a person. */
export function explanation(name: string, checks: readonly Check[]): string {
  const check = checks.find((one) => one.name === name);
  if (!check) {
    const similar = checks.map((one) => one.name).filter((one) => one.includes(name));
    const hint = similar.length > 0 ? `; did you mean ${similar.slice(0, 5).join(', ')}?` : '; see gmem smoke --list';
    throw new UsageError(`there is no check "${name}"${hint}`);
  }
  const lines = [check.name, `  ${check.title}.`, ''];
  const add = (what: string, text: string) => lines.push(`  ${`${what}:`.padEnd(12)} ${text}`);
  add('since', check.since === '' ? 'any release' : `Linux ${check.since}`);
  add('needs', check.requires?.map((one) => requirementKey(one.name)).join(', ') || 'nothing but a KVM device');
  add('upstream', check.upstream?.join(', ') || 'no counterpart among the kernel selftests');
  if (check.stress) add('stress', 'random work for as long as --stress says, driven by --seed');
  if (check.isolated) add('isolated', 'runs in a process of its own');
  for (const bug of knownBugs.filter(({ id }) => check.knownBugs?.includes(id))) {
    add(`bug ${bug.id}`, bug.title);
    lines.push(
      `${' '.repeat(15)}since ${bug.since}, ${bug.fixedIn === undefined ? `not fixed (${bug.fixedBy})` : `fixed in ${bug.fixedIn} by ${bug.fixedBy}`}`,
    );
  }
  return `${lines.join('\n')}\n`;
}
