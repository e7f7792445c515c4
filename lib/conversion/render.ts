import { list, options, text, typeError, u64 } from '../kvm/arguments.ts';
import { hex } from './errors.ts';
import type { MemoryMap, MemorySegment } from './map.ts';

const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** '2 MiB', '4 KiB', '1.5 GiB'. */
export function sizeText(size: number): string {
  let unit = 0;
  let value = size;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}

/** What a place of the picture shows. */
type Look = 'shared' | 'shared, untouched' | 'private' | 'private, untouched' | 'no memslot' | 'both' | 'disagreement';

const looks: Readonly<Record<Look, { readonly sign: string; readonly colour: string }>> = {
  shared: { sign: 'S', colour: '#4c9a5b' },
  'shared, untouched': { sign: 's', colour: '#bfe0c5' },
  private: { sign: 'P', colour: '#b4453a' },
  'private, untouched': { sign: 'p', colour: '#ecc2bd' },
  'no memslot': { sign: '.', colour: '#d9d9d9' },
  both: { sign: 'x', colour: '#c9a227' },
  disagreement: { sign: '!', colour: '#000000' },
};

function lookOf({ state, resident, disagreement }: MemorySegment): Look {
  if (disagreement) return 'disagreement';
  if (state === 'unbacked') return 'no memslot';
  return resident === false ? `${state}, untouched` : state;
}

const worst: readonly Look[] = ['disagreement', 'both'];

/** A map as the functions here take it: one that was read from a file may be anything. */
function checkMap(map: MemoryMap): MemoryMap {
  const { model, reason, segments } = options('map', map);
  text('map.model', model);
  text('map.reason', reason);
  for (const [i, segment] of list('map.segments', segments).entries()) {
    const { gpa, size, state } = options(`map.segments[${i}]`, segment);
    for (const [name, value] of Object.entries({ gpa, size })) {
      u64(`map.segments[${i}].${name}`, value);
      if (typeof value !== 'number') throw typeError(`map.segments[${i}].${name}`, 'a number', value);
    }
    if (!['private', 'shared', 'unbacked'].includes(state))
      throw typeError(`map.segments[${i}].state`, "'private', 'shared' or 'unbacked'", state);
  }
  return map;
}

/** What is seen of a place where several segments meet. */
function blend(found: ReadonlySet<Look>): Look {
  for (const look of worst) if (found.has(look)) return look;
  const [first = 'no memslot', ...others] = found;
  return others.length === 0 ? first : 'both';
}

const rowLength = 64;
const maxRows = 16;

interface Picture {
  /** Bytes of one place. */
  readonly place: number;
  readonly start: number;
  readonly looks: readonly Look[];
}

/** The map as at most 1024 places of equal size, a power of two of bytes from 4 KiB on. */
function pictureOf({ segments }: MemoryMap): Picture {
  // Not of the first and the last: a map that was read from a file may be in any order.
  const start = segments.reduce((least, { gpa }) => Math.min(least, gpa), segments[0]?.gpa ?? 0);
  const span = segments.reduce((most, { gpa, size }) => Math.max(most, gpa + size - start), 0);
  let place = 4096;
  while (span / place > rowLength * maxRows) place *= 2;
  const found: Set<Look>[] = Array.from({ length: Math.ceil(span / place) }, () => new Set());
  for (const segment of segments) {
    const look = lookOf(segment);
    const to = Math.ceil((segment.gpa + segment.size - start) / place);
    for (let i = Math.floor((segment.gpa - start) / place); i < to; i++) found[i]?.add(look);
  }
  return { place, start, looks: found.map(blend) };
}

const yesNo = (value: boolean | undefined) => (value === undefined ? 'unknown' : value ? 'yes' : 'no');
const rangeText = ({ gpa, size }: { gpa: number; size: number }) => `${hex(gpa)}-${hex(gpa + size - 1)}`;

/** Rows of a list beyond which it is cut: the picture shows the rest. */
const maxListed = 40;

