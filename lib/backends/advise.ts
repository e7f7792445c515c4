import { options as checkOptions, flag, list, rangeError } from '../kvm/arguments.ts';
import { type HostFinding, hostFindings } from './advice-host.ts';
import {
  type AdviceCell,
  type AdviceRow,
  adviceTable,
  combinations,
  type Fit,
  type MemoryNeed,
} from './advice-table.ts';
import { BackendError } from './error.ts';
import { formatObjectOption } from './object-option.ts';
import { type MemoryBackendOptions, propertyOf } from './properties.ts';
import { type MemoryBackendType, objectType } from './types.ts';
import { checkObjectOptions } from './validate.ts';

/** What is known about one type for the needs asked about. */
export interface TypeAdvice {
  readonly type: MemoryBackendType;
  /** The worst of its cells. */
  readonly fit: Fit;
  /** One cell a need (`plain` where none was named), and `together` where what they ask for excludes each other. */
  readonly cells: Readonly<Record<string, AdviceCell>>;
}

/** What {@link adviseMemoryBackend} says. */
export interface Advice {
  readonly needs: readonly MemoryNeed[];
  /** The type to use; undefined where none serves every need. */
  readonly pick: MemoryBackendType | undefined;
  /** The pick as `-object` takes it. */
  readonly line: string | undefined;
  readonly options: MemoryBackendOptions | undefined;
  /** The first Linux and QEMU that take the line; null where no release does, undefined where any will do. */
  readonly kernel: string | null | undefined;
  readonly qemu: string | null | undefined;
  /** All types, the best first. */
  readonly types: readonly TypeAdvice[];
  /** What this host has of what the pick needs, when asked for. */
  readonly host?: readonly HostFinding[];
}

const order = ['yes', 'partly', 'no'] as const;
/** Which type comes first among those that serve equally well. */
const preference: readonly MemoryBackendType[] = [
  'memory-backend-ram',
  'memory-backend-memfd',
  'memory-backend-file',
  'memory-backend-shm',
  'memory-backend-guest-memfd',
  'memory-backend-epc',
];

const rank = (fit: Fit) => order.indexOf(fit);
const weight = (release: string) => release.split('.').reduce((sum, part) => sum * 1000 + Number(part), 0);

/** The newest of releases, where null, for none, is newer than all. */
function newest(releases: readonly (string | null | undefined)[]): string | null | undefined {
  if (releases.includes(null)) return null;
  return releases.filter((release) => typeof release === 'string').sort((a, b) => weight(b) - weight(a))[0];
}

/**
 * Says which memory backend to use for what is needed, from a table that has a reason in every cell.
 *
 * @param needs names of {@link adviceTable}'s rows
 * @param given.size of the memory in the line, default 1 GiB
 * @param given.id default 'ram0'
 * @param given.checkHost look at what this host has of what the pick needs
 *
 * @example
 * adviseMemoryBackend(['vhost-user', 'hugepages']).line;
 * // 'memory-backend-memfd,id=ram0,size=1G,share=on,hugetlb=on'
 */
export function adviseMemoryBackend(
  needs: readonly MemoryNeed[],
  given: { size?: number; id?: string; checkHost?: boolean } = {},
): Advice {
  const { size = 2 ** 30, id = 'ram0', checkHost = false } = checkOptions('options', given);
  flag('checkHost', checkHost);
  const wanted = [...new Set<string>(list('needs', needs))];
  // A confidential guest that converts in place has no second pool, so the row of those that have one does not apply.
  if (wanted.includes('in-place')) wanted.splice(wanted.indexOf('coco'), wanted.includes('coco') ? 1 : 0);
  const table: readonly AdviceRow[] = adviceTable;
  const rows = wanted.map((need) => {
    const found = table.find((row) => row.need === need);
    if (!found) throw rangeError('needs', `names of the table: ${table.map((row) => row.need).join(', ')}`, need);
    return found;
  });
  const together = combinations.filter(({ both }) => both.every((need) => wanted.includes(need)));
  const asked = rows.length > 0 ? [...rows, ...together] : table.filter((row) => row.need === 'plain');
  const plain = table.find((row) => row.need === 'plain');
  const types = preference
    .map((type) => consider(type, asked, plain, { 'qom-type': type, id, size }))
    .sort(
      (a, b) =>
        rank(a.fit) - rank(b.fit) || count(a, 'partly') - count(b, 'partly') || count(b, 'best') - count(a, 'best'),
    );
  const base = { needs: wanted as MemoryNeed[], types: types.map(({ type, fit, cells }) => ({ type, fit, cells })) };
  const best = types[0];
  if (!best?.options || best.fit === 'no')
    return { ...base, pick: undefined, line: undefined, options: undefined, kernel: undefined, qemu: undefined };
  const cells = Object.values(best.cells);
  const rowsUsed = Object.keys(best.options).map((name) => propertyOf(best.type, name));
  return {
    ...base,
    pick: best.type,
    line: formatObjectOption(best.options),
    options: best.options,
    kernel: newest([plain?.cells[best.type].kernel, ...cells.map((cell) => cell.kernel)]),
    qemu: newest([
      objectType(best.type)?.since ?? null,
      ...rowsUsed.map((row) => row && (row.since ?? null)),
      ...cells.map((cell) => cell.qemu),
    ]),
    ...(checkHost ? { host: hostFindings(best.options, wanted as MemoryNeed[]) } : {}),
  };
}

/** One type for all the needs: the worst cell counts, and what they ask for must go together. */
function consider(
  type: MemoryBackendType,
  asked: readonly AdviceRow[],
  plain: AdviceRow | undefined,
  base: object,
): TypeAdvice & { options: MemoryBackendOptions | undefined } {
  const cells: Record<string, AdviceCell> = Object.fromEntries(asked.map((row) => [row.need, row.cells[type]]));
  const worst = (): Fit =>
    Object.values(cells).reduce<Fit>((fit, cell) => (rank(cell.fit) > rank(fit) ? cell.fit : fit), 'yes');
  if (worst() === 'no') return { type, fit: 'no', cells, options: undefined };
  const properties: Record<string, unknown> = {};
  let conflict: string | undefined;
  for (const [need, cell] of Object.entries(cells))
    for (const [name, value] of Object.entries(cell.properties ?? {})) {
      if (name in properties && properties[name] !== value && name !== 'mem-path')
        conflict ??= `${need} needs another ${name} than the needs before it`;
      properties[name] = value;
    }
  try {
    const options = checkObjectOptions({
      ...base,
      ...plain?.cells[type].properties,
      ...properties,
    }) as MemoryBackendOptions;
    if (conflict === undefined) return { type, fit: worst(), cells, options };
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
    conflict = error.message;
  }
  cells['together'] = { fit: 'no', reason: conflict };
  return { type, fit: 'no', cells, options: undefined };
}

function count({ cells }: TypeAdvice, what: 'partly' | 'best'): number {
  return Object.values(cells).filter((cell) => (what === 'best' ? cell.best : cell.fit === 'partly')).length;
}
