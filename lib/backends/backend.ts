import { abortSignal, callback, options as checkOptions, instance, list, text, type U64 } from '../kvm/arguments.ts';
import { closeAll } from '../kvm/close-all.ts';
import { Advice } from '../kvm/constants.ts';
import { KvmError, stateError } from '../kvm/errors.ts';
import type { GuestMemfd } from '../kvm/guest-memfd.ts';
import type { Mapping } from '../kvm/mapping.ts';
import { pageSize as systemPageSize } from '../kvm/native.ts';
import { Vm } from '../kvm/vm.ts';
import { allocate } from './allocate.ts';
import { type Allocation, Undo } from './allocation.ts';
import { Attachment, type AttachOptions } from './attachment.ts';
import { discard } from './discard.ts';
import { BackendError } from './error.ts';
import { vmaFacts } from './host.ts';
import type { BackendNote } from './note.ts';
import { placement, setPolicy } from './numa.ts';
import { type Preallocated, type PreallocOptions, preallocate } from './prealloc.ts';
import type { MemoryBackendOptions } from './properties.ts';
import { propertyOf } from './properties.ts';
import type { ThreadContext } from './thread-context.ts';
import type { MemoryBackendType } from './types.ts';
import { checkObjectOptions, isShared } from './validate.ts';
import { checkValue, expected } from './values.ts';

/** What QMP's query-memdev tells of a backend, field by field. */
export interface Memdev {
  readonly id: string;
  readonly size: U64;
  readonly merge: boolean;
  readonly dump: boolean;
  readonly prealloc: boolean;
  readonly share: boolean;
  /** What was asked for. */
  readonly reserve: boolean;
  readonly 'host-nodes': readonly number[];
  readonly policy: 'default' | 'preferred' | 'bind' | 'interleave';
}

/** What a backend is and has: {@link Memdev}, and what query-memdev does not tell. */
export interface MemoryBackendState extends Memdev {
  readonly type: MemoryBackendType;
  /** The name of its block in a migration stream. */
  readonly 'ramblock-id': string;
  /** Bytes of a page. */
  readonly 'page-size': number;
  /** The file's path, where it has one. */
  readonly path: string | undefined;
  /** The file descriptor to pass to another process; undefined where there is none. It belongs to the backend. */
  readonly fd: number | undefined;
  /** Bytes that are in memory now (mincore). */
  readonly 'resident-bytes': number;
  /** Bytes that were allocated in private guest_memfds beside it; see {@link Attachment.privateBytes}. */
  readonly 'private-bytes': number;
  /** Whether the kernel keeps to the policy; undefined without one. */
  readonly 'policy-honoured': boolean | undefined;
  /** Whether KSM may merge its pages, as the kernel sees it. */
  readonly mergeable: boolean;
  readonly notes: readonly BackendNote[];
}

/** Options of {@link createMemoryBackend}. */
export interface CreateOptions {
  /** The VM that a guest_memfd is made for; others need none. */
  readonly vm?: Vm | undefined;
  /** The thread-contexts that prealloc-context can name. */
  readonly contexts?: readonly ThreadContext[];
  /** Stops preallocation; everything is given back. */
  readonly signal?: AbortSignal | undefined;
  /** Called while memory is preallocated. */
  readonly onProgress?: ((done: number, size: number) => void) | undefined;
}

const portion = 256 * 1024 * 1024;

/** A memory backend that lives: its memory is mapped, and can be attached to VMs. Made by {@link createMemoryBackend}. */
export class MemoryBackend implements Disposable {
  readonly #options: MemoryBackendOptions;
  readonly #allocation: Allocation;
  readonly #contexts: readonly ThreadContext[];
  readonly #attachments = new Set<Attachment>();
  readonly #notes: BackendNote[];
  #policyHonoured: boolean | undefined;
  #preallocated: Preallocated | undefined;
  #closed = false;

  private constructor(options: MemoryBackendOptions, allocation: Allocation, contexts: readonly ThreadContext[]) {
    this.#options = { ...options };
    this.#allocation = allocation;
    this.#contexts = contexts;
    this.#notes = [...(allocation.notes ?? [])];
  }

  /** @internal */
  static async create(given: MemoryBackendOptions, how: CreateOptions): Promise<MemoryBackend> {
    checkOptions('how', how);
    const options = checkObjectOptions(given);
    checkHow(how);
    if (options['qom-type'] === 'thread-context')
      throw new BackendError('this is no memory', { property: 'qom-type', value: 'thread-context' });
    how.signal?.throwIfAborted();
    const contexts = how.contexts ?? [];
    contextOf(options, contexts);
    const undo = new Undo();
    try {
      const allocation = allocate(options, how.vm, undo);
      undo.close(allocation.mapping);
      const backend = new MemoryBackend(options, allocation, contexts);
      backend.#advise();
      backend.#place();
      if (options.prealloc) await backend.#preallocate(how);
      return backend;
    } catch (error) {
      undo.run();
      throw error;
    }
  }

