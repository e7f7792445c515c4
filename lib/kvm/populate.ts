import {
  abortSignal,
  callback,
  instance,
  list,
  options,
  range,
  rangeError,
  typeError,
  type U64,
  u32,
  u64,
} from './arguments.ts';
import { checked } from './errors.ts';
import { Mapping } from './mapping.ts';
import { native, pageSize as systemPageSize } from './native.ts';

/** How to {@link populate}. */
export interface PopulateOptions {
  /** Where in the mapping, default from its beginning to its end. */
  offset?: U64;
  length?: U64;
  /** Bytes of the memory's own pages, where they are huge ones; default the system's page size. */
  pageSize?: U64;
  /** How many threads share the work, default 1; no more than there are pages. */
  threads?: number;
  /** The processors on which they may run, default any. */
  cpus?: readonly number[];
  /**
   * 'write' (the default) allocates pages for writing, 'read' maps what is there: for memory that cannot be written. The
   * kernel does both by madvise (MADV_POPULATE_*, 5.14); before, each page is touched, and 'touch' asks for that.
   */
  method?: 'write' | 'read' | 'touch';
  /** Stops the threads, at the latest after their next 8 MiB or page. */
  signal?: AbortSignal | undefined;
  /** Called now and then with the bytes done. */
  onProgress?: ((done: number) => void) | undefined;
}

/** What {@link populate} did. */
export interface Populated {
  readonly bytes: number;
  /** Milliseconds. */
  readonly time: number;
  /** True where pages had to be touched one by one: nothing else may have written there meanwhile. */
  readonly touched: boolean;
}

const methods = { write: 0, read: 1, touch: 2 } as const;
const progressInterval = 50;

/**
 * Makes every page of a range be there, on threads of its own.
 *
 * @throws {KvmError} with `arguments.offset` of the first page that could not be had: EFAULT for a private page or one
 *   beyond the file, ENOMEM, EHWPOISON; EINVAL where none of `cpus` can be used
 * @throws the signal's reason when it was aborted; pages that are there stay
 *
 * @example
 * using ram = mapAnonymous({ size: 1 << 30 });
 * await populate(ram, { threads: 4 });
 */
export async function populate(mapping: Mapping, given: PopulateOptions = {}): Promise<Populated> {
  instance('mapping', Mapping, mapping);
  const {
    offset = 0,
    length,
    pageSize = systemPageSize,
    threads = 1,
    cpus = [],
    method = 'write',
    signal,
    onProgress,
  } = options('options', given);
  const [at, count] = range(offset, length, mapping.length);
  const page = u64('pageSize', pageSize);
  if (BigInt(page) < BigInt(systemPageSize) || BigInt(page) & (BigInt(page) - 1n))
    throw rangeError('pageSize', 'a power of two, at least the page size of the system', pageSize);
  if (typeof method !== 'string' || !Object.hasOwn(methods, method))
    throw typeError('method', `one of ${Object.keys(methods).join(', ')}`, method);
  if (u32('threads', threads) === 0) throw rangeError('threads', 'at least 1', threads);
  callback('onProgress', onProgress);
  abortSignal('signal', signal)?.throwIfAborted();
  list('cpus', cpus);
  if (cpus.length > 0) probeAffinity(cpus);
  const started = performance.now();
  let finish = (): void => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const job = checked(
    native.populateStart(
      mapping.handle,
      at,
      count,
      page,
      threads,
      Uint32Array.from(cpus, (cpu) => u32('cpus', cpu)),
      methods[method],
      finish,
    ),
    'pthread_create',
  );
  const onAbort = () => native.populateCancel(job);
  signal?.addEventListener('abort', onAbort);
  const timer = onProgress && setInterval(() => onProgress(native.populateProgress(job)), progressInterval);
  try {
    await finished;
    const words = new BigUint64Array(3);
    const status = native.populateOutcome(job, words);
    const [bytes, errorOffset, touched] = Array.from(words, Number) as [number, number, number];
    checked(status, touched ? 'touch' : 'madvise(MADV_POPULATE)', { offset: errorOffset, length: count, done: bytes });
    if (bytes !== count) signal?.throwIfAborted();
    onProgress?.(bytes);
    return { bytes, time: performance.now() - started, touched: touched === 1 };
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', onAbort);
    native.close(job);
  }
}

/**
 * Whether threads may run on these processors.
 *
 * @throws {KvmError} EINVAL where none of them exists or may be used
 */
export function probeAffinity(cpus: readonly number[]): void {
  const list = Uint32Array.from(cpus, (cpu) => u32('cpus', cpu));
  checked(native.probeAffinity(list), 'sched_setaffinity', { cpus: cpus.join('+') });
}
