import { options as checkOptions, list, shown } from '../kvm/arguments.ts';
import { BackendError } from './error.ts';
import { type LooseOptions, type ObjectOptions, propertiesOf, propertyOf } from './properties.ts';
import { type ObjectType, objectType, objectTypes } from './types.ts';
import { checkValue, expected } from './values.ts';

const maxNode = 127;

/** Whether stores to the memory are seen by others, given or by default. */
export function isShared(options: LooseOptions): boolean {
  return options.share ?? objectType(options['qom-type'])?.share ?? false;
}

/** Whether the memory is to be a guest_memfd; `auto` asks `convertsInPlace`. */
export function isGuestMemfd(options: LooseOptions, convertsInPlace = false): boolean {
  if (options['qom-type'] === 'memory-backend-guest-memfd') return true;
  if (options['qom-type'] !== 'memory-backend-memfd') return false;
  const wish = options['x-guest-memfd'] ?? 'auto';
  return wish === 'on' || (wish === 'auto' && convertsInPlace && isShared(options) && !options.hugetlb);
}

const powerOfTwo = (value: number | bigint) => BigInt(value) !== 0n && (BigInt(value) & (BigInt(value) - 1n)) === 0n;

/** How values go together. Each rule gives an error or nothing, and the first one counts. */
const rules: readonly ((options: LooseOptions) => BackendError | undefined)[] = [
  ({ size }) =>
    size !== undefined && BigInt(size) === 0n
      ? new BackendError('there is no memory of 0 bytes', { property: 'size', value: size })
      : undefined,
  (options) =>
    options['prealloc-threads'] === 0
      ? new BackendError('at least one thread is needed', {
          property: 'prealloc-threads',
          value: 0,
          remedy: 'Leave it out for one a processor',
        })
      : undefined,
  ({ prealloc, reserve }) =>
    prealloc === true && reserve === false
      ? new BackendError('prealloc=on allocates what reserve=off says not to reserve', {
          property: 'reserve',
          value: false,
          remedy: 'Leave one of the two out',
        })
      : undefined,
  ({ hugetlbsize }) =>
    hugetlbsize !== undefined && !powerOfTwo(hugetlbsize)
      ? new BackendError('huge pages have the size of a power of two', {
          property: 'hugetlbsize',
          value: hugetlbsize,
          remedy: "Leave it out for the system's default size",
        })
      : undefined,
  (options) => {
    const beyond = options['host-nodes']?.find((node) => node > maxNode);
    return beyond === undefined
      ? undefined
      : new BackendError(`node numbers go up to ${maxNode}`, { property: 'host-nodes', value: beyond });
  },
  (options) => {
    const { policy = 'default' } = options;
    const nodes = options['host-nodes'] ?? [];
    if (policy === 'default' && nodes.length > 0)
      return new BackendError('nodes without a policy would have no effect', {
        property: 'host-nodes',
        value: nodes,
        remedy: 'Add policy=bind, preferred or interleave, or leave the nodes out',
      });
    if (policy !== 'default' && nodes.length === 0)
      return new BackendError('the policy needs nodes', {
        property: 'policy',
        value: policy,
        remedy: 'Add host-nodes=0, for example',
      });
    return undefined;
  },
  (options) => {
    const type = options['qom-type'];
    if (options.share !== false) return undefined;
    const reasons: Record<string, string> = {
      'memory-backend-shm': 'shared memory is there to be shared',
      'memory-backend-epc': 'the enclave page cache can only be mapped shared',
      'memory-backend-guest-memfd': 'the kernel maps a guest_memfd only shared',
    };
    const reason =
      reasons[type] ?? (options['x-guest-memfd'] === 'on' ? reasons['memory-backend-guest-memfd'] : undefined);
    return reason === undefined
      ? undefined
      : new BackendError(reason, { property: 'share', value: false, remedy: 'Leave it out; it is on' });
  },
  (options) =>
    options['x-guest-memfd'] === 'on' && options.hugetlb === true
      ? new BackendError('a guest_memfd has no huge pages', {
          property: 'hugetlb',
          value: true,
          remedy: 'Leave it out, or leave x-guest-memfd=on out',
        })
      : undefined,
  ({ rom, readonly }) =>
    rom === 'on' && !readonly
      ? new BackendError('memory that the guest cannot write comes from a file opened for reading', {
          property: 'rom',
          value: rom,
          remedy: 'Add readonly=on',
        })
      : undefined,
  ({ rom, readonly, share }) =>
    rom === 'off' && readonly && share
      ? new BackendError('the guest cannot write to a shared file that is open for reading', {
          property: 'rom',
          value: rom,
          remedy: 'Use share=off, which gives it pages of its own, or leave readonly=on out',
        })
      : undefined,
  (options) =>
    options['mem-path'] === '' ? new BackendError('the path is empty', { property: 'mem-path', value: '' }) : undefined,
  ({ align }) =>
    align !== undefined && BigInt(align) !== 0n && !powerOfTwo(align)
      ? new BackendError('an alignment is a power of two', { property: 'align', value: align })
      : undefined,
  (options) =>
    options['cpu-affinity']?.length && options['node-affinity']?.length
      ? new BackendError('processors come from cpu-affinity or from node-affinity, not from both', {
          property: 'node-affinity',
          value: options['node-affinity'],
          remedy: 'Leave one of the two out',
        })
      : undefined,
];

