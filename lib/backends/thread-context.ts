import { KvmError } from '../kvm/errors.ts';
import { probeAffinity } from '../kvm/populate.ts';
import { BackendError } from './error.ts';
import { cpusOfNodes } from './host.ts';
import type { ThreadContextOptions } from './properties.ts';
import { checkObjectOptions } from './validate.ts';

/** Where preallocation threads run: a thread-context, made by {@link createThreadContext}. */
export interface ThreadContext {
  readonly id: string;
  /** Processors; none for anywhere. */
  readonly cpus: readonly number[];
}

/**
 * Makes a thread-context: finds the processors and whether threads of this process may run there.
 *
 * @throws {BackendError} where the nodes have no processors, or none of the processors can be used
 *
 * @example
 * const context = createThreadContext({ 'qom-type': 'thread-context', id: 'tc0', 'node-affinity': [0] });
 */
export function createThreadContext(options: ThreadContextOptions): ThreadContext {
  const checked = checkObjectOptions(options) as ThreadContextOptions;
  const nodes = checked['node-affinity'] ?? [];
  const cpus = nodes.length > 0 ? cpusOfNodes(nodes) : [...new Set(checked['cpu-affinity'] ?? [])];
  if (nodes.length > 0 && cpus.length === 0)
    throw new BackendError('these nodes have no processors on this host', { property: 'node-affinity', value: nodes });
  if (cpus.length > 0) {
    try {
      probeAffinity(cpus);
    } catch (cause) {
      if (!(cause instanceof KvmError)) throw cause;
      throw new BackendError(`no thread of this process may run there (${cause.code})`, {
        property: nodes.length > 0 ? 'node-affinity' : 'cpu-affinity',
        value: nodes.length > 0 ? nodes : cpus,
        remedy: 'Choose processors that are online and in the cpuset of this process',
        cause,
      });
    }
  }
  return { id: checked.id, cpus };
}
