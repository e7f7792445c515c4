import type { U64 } from '../kvm/arguments.ts';
import type { MemoryBackendType, ObjectType } from './types.ts';

/** What values a property takes, by the words of its help. */
export type PropertyKind = 'size' | 'bool' | 'uint32' | 'uint16s' | 'string' | 'enum';

/** A row of the table: all that is known of a property. */
export interface PropertyRow {
  readonly name: string;
  /** Other spellings that are read as this one. */
  readonly aliases?: readonly string[];
  readonly kind: PropertyKind;
  /** The values of an enum. */
  readonly values?: readonly string[];
  readonly required?: true;
  /** As the help and the documentation show it. */
  readonly default: string;
  /** The first QEMU release with it; undefined where no release has it. */
  readonly since: string | undefined;
  readonly types: readonly ObjectType[];
  /** 'live' may change at any time, 'on' may be switched on later; all others are fixed with the memory. */
  readonly change?: 'live' | 'on';
  readonly documentation: string;
}

const every = [
  'memory-backend-ram',
  'memory-backend-memfd',
  'memory-backend-file',
  'memory-backend-shm',
  'memory-backend-epc',
  'memory-backend-guest-memfd',
] as const satisfies readonly MemoryBackendType[];
const file = ['memory-backend-file'] as const;
const memfd = ['memory-backend-memfd'] as const;
const context = ['thread-context'] as const;

/**
 * The properties of every object type. Types, validation, the parser, the serialiser, help and the documentation page are
 * all made from this table: a new property is one row.
 */
export const properties = [
  {
    name: 'size',
    kind: 'size',
    required: true,
    default: 'none, required',
    since: '2.1',
    types: every,
    documentation: 'Bytes, a multiple of the page size of the memory.',
  },
  {
    name: 'share',
    kind: 'bool',
    default: 'off for ram and file, on for the others',
    since: '2.1',
    types: every,
    documentation:
      'on: stores go to the file, and whoever maps it sees them. off: stores stay in this process. memory-backend-shm, -epc and -guest-memfd are always shared.',
  },
  {
    name: 'reserve',
    kind: 'bool',
    default: 'on',
    since: '6.1',
    types: every,
    documentation:
      'Reserve swap space, or huge pages, when the memory is mapped. off maps with MAP_NORESERVE and excludes prealloc=on.',
  },
  {
    name: 'prealloc',
    kind: 'bool',
    default: 'off',
    since: '2.1',
    types: every,
    change: 'on',
    documentation: 'Allocate every page now, after the NUMA policy is set. Switching it off later gives nothing back.',
  },
  {
    name: 'prealloc-threads',
    kind: 'uint32',
    default: 'the number of processors',
    since: '5.0',
    types: every,
    change: 'live',
    documentation: 'At most so many threads allocate: one for each 64 MiB, and never more than 32.',
  },
  {
    name: 'prealloc-context',
    kind: 'string',
    default: 'none',
    since: '7.2',
    types: every,
    change: 'live',
    documentation: 'The id of a thread-context: its processors run the threads. Without one, those of host-nodes do.',
  },
  {
    name: 'host-nodes',
    kind: 'uint16s',
    default: 'none',
    since: '2.1',
    types: every,
    documentation: 'NUMA nodes of the host for the policy, 0 to 127; repeat the key or write a range, 0-3.',
  },
  {
    name: 'policy',
    kind: 'enum',
    values: ['default', 'preferred', 'bind', 'interleave'],
    default: 'default',
    since: '2.1',
    types: every,
    documentation:
      'How host-nodes are used (mbind). Every policy but default needs host-nodes, and default excludes them.',
  },
  {
    name: 'merge',
    kind: 'bool',
    default: 'on',
    since: '2.1',
    types: every,
    change: 'live',
    documentation: 'Let KSM merge equal pages (MADV_MERGEABLE). The kernel merges private anonymous memory only.',
  },
  {
    name: 'dump',
    kind: 'bool',
    default: 'on',
    since: '2.1',
    types: every,
    change: 'live',
    documentation: 'Include the memory in core dumps; off sets MADV_DONTDUMP.',
  },
  {
    name: 'x-use-canonical-path-for-ramblock-id',
    kind: 'bool',
    default: 'off',
    since: '4.0',
    types: every,
    documentation:
      'Name the block /objects/ID instead of ID, for migration from machine types up to 4.0. To be taken for stable in spite of its x-.',
  },
  {
    name: 'mem-path',
    kind: 'string',
    required: true,
    default: 'none, required',
    since: '2.1',
    types: file,
    documentation:
      'The file, made where it does not exist, or a folder, in which a file without a name is made. One that has contents never grows.',
  },
  {
    name: 'align',
    kind: 'size',
    default: 'the page size',
    since: '2.1',
    types: file,
    documentation: 'Alignment of the host address: a power of two and a multiple of the page size. 2M for DAX.',
  },
  {
    name: 'offset',
    kind: 'size',
    default: '0',
    since: '8.1',
    types: file,
    documentation: 'Where in the file the memory begins, a multiple of the page size.',
  },
  {
    name: 'discard-data',
    kind: 'bool',
    default: 'off',
    since: '2.11',
    types: file,
    change: 'live',
    documentation: "Throw the file's contents away (MADV_REMOVE) when the backend goes.",
  },
  {
    name: 'pmem',
    kind: 'bool',
    default: 'off',
    since: '3.1',
    types: file,
    documentation:
      'The file is persistent memory: map it with MAP_SYNC where it is shared and lies on DAX, otherwise without, with a warning.',
  },
  {
    name: 'readonly',
    kind: 'bool',
    default: 'off',
    since: '6.0',
    types: file,
    documentation: 'Open the file for reading only. With share=off the guest still writes to pages of its own.',
  },
  {
    name: 'rom',
    kind: 'enum',
    values: ['on', 'off', 'auto'],
    default: 'auto',
    since: '8.2',
    types: file,
    documentation:
      'Whether the guest is kept from writing; auto: as readonly says. off with readonly=on and share=off is what VM templates need.',
  },
  {
    name: 'hugetlb',
    kind: 'bool',
    default: 'off',
    since: '2.12',
    types: memfd,
    documentation: 'Use reserved huge pages (hugetlb).',
  },
  {
    name: 'hugetlbsize',
    kind: 'size',
    default: "the system's default huge page size",
    since: '2.12',
    types: memfd,
    documentation:
      'The size of those pages, a power of two that the system has (2M, 1G). Without hugetlb=on it is ignored.',
  },
  {
    name: 'seal',
    kind: 'bool',
    default: 'on',
    since: '2.12',
    types: memfd,
    documentation:
      'Seal the file against growing and shrinking, so that nobody who has it can make this process fault.',
  },
  {
    name: 'x-guest-memfd',
    aliases: ['guest-memfd'],
    kind: 'enum',
    values: ['on', 'off', 'auto'],
    default: 'auto',
    since: undefined,
    types: memfd,
    documentation:
      'Make the file a guest_memfd. It must be shared and cannot have huge pages; it is never resized, so seal does nothing. auto: on where the VM converts in place.',
  },
  {
    name: 'cpu-affinity',
    kind: 'uint16s',
    default: 'none',
    since: '7.2',
    types: context,
    documentation: 'Processors that the threads run on. Excludes node-affinity.',
  },
  {
    name: 'node-affinity',
    kind: 'uint16s',
    default: 'none',
    since: '7.2',
    types: context,
    documentation: 'NUMA nodes whose processors the threads run on. Excludes cpu-affinity.',
  },
] as const satisfies readonly PropertyRow[];

