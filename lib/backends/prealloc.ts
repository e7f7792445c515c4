import { availableParallelism } from 'node:os';
import { KvmError } from '../kvm/errors.ts';
import type { Mapping } from '../kvm/mapping.ts';
import { type Populated, populate, probeAffinity } from '../kvm/populate.ts';
import { BackendError } from './error.ts';
import { cpusOfNodes } from './host.ts';
import { hugePagesRanOut } from './memfd.ts';
import type { MemoryBackendOptions } from './properties.ts';
import type { ThreadContext } from './thread-context.ts';
import { formatSize } from './values.ts';

const maxThreads = 32;
const bytesPerThread = 64 * 1024 * 1024;

/** How preallocation went: {@link Populated}, and by how many threads. */
export interface Preallocated extends Populated {
  readonly threads: number;
  /** Processors that they were kept to; none for anywhere. */
  readonly cpus: readonly number[];
}

export interface PreallocOptions {
  readonly context?: ThreadContext | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, size: number) => void) | undefined;
}

/** How many threads are worth it: as many as allowed, one for each 64 MiB, and never more than 32. */
export function threadCount(size: number, pageSize: number, wished: number | undefined): number {
  return Math.min(
    availableParallelism(),
    maxThreads,
    wished ?? maxThreads,
    Math.ceil(size / pageSize),
    Math.max(1, Math.floor(size / bytesPerThread)),
  );
}

/** The processors of nodes, if threads of this process may run there. */
function near(nodes: readonly number[]): readonly number[] {
  const cpus = cpusOfNodes(nodes);
  try {
    if (cpus.length > 0) probeAffinity(cpus);
    return cpus;
  } catch {
    return []; // a node without processors, or a cpuset without the node's
  }
}

/** Allocates every page of a backend's mapping. */
export async function preallocate(
  mapping: Mapping,
  options: MemoryBackendOptions,
  pageSize: number,
  rom: boolean,
  given: PreallocOptions,
): Promise<Preallocated> {
  const threads = threadCount(mapping.length, pageSize, options['prealloc-threads']);
  // The kernel zeroes a page where the thread runs: near its memory is cheaper.
  const cpus = given.context ? given.context.cpus : near(options['host-nodes'] ?? []);
  const { onProgress } = given;
  try {
    const done = await populate(mapping, {
      pageSize,
      threads,
      cpus,
      method: rom ? 'read' : 'write',
      signal: given.signal,
      onProgress: onProgress && ((bytes) => onProgress(bytes, mapping.length)),
    });
    return { ...done, threads, cpus };
  } catch (cause) {
    if (!(cause instanceof KvmError)) throw cause;
    const offset = Number(cause.arguments['offset'] ?? 0);
    if (cause.code === 'EFAULT' && 'hugetlb' in options && options.hugetlb)
      throw hugePagesRanOut(pageSize, offset, cause);
    throw new BackendError(`the page at offset ${formatSize(offset)} cannot be had (${cause.code})`, {
      property: 'prealloc',
      value: true,
      remedy: cause.code === 'ENOMEM' ? 'There is not so much memory; use less' : undefined,
      cause,
    });
  }
}