  /** Its options as they are now. */
  get options(): Readonly<MemoryBackendOptions> {
    return this.#options;
  }

  get id(): string {
    return this.#options.id;
  }

  get type(): MemoryBackendType {
    return this.#options['qom-type'];
  }

  /** Bytes. */
  get size(): U64 {
    return this.#options.size;
  }

  /** The memory in this process. */
  get mapping(): Mapping {
    return this.#live().mapping;
  }

  /** The guest_memfd, where it is one. */
  get guestMemfd(): GuestMemfd | undefined {
    return this.#live().guestMemfd;
  }

  /** True where the guest is kept from writing. */
  get rom(): boolean {
    return this.#allocation.rom ?? false;
  }

  /** The memslots that it is in. */
  get attachments(): readonly Attachment[] {
    for (const one of this.#attachments) if (one.closed || one.vm.closed) this.#attachments.delete(one);
    return [...this.#attachments];
  }

  /** How preallocation went; undefined where there was none. */
  get preallocated(): Preallocated | undefined {
    return this.#preallocated;
  }

  get closed(): boolean {
    return this.#closed;
  }

  #live(): Allocation {
    if (this.#closed) throw stateError(`memory backend ${this.#options.id} is closed`, 'ERR_CLOSED');
    return this.#allocation;
  }

  #advise(): void {
    const { mapping } = this.#allocation;
    // Both are wishes, and a kernel built without one or the other refuses it.
    for (const advice of [Advice.HUGEPAGE, Advice.DONTFORK]) this.#tryAdvice(advice);
    if (this.#options.merge !== false) this.#setMerge(true, this.#options.merge === true);
    if (this.#options.dump === false) mapping.advise(Advice.DONTDUMP);
  }

  #tryAdvice(advice: number): boolean {
    try {
      this.#allocation.mapping.advise(advice);
      return true;
    } catch (error) {
      if (error instanceof KvmError && error.code === 'EINVAL') return false;
      throw error;
    }
  }

  #setMerge(merge: boolean, wished: boolean): void {
    const done = this.#tryAdvice(merge ? Advice.MERGEABLE : Advice.UNMERGEABLE);
    if (!wished || !merge) return;
    if (!done)
      throw new BackendError('this kernel cannot merge pages', {
        property: 'merge',
        value: true,
        remedy: 'Leave it out; KSM needs CONFIG_KSM',
      });
    if (!vmaFacts(this.#allocation.mapping.address)?.flags.has('mg'))
      this.#note({
        kind: 'ignored',
        property: 'merge',
        message: 'the kernel accepts it and merges nothing: KSM looks at private anonymous memory only',
      });
  }

  #place(): void {
    const { mapping, file, guestMemfd, fileOffset = 0 } = this.#allocation;
    const source = guestMemfd ?? file;
    const remap =
      source && isShared(this.#options)
        ? () => source.map({ offset: fileOffset, length: this.#allocation.pageSize })
        : undefined;
    this.#policyHonoured = setPolicy(mapping, this.#options, remap);
    if (this.#policyHonoured === false)
      this.#note({
        kind: 'ignored',
        property: 'policy',
        message: guestMemfd
          ? 'the kernel accepts it and ignores it: guest_memfd keeps to a NUMA policy since Linux 6.19'
          : 'the kernel accepts it and ignores it: pages of this file system go where the thread that touches them is told to',
      });
  }

  async #preallocate(how: PreallocOptions): Promise<void> {
    const { mapping, pageSize, rom = false } = this.#allocation;
    const context = contextOf(this.#options, this.#contexts);
    this.#preallocated = await preallocate(mapping, this.#options, pageSize, rom, { context, ...how });
    if (this.#preallocated.touched)
      this.#note({
        kind: 'fallback',
        property: 'prealloc',
        message: 'the pages were touched one by one: MADV_POPULATE_WRITE needs Linux 5.14',
      });
  }

  #note(note: BackendNote): void {
    this.#notes.push(note);
  }