type Row = (typeof properties)[number];
interface Kinds {
  size: U64;
  bool: boolean;
  uint32: number;
  uint16s: readonly number[];
  string: string;
}
type ValueOf<R extends Row> = R extends { values: readonly (infer V)[] } ? V : Kinds[Exclude<R['kind'], 'enum'>];
type RowOf<T extends ObjectType, R extends Row = Row> = R extends Row
  ? T extends R['types'][number]
    ? R
    : never
  : never;
type Required<R extends Row> = R extends { required: true } ? R : never;

type PropertiesOf<T extends ObjectType> = {
  [R in Required<RowOf<T>> as R['name']]: ValueOf<R>;
} & {
  [R in Exclude<RowOf<T>, Required<Row>> as R['name']]?: ValueOf<R> | undefined;
};

/** A value that some property can have. */
export type PropertyValue = U64 | boolean | string | readonly number[];

/** The properties that every memory backend has, by the names of the table. */
export type MemoryBackendProperties = PropertiesOf<'memory-backend-ram'>;
export type MemoryBackendFileProperties = PropertiesOf<'memory-backend-file'>;
export type MemoryBackendMemfdProperties = PropertiesOf<'memory-backend-memfd'>;
export type ThreadContextProperties = PropertiesOf<'thread-context'>;

interface Named<T extends ObjectType> {
  'qom-type': T;
  /** A letter, then letters, digits, `-`, `.` and `_`. */
  id: string;
}

/** A memory backend as it is asked for. Types without properties of their own take the shared record as it is. */
export type MemoryBackendOptions =
  | (Named<Exclude<MemoryBackendType, 'memory-backend-file' | 'memory-backend-memfd'>> & MemoryBackendProperties)
  | (Named<'memory-backend-file'> & MemoryBackendFileProperties)
  | (Named<'memory-backend-memfd'> & MemoryBackendMemfdProperties);

export type ThreadContextOptions = Named<'thread-context'> & ThreadContextProperties;

/** Whatever `-object` can be here. */
export type ObjectOptions = MemoryBackendOptions | ThreadContextOptions;

/** @internal An object whose type does not matter: every property of every type, given or not. */
export type LooseOptions = Named<ObjectType> & { [R in Row as R['name']]?: ValueOf<R> | undefined };

/** The rows of a type, in the table's order. */
export function propertiesOf(type: ObjectType): readonly PropertyRow[] {
  return (properties as readonly PropertyRow[]).filter((row) => row.types.includes(type));
}

/** The row of a property by any of its spellings; undefined where the type has none of that name. */
export function propertyOf(type: ObjectType, name: string): PropertyRow | undefined {
  return propertiesOf(type).find((row) => row.name === name || row.aliases?.includes(name));
}
