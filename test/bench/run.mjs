import { judge, spread } from './statistics.mjs';

/** Nanoseconds of a stretch of a contestant's work: its own measure, or the time that it took. */
async function time(contestant, operations) {
  const start = process.hrtime.bigint();
  const result = contestant(operations);
  const own = result instanceof Promise ? await result : result;
  return own ?? Number(process.hrtime.bigint() - start);
}

/**
 * As many operations as fill `roundNs`, found out by doubling; which warms up the compiler as well. What takes long is asked
 * again, for something else may have wanted the processor, or the collector of garbage: with one long call believed, code
 * was measured that had run too seldom to be compiled.
 */
async function calibrate(contestant, roundNs) {
  for (let operations = 1; ; operations *= 2) {
    let took = await time(contestant, operations);
    for (let again = 0; again < 2 && took >= roundNs / 4; again++)
      took = Math.min(took, await time(contestant, operations));
    if (took >= roundNs / 4 || operations >= 1 << 26) return Math.max(1, Math.round((operations * roundNs) / took));
  }
}

/** Every order by turns: what went before may leave memory and caches so that the next one is faster for it. */
function orderOf(entries, round) {
  const first = Math.floor(round / 2) % entries.length;
  const rotated = [...entries.slice(first), ...entries.slice(0, first)];
  return round % 2 === 0 ? rotated : rotated.reverse();
}

const judged = ({ bars }, rounds, emulated) => ({
  contestants: Object.fromEntries(Object.entries(rounds).map(([who, values]) => [who, spread(values)])),
  bars: bars.map((bar) => judge(bar, rounds, emulated)),
  rounds,
});

/** The rounds of a case that several processes have measured, as if one had. */
export function together(benchCase, results, emulated) {
  const other = results.find(({ status }) => status !== 'measured');
  if (other) return other;
  const [first] = results;
  const rounds = Object.fromEntries(
    Object.keys(first.rounds).map((who) => [who, results.flatMap((result) => result.rounds[who])]),
  );
  return { ...first, processes: results.length, ...judged(benchCase, rounds, emulated) };
}

/** Measures one case: rounds of every contestant by turns. */
export async function measure(benchCase, terms) {
  const { name, title, bars } = benchCase;
  const base = { name, title };
  const unmet = await benchCase.unmet?.(terms);
  if (unmet)
    return { ...base, status: 'skipped', reason: unmet, bars: bars.map((bar) => ({ ...bar, status: 'unjudged' })) };
  const opened = await benchCase.open(terms);
  try {
    const entries = Object.entries(opened.contestants);
    const operations = opened.operations ?? (await calibrate(opened.contestants.ours, terms.roundNs));
    for (const [, contestant] of entries) await contestant(operations); // warm
    const rounds = Object.fromEntries(entries.map(([who]) => [who, []]));
    for (let round = 0; round < terms.rounds; round++)
      for (const [who, contestant] of orderOf(entries, round))
        rounds[who].push((await time(contestant, operations)) / operations);
    return {
      ...base,
      status: 'measured',
      operations,
      ...(opened.absent?.length ? { absent: opened.absent } : {}),
      ...(opened.note ? { note: opened.note } : {}),
      ...judged(benchCase, rounds, terms.emulated),
    };
  } finally {
    await opened.close?.();
  }
}