function listed(segments: readonly MemorySegment[]): string[] {
  const rows = segments
    .slice(0, maxListed)
    .map((segment) => [
      rangeText(segment),
      sizeText(segment.size),
      segment.state,
      segment.state === 'unbacked' ? '' : `in memory: ${yesNo(segment.resident)}`,
      segment.slot === undefined ? '' : `slot ${segment.slot}, ${segment.backing}`,
      segment.stale ? `${sizeText(segment.stale)} in memory on the other side` : '',
      segment.disagreement ? `DISAGREEMENT: ${segment.disagreement}` : '',
    ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => (row[column] as string).length)));
  const lines = rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .filter((cell, i) => i < 4 || cell !== '')
      .join('  ')
      .trimEnd(),
  );
  if (segments.length > maxListed) lines.push(`and ${segments.length - maxListed} more segments`);
  return lines;
}

/** The map as text: a picture of signs, what they mean, and the segments. */
export function textMap(map: MemoryMap): string {
  const { place, start, looks: places } = pictureOf(checkMap(map));
  const rows: string[] = [];
  for (let at = 0; at < places.length; at += rowLength) {
    const signs = places.slice(at, at + rowLength).map((look) => looks[look].sign);
    rows.push(`${hex(start + at * place).padStart(16)}  ${signs.join('')}`);
  }
  const seen = Object.entries(looks).filter(([look]) => places.includes(look as Look));
  const legend = seen.map(([look, { sign }]) => `${sign} ${look === 'both' ? 'several of them' : look}`).join('   ');
  return [
    `conversion: ${map.model} (${map.reason})`,
    `${map.segments.length} segments, ${sizeText(place)} a sign: ${legend}`,
    '',
    ...rows,
    '',
    ...listed(map.segments),
    '',
  ].join('\n');
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (text: string) => text.replace(/[&<>"]/g, (sign) => entities[sign] as string);

const cell = 12;
const left = 130;

/** The map as an SVG picture of its own: 64 places a row, each segment with a title that tells it. */
export function svgMap(map: MemoryMap): string {
  const { place, start, looks: places } = pictureOf(checkMap(map));
  const rows = Math.max(1, Math.ceil(places.length / rowLength));
  const top = 40;
  const height = top + rows * cell + 40;
  const width = left + rowLength * cell + 20;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="monospace" font-size="11">`,
    `<title>${escaped(`Guest memory, ${map.model}: ${map.reason}`)}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="10" y="20">${escaped(`${map.model}, ${map.segments.length} segments, ${sizeText(place)} a cell`)}</text>`,
  ];
  for (let row = 0; row < rows; row++)
    parts.push(`<text x="10" y="${top + row * cell + 10}">${hex(start + row * rowLength * place)}</text>`);
  // Runs of the same look in a row make one rectangle, so that the file grows with what is to be seen.
  for (let i = 0; i < places.length; ) {
    const look = places[i] as Look;
    const row = Math.floor(i / rowLength);
    let end = i + 1;
    while (end < places.length && places[end] === look && end % rowLength !== 0) end++;
    const range = rangeText({ gpa: start + i * place, size: (end - i) * place });
    parts.push(
      `<rect x="${left + (i % rowLength) * cell}" y="${top + row * cell}" width="${(end - i) * cell}" height="${cell - 1}" fill="${looks[look].colour}"><title>${escaped(`${range}: ${look}`)}</title></rect>`,
    );
    i = end;
  }
  let x = 10;
  for (const [look, { colour }] of Object.entries(looks)) {
    if (!places.includes(look as Look)) continue;
    const name = look === 'both' ? 'several' : look;
    parts.push(
      `<rect x="${x}" y="${height - 24}" width="10" height="10" fill="${colour}"/>`,
      `<text x="${x + 14}" y="${height - 15}">${name}</text>`,
    );
    x += 30 + name.length * 7;
  }
  return `${parts.join('\n')}\n</svg>\n`;
}

/** The map as JSON for machines: addresses are hexadecimal text, sizes are bytes. */
export function jsonMap(map: MemoryMap): string {
  const segments = checkMap(map).segments.map(({ gpa, resident, stale, slot, ...rest }) => ({
    gpa: hex(gpa),
    ...rest,
    resident: resident ?? null,
    stale: stale ?? null,
    slot: slot ?? null,
  }));
  return `${JSON.stringify({ schemaVersion: 1, model: map.model, reason: map.reason, segments }, null, 2)}\n`;
}