/** @internal The type of an object, which decides what else it may have. */
export function requireType(name: unknown): ObjectType {
  const type = typeof name === 'string' ? objectType(name) : undefined;
  if (type) return type.name;
  throw new BackendError(name === undefined ? 'the object type is missing' : 'there is no such object type here', {
    property: 'qom-type',
    value: name,
    remedy: `Use one of ${objectTypes.map((one) => one.name).join(', ')}`,
  });
}

/**
 * Checks an object as a whole: known type and properties, values of the right type, and how they go together. What only
 * this host can tell (huge pages, nodes, files) {@link createMemoryBackend} finds out.
 *
 * @returns the object with properties by their first names
 * @throws {BackendError}
 */
export function checkObjectOptions(given: unknown): ObjectOptions {
  if (given === null || typeof given !== 'object') throw new BackendError('an object with qom-type and id is needed');
  const { 'qom-type': name, id, ...rest } = given as Record<string, unknown>;
  const type = requireType(name);
  if (id === undefined)
    throw new BackendError('the id is missing', { property: 'id', remedy: 'Add one: id=ram0, for example' });
  if (typeof id !== 'string' || !/^[a-zA-Z][a-zA-Z0-9._-]*$/.test(id))
    throw new BackendError('an id is a letter, then letters, digits, "-", "." and "_"', { property: 'id', value: id });
  const options: Record<string, unknown> = { 'qom-type': type, id };
  for (const [key, value] of Object.entries(rest)) {
    if (value === undefined) continue;
    const row = propertyOf(type, key);
    if (!row) throw new BackendError(`${type} has no such property`, { property: key, value });
    const checked = checkValue(row, value);
    if (checked === undefined)
      throw new BackendError(`this is not ${expected(row)}`, { property: row.name, value: describe(value) });
    options[row.name] = checked;
  }
  for (const row of propertiesOf(type))
    if (row.required && options[row.name] === undefined)
      throw new BackendError(`${type} needs it`, { property: row.name });
  for (const rule of rules) {
    const error = rule(options as unknown as LooseOptions);
    if (error) throw error;
  }
  return options as unknown as ObjectOptions;
}

function describe(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : shown(value);
}

/**
 * Checks objects that belong together: no id twice, and a prealloc-context that names a thread-context.
 *
 * @throws {BackendError}
 */
export function checkObjects(objects: readonly ObjectOptions[]): void {
  const byId = new Map<string, ObjectOptions>();
  for (const one of list('objects', objects)) {
    checkOptions('objects', one);
    if (byId.has(one.id)) throw new BackendError('another object has this id', { property: 'id', value: one.id });
    byId.set(one.id, one);
  }
  for (const one of objects) {
    if (one['qom-type'] === 'thread-context') continue;
    const context = one['prealloc-context'];
    if (context === undefined) continue;
    const found = byId.get(context);
    if (found?.['qom-type'] !== 'thread-context')
      throw new BackendError(found ? `that is a ${found['qom-type']}` : 'there is no object of this id', {
        property: 'prealloc-context',
        value: context,
        remedy: `Add the object thread-context,id=${found ? 'tc0' : context},node-affinity=0, for example`,
      });
  }
}
