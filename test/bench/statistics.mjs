/** The value below which the part `share` of the values lies, between two of them in proportion. */
export function quantile(values, share) {
  if (values.length === 0) throw new RangeError('no values');
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const low = Math.floor(at);
  const high = Math.ceil(at);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

/** Median and quartiles. */
export const spread = (values) => ({
  median: quantile(values, 0.5),
  low: quantile(values, 0.25),
  high: quantile(values, 0.75),
});

/**
 * How a bar of a case came out. `rounds` holds, for each contestant, nanoseconds an operation in each round; what counts is
 * compared within a round, for the machine is another in the next one.
 *
 * A bar has `most`, and `against` whom; `as` says what is compared: 'ratio' (the default), 'over' for nanoseconds more than
 * the other, 'alone' for nanoseconds without another. Times of an emulated machine are not judged.
 */
export function judge(bar, rounds, emulated = undefined) {
  const { against, as = 'ratio', most } = bar;
  const own = rounds.ours;
  const others = rounds[against];
  if (as !== 'alone' && !others) return { ...bar, status: 'unjudged' };
  const compared = own.map((value, i) =>
    as === 'ratio' ? value / others[i] : as === 'over' ? value - others[i] : value,
  );
  const measured = spread(compared);
  if (emulated && as !== 'ratio') return { ...bar, ...measured, status: 'unjudged' };
  return { ...bar, ...measured, status: measured.median <= most ? 'holds' : 'missed' };
}

const units = [
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'µs'],
];

/** Nanoseconds for people: three digits that count. */
export function duration(ns) {
  const [size, unit] = units.find(([least]) => Math.abs(ns) >= least) ?? [1, 'ns'];
  const value = ns / size;
  return `${Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${unit}`;
}