  /**
   * Puts the memory, or a part of it, into a memslot.
   *
   * @throws {BackendError} where KVM refuses the slot or the mode needs a guest_memfd; its `cause` is the kernel's answer
   *
   * @example
   * backend.attach(vm, { slot: 1, guestPhysAddr: 0x1_0000_0000 });
   */
  attach(vm: Vm, given: AttachOptions): Attachment {
    const attachment = new Attachment(vm, this.#live(), this.#options.size, given);
    this.#attachments.add(attachment);
    return attachment;
  }

  /**
   * Gives the pages of a range back; they read as zero afterwards. With a private guest_memfd beside it, only the shared
   * side.
   *
   * @param offset and `length` in bytes, multiples of the page size
   * @throws {BackendError} for a file that is open for reading only, or mapped with share=off
   */
  discard(offset: U64, length: U64): void {
    discard(this.#live(), isShared(this.#options), offset, length);
  }

  /**
   * Changes a property of the living backend: merge, dump, discard-data, prealloc-threads and prealloc-context at any
   * time, prealloc from off to on, which allocates now. All others are fixed with the memory.
   *
   * @throws {BackendError} for any other property or a wrong value
   */
  async change(property: string, value: unknown, how: Omit<PreallocOptions, 'context'> = {}): Promise<void> {
    const { mapping } = this.#live();
    checkHow(checkOptions('how', how));
    const row = propertyOf(this.type, text('property', property));
    if (!row) throw new BackendError(`${this.type} has no such property`, { property, value });
    if (!row.change)
      throw new BackendError('this cannot change any more: the memory is there', {
        property,
        value,
        remedy: 'Close the backend and make another',
      });
    const checked = checkValue(row, value);
    if (checked === undefined) throw new BackendError(`this is not ${expected(row)}`, { property, value });
    const changed = checkObjectOptions({ ...this.#options, [row.name]: checked }) as MemoryBackendOptions;
    if (row.name === 'prealloc-context') contextOf(changed, this.#contexts);
    if (row.name === 'merge') this.#setMerge(checked === true, true);
    if (row.name === 'dump') mapping.advise(checked ? Advice.DODUMP : Advice.DONTDUMP);
    const allocates = row.name === 'prealloc' && checked === true && this.#options.prealloc !== true;
    if (allocates) await this.#preallocate(how);
    Object.assign(this.#options, { [row.name]: checked });
  }

  /** What QMP's query-memdev would tell. */
  memdev(): Memdev {
    const { id, size, merge = true, dump = true, prealloc = false, reserve = true, policy = 'default' } = this.#options;
    const nodes = [...new Set(this.#options['host-nodes'] ?? [])].sort((a, b) => a - b);
    return { id, size, merge, dump, prealloc, share: isShared(this.#options), reserve, 'host-nodes': nodes, policy };
  }

  /** What the backend is and has now; looks at every page's presence, so it takes about 10 ms a GiB. */
  query(): MemoryBackendState {
    const { mapping, file, guestMemfd, pageSize, path } = this.#live();
    return {
      ...this.memdev(),
      type: this.type,
      'ramblock-id': this.#options['x-use-canonical-path-for-ramblock-id'] ? `/objects/${this.id}` : this.id,
      'page-size': pageSize,
      path,
      fd: (guestMemfd ?? file)?.fd,
      'resident-bytes': residentBytes(mapping),
      'private-bytes': this.attachments.reduce((sum, one) => sum + one.privateBytes, 0),
      'policy-honoured': this.#policyHonoured,
      mergeable: vmaFacts(mapping.address)?.flags.has('mg') ?? false,
      notes: [...this.#notes],
    };
  }

  /** How many bytes lie on each NUMA node, of those that this process has touched. */
  placement(): ReadonlyMap<number, number> {
    return placement(this.mapping);
  }

  /** Takes it out of all memslots and gives everything back. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { mapping, file, guestMemfd } = this.#allocation;
    const discard = { close: () => this.#discardData() };
    closeAll(...this.#attachments, discard, mapping, file, guestMemfd);
  }

  #discardData(): void {
    if (!('discard-data' in this.#options && this.#options['discard-data'])) return;
    try {
      this.#allocation.mapping.advise(Advice.REMOVE);
    } catch (error) {
      // EINVAL and EACCES: of a private or read-only mapping nothing can be removed. It is a hint for the last moment.
      if (!(error instanceof KvmError)) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function checkHow({ vm, contexts = [], signal, onProgress }: CreateOptions): void {
  if (vm !== undefined) instance('vm', Vm, vm);
  for (const one of list('contexts', contexts)) checkOptions('contexts', one);
  abortSignal('signal', signal);
  callback('onProgress', onProgress);
}

function contextOf(options: MemoryBackendOptions, contexts: readonly ThreadContext[]): ThreadContext | undefined {
  const id = options['prealloc-context'];
  if (id === undefined) return undefined;
  const context = contexts.find((one) => one.id === id);
  if (!context)
    throw new BackendError('there is no thread-context of this id', { property: 'prealloc-context', value: id });
  return context;
}

function residentBytes(mapping: Mapping): number {
  let pages = 0;
  for (let offset = 0; offset < mapping.length; offset += portion)
    for (const resident of mapping.residency(offset, Math.min(portion, mapping.length - offset))) if (resident) pages++;
  return pages * systemPageSize;
}

/**
 * Makes a memory backend real: allocates and maps its memory, sets its NUMA policy, preallocates it where that is asked
 * for. A construction that fails gives everything back.
 *
 * @param options as {@link parseObjectOption} gives them
 * @param how.vm the VM; needed for a guest_memfd only
 * @throws {BackendError} with the property that this host refuses
 * @throws the signal's reason when it was aborted
 *
 * @example
 * using backend = await createMemoryBackend({ 'qom-type': 'memory-backend-memfd', id: 'ram0', size: 1 << 30 });
 * backend.attach(vm, { slot: 1, guestPhysAddr: 0x1_0000_0000 });
 */
export function createMemoryBackend(options: MemoryBackendOptions, how: CreateOptions = {}): Promise<MemoryBackend> {
  return MemoryBackend.create(options, how);
}
