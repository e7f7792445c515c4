import { duration } from './statistics.mjs';

const number = (value) => value.toPrecision(3);

/** The bar in words: '≤ 1.65 × C'. */
export function barText({ against, as = 'ratio', most }) {
  if (as === 'ratio') return `≤ ${most} × ${against}`;
  return as === 'over' ? `≤ ${duration(most)} over ${against}` : `≤ ${duration(most)}`;
}

/** What was measured of a bar, with its quartiles. */
export function measuredText({ as = 'ratio', median, low, high }) {
  if (median === undefined) return '–';
  const show = as === 'ratio' ? number : duration;
  return `${show(median)} (${show(low)} to ${show(high)})`;
}

const verdicts = { holds: 'holds', missed: '**missed**', unjudged: 'not judged' };

function rowsOf(result) {
  const title = result.note ? `${result.title} (${result.note})` : result.title;
  if (result.status !== 'measured')
    return [
      [
        `\`${result.name}\``,
        title,
        '–',
        result.bars.map(barText).join('; '),
        '–',
        `${result.status}: ${result.reason}`,
      ],
    ];
  const times = Object.entries(result.contestants)
    .map(([who, { median }]) => `${who} ${duration(median)}`)
    .join(', ');
  return result.bars.map((bar, i) => {
    const why = bar.median === undefined ? (result.absent ?? []).join('; ') : 'a time of an emulated machine';
    const absent = bar.status === 'unjudged' ? `: ${why}` : '';
    return [
      i === 0 ? `\`${result.name}\`` : '',
      i === 0 ? title : '',
      i === 0 ? times : '',
      barText(bar),
      measuredText(bar),
      `${verdicts[bar.status]}${absent}`,
    ];
  });
}

const header = ['case', 'what', 'medians', 'bar', 'measured (quartiles)', ''];

/** The machine in a sentence or two. */
export function factsText({ date, kernel, cpu, cpus, node, rounds, load, emulated }) {
  return (
    `${date}, Linux ${kernel}, ${cpu}, ${cpus} processors, Node ${node}, ${rounds} rounds, load ${load} before.` +
    (emulated ? ` Emulated (${emulated}): neither figures nor ratios are those of hardware.` : '')
  );
}

/** Everything as Markdown. */
export function markdown({ facts, results }) {
  const row = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [
    factsText(facts),
    '',
    row(header),
    row(header.map(() => '---')),
    ...results.flatMap(rowsOf).map(row),
    '',
  ].join('\n');
}

/** How many bars hold, are missed and could not be judged. */
export function count(results) {
  const counted = { holds: 0, missed: 0, unjudged: 0 };
  for (const { bars } of results) for (const { status } of bars) counted[status]++;
  return counted;
}

/** One result for a terminal. */
export function lines(result) {
  if (result.status !== 'measured') return [`${result.status.padEnd(9)} ${result.name}: ${result.reason}`];
  const times = Object.entries(result.contestants).map(([who, { median }]) => `${who} ${duration(median)}`);
  return [
    `${'measured'.padEnd(9)} ${result.name}: ${times.join(', ')}`,
    ...result.bars.map((bar) => `          ${bar.status.padEnd(8)} ${barText(bar)}: ${measuredText(bar)}`),
    ...(result.absent ?? []).map((text) => `          absent   ${text}`),
  ];
}
