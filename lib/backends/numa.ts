import { BindFlag, MemoryPolicy } from '../kvm/constants.ts';
import { KvmError } from '../kvm/errors.ts';
import type { Mapping } from '../kvm/mapping.ts';
import { pageSize } from '../kvm/native.ts';
import { BackendError } from './error.ts';
import { nodesWithMemory } from './host.ts';
import type { MemoryBackendOptions } from './properties.ts';

const modeMask = 0xfff; // the bits above are mode flags
const portion = 256 * 1024 * 1024;

/**
 * Sets the policy of a backend's memory.
 *
 * @param remap a second mapping of the same pages, where they belong to a file that is mapped shared
 * @returns whether the kernel keeps to it; undefined without a policy
 * @throws {BackendError} where the kernel refuses it
 */
export function setPolicy(
  mapping: Mapping,
  options: MemoryBackendOptions,
  remap: (() => Mapping) | undefined,
): boolean | undefined {
  const { policy = 'default', 'host-nodes': nodes = [] } = options;
  if (policy === 'default') return undefined;
  const flags = BindFlag.STRICT | BindFlag.MOVE;
  const bind = (mode: number) => mapping.bind({ mode, nodes, flags });
  try {
    if (policy === 'preferred') {
      try {
        bind(MemoryPolicy.PREFERRED_MANY);
      } catch (error) {
        // Before 5.15 there was one preferred node.
        if (!(error instanceof KvmError) || error.code !== 'EINVAL' || nodes.length > 1) throw error;
        bind(MemoryPolicy.PREFERRED);
      }
    } else bind(policy === 'bind' ? MemoryPolicy.BIND : MemoryPolicy.INTERLEAVE);
  } catch (cause) {
    if (!(cause instanceof KvmError)) throw cause;
    const there = nodesWithMemory();
    throw new BackendError(`mbind refuses it: ${cause.code}`, {
      property: 'host-nodes',
      value: nodes,
      remedy:
        cause.code === 'EINVAL'
          ? `Use nodes of this host that have memory: ${there.length > 0 ? there.join(', ') : 'it has no NUMA'}`
          : undefined,
      cause,
    });
  }
  return remap ? policyIsKept(mapping, remap) : true;
}

/**
 * Whether the policy belongs to the pages. mbind() on the mapping of a file that has no place for a policy succeeds and
 * marks this mapping only, where allocation never looks: then another mapping of the same pages shows none.
 */
function policyIsKept(mapping: Mapping, remap: () => Mapping): boolean {
  const set = mapping.policy().mode & modeMask;
  using other = remap();
  return (other.policy().mode & modeMask) === set;
}

/** How many bytes of a mapping lie on each node, by move_pages; pages that are not there count for none. */
export function placement(mapping: Mapping): ReadonlyMap<number, number> {
  const bytes = new Map<number, number>();
  for (let offset = 0; offset < mapping.length; offset += portion)
    for (const node of mapping.nodes(offset, Math.min(portion, mapping.length - offset)))
      if (node >= 0) bytes.set(node, (bytes.get(node) ?? 0) + pageSize);
  return bytes;
}
