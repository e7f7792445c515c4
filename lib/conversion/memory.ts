import { setTimeout as delay } from 'node:timers/promises';
import { options as checkOptions, flag, rangeError, typeError, type U64, u64 } from '../kvm/arguments.ts';
import { type ConversionAnswer, conversionModel } from '../kvm/conversion-model.ts';
import { performSteps } from '../kvm/conversion-steps.ts';
import type { VcpuExit } from '../kvm/exits.ts';
import { pageSize } from '../kvm/native.ts';
import { RangeMap } from '../kvm/range-map.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import { Vm } from '../kvm/vm.ts';
import { ConversionError, type GuestRange, hex, type MemoryState } from './errors.ts';
import { exportedViews, holdersOf } from './holders.ts';
import { isOnePool, piecesOf, statesOf } from './layout.ts';
import { type MemoryMap, type MemoryMapOptions, mapMemory } from './map.ts';
import {
  backedPieces,
  type Conversion,
  convertiblePieces,
  discardOf,
  type Effect,
  type PlannedStep,
  planConversion,
} from './plan.ts';
import { answerRequest, type ConversionOutcome, type ConversionPolicy, type ServeOptions, serve } from './serve.ts';

/** Options of {@link GuestMemory.convert}. */
export interface ConvertOptions {
  /**
   * With two pools, give back the pages of the side that the guest leaves, so that there is never twice the memory. In place
   * nothing is left. Default true.
   */
  readonly discard?: boolean;
  /** Milliseconds to try again when a page is in use (EAGAIN); 0 to try once. Default 1000. */
  readonly deadline?: number;
}

/** What listeners are told. */
export type MemoryEvent =
  /** About to be converted: whoever holds references to the pages (a pin) has to let go of them now. */
  | ({ readonly kind: 'converting'; readonly state: MemoryState } & GuestRange)
  /** What is told after the fact: `state` is what the range has become, or the side whose pages were given back. */
  | Effect;

export type MemoryListener = (event: MemoryEvent) => void;

/** A range as {@link GuestMemory.convertAll} takes it. */
export interface ConversionWish {
  readonly gpa: U64;
  readonly size: U64;
  readonly to: MemoryState;
}

/** Milliseconds between attempts while a page is in use: short at first, for most references are. */
const pauses = [1, 2, 4, 8, 16, 32];

/** A range as exact numbers. */
function exact<T extends { gpa: U64; size: U64; to?: MemoryState }>(path: string, range: T): T & GuestRange {
  const { gpa, size } = range;
  const at = u64(`${path}gpa`, gpa);
  const length = u64(`${path}size`, size);
  // Beyond exact numbers there is no memory; the range is refused with these words, and not with rounded ones.
  if (typeof at === 'bigint' || typeof length === 'bigint')
    throw new ConversionError(
      'ERR_CONVERSION_RANGE',
      { ...range, gpa: at, size: length },
      'it reaches beyond the highest address that guest memory can have',
    );
  return { ...range, gpa: at, size: length };
}

function wish(path: string, { gpa, size, to }: ConversionWish): Conversion {
  if (to !== 'private' && to !== 'shared') throw typeError(`${path}to`, "'private' or 'shared'", to);
  return exact(path, { gpa, size, to });
}

/**
 * A VM's memory as private and shared: what is what, and conversions between the two, for VMs whose memory changes pools and
 * for those whose pages stay where they are. `vm.memory` is the one of a VM.
 *
 * The books are kept by {@link Vm} and {@link GuestMemfd} themselves, so conversions that were made by their own calls count
 * too. What another process does to them is seen only by {@link map}.
 *
 * @example
 * await vm.memory.convert(0x1_0000_0000, 2 << 20, 'private');
 * vm.memory.stateAt(0x1_0000_0000); // 'private'
 */
export class GuestMemory {
  readonly vm: Vm;
  #answer: ConversionAnswer | undefined;
  readonly #listeners = new Set<MemoryListener>();

  /** Use {@link memoryOf} or `vm.memory`, which give the same object each time. @internal */
  constructor(vm: Vm) {
    this.vm = vm;
  }

  /**
   * How this VM's memory is converted and how that was found out: see {@link conversionModel}. Asked once.
   *
   * @throws {KvmError} where the VM cannot be asked
   */
  get conversion(): ConversionAnswer {
    this.#answer ??= conversionModel(this.vm);
    return this.#answer;
  }

  /**
   * Tells a listener of every range before it is converted, after, and when pages are given back. Only conversions and
   * discards made through this object are told. An error that a listener throws is passed on once the books are right.
   *
   * @returns disposable; ends it
   */
  listen(listener: MemoryListener): Disposable {
    if (typeof listener !== 'function') throw typeError('listener', 'a function', listener);
    // A listener that is there twice is told twice.
    const own: MemoryListener = (event) => listener(event);
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  #tell(events: readonly MemoryEvent[]): void {
    const errors: unknown[] = [];
    for (const event of events)
      for (const listener of this.#listeners)
        try {
          listener(event);
        } catch (error) {
          errors.push(error);
        }
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, `${errors.length} listeners failed`);
  }

  /** What is at an address: 'unbacked' where no memslot lies. */
  stateAt(gpa: U64): MemoryState | 'unbacked' {
    const [piece] = piecesOf(this.vm, { gpa: Number(u64('gpa', gpa)), size: 1 });
    if (!piece) return 'unbacked';
    const [part] = statesOf(this.vm, piece, this.conversion.model);
    return part?.state ?? 'unbacked';
  }

  /**
   * Makes a range private or shared. What is as wanted already stays; contents stay where the model is in-place and go
   * where it is two-pool.
   *
   * All kernel calls are made before this returns, unless a page is in use.
   *
   * @param gpa page-aligned, in bytes
   * @param size a multiple of the page size; the range may span memslots that all have a guest_memfd
   * @throws {ConversionError} as a rejection; its `converted` tells what was done before
   *
   * @example
   * await vm.memory.convert(gpa, 1 << 40, 'private'); // one range, however large
   */
  async convert(gpa: U64, size: U64, to: MemoryState, options: ConvertOptions = {}): Promise<void> {
    await this.#run([wish('', { gpa, size, to })], options);
  }

  /**
   * Converts many ranges, in their order, with one call of the addon. They are all checked before the first is converted.
   *
   * @throws {ConversionError} as {@link convert}
   */
  async convertAll(ranges: readonly ConversionWish[], options: ConvertOptions = {}): Promise<void> {
    if (!Array.isArray(ranges)) throw typeError('ranges', 'an array of ranges', ranges);
    await this.#run(
      // Not map(), which passes over what is missing in an array with holes.
      Array.from(ranges, (range: ConversionWish, i) => wish(`ranges[${i}].`, checkOptions(`ranges[${i}]`, range))),
      options,
    );
  }

  async #run(conversions: readonly Conversion[], given: ConvertOptions): Promise<void> {
    const { discard = true, deadline = 1000 } = checkOptions('options', given);
    flag('discard', discard);
    if (typeof deadline !== 'number') throw typeError('deadline', 'a number of milliseconds', deadline);
    if (!(deadline >= 0)) throw rangeError('deadline', 'from 0 on', deadline);
    if (conversions.length === 0) return;
    if (this.vm.closed) throw new ConversionError('ERR_CLOSED', conversions[0] as Conversion, 'the VM is closed');
    const answer = this.conversion;
    const checked = conversions.map((conversion) => ({
      conversion,
      pieces: convertiblePieces(this.vm, conversion, answer),
    }));
    const until = performance.now() + deadline;
    const converted: GuestRange[] = [];
    // What a step changes depends on what was before it, so ranges that overlap cannot be planned together.
    for (let from = 0; from < checked.length; ) {
      const batch = independent(checked.slice(from));
      from += batch.length;
      this.#tell(batch.map(({ conversion: { gpa, size, to } }) => ({ kind: 'converting', state: to, gpa, size })));
      const planned = batch.flatMap(({ conversion, pieces }) =>
        planConversion(this.vm, conversion, pieces, answer.model, discard).map((step) => ({ ...step, conversion })),
      );
      await this.#perform(planned, converted, until);
    }
  }

  async #perform(
    planned: readonly (PlannedStep & { conversion: Conversion })[],
    converted: GuestRange[],
    until: number,
  ): Promise<void> {
    const views = exportedViews(planned.map(({ step }) => step));
    for (let from = 0, attempt = 0; from < planned.length; ) {
      const rest = planned.slice(from);
      const fail = (code: ConversionError['code'], why: string, more: object = {}): never => {
        throw new ConversionError(code, (rest[0] as (typeof rest)[number]).conversion, why, { converted, ...more });
      };
      if (this.vm.closed) fail('ERR_CLOSED', 'the VM was closed meanwhile');
      const { done, error } = performSteps(rest.map(({ step }) => step));
      const effects = rest.slice(0, done).flatMap((step) => step.effects);
      converted.push(...effects.filter(({ kind }) => kind === 'converted').map(({ gpa, size }) => ({ gpa, size })));
      from += done;
      if (done > 0) attempt = 0;
      this.#tell(effects);
      const failed = rest[done];
      if (!error || !failed) continue;
      const { step, range } = failed;
      if (error.code === 'EAGAIN' && step.op === 'fileAttributes') {
        const pause = pauses[Math.min(attempt++, pauses.length - 1)] as number;
        if (performance.now() + pause < until) {
          await delay(pause);
          continue;
        }
        const offset = Number(error.arguments['errorOffset'] ?? 0);
        const at = range.gpa + offset - Number(step.offset);
        const holders = holdersOf(step.guestMemfd, offset, pageSize, views);
        fail(
          'ERR_CONVERSION_BUSY',
          `the page at ${hex(at)}, offset ${hex(offset)} of its guest_memfd, is still in use. ${
            holders.length > 0
              ? `It may be held by ${holders.join(', or ')}`
              : 'No view and no pin of this process is known to hold it: look for I/O under way, vCPUs, other processes and devices'
          }`,
          { cause: error, at, offset, holders },
        );
      }
      const given = step.op === 'punchHole' || step.op === 'advise';
      fail(
        'ERR_CONVERSION_FAILED',
        `${given ? 'it is converted, but what was left cannot be given back: ' : ''}${error.message}`,
        {
          cause: error,
          at: range.gpa,
        },
      );
    }
  }

  /**
   * Gives the pages of a range back to the kernel, on the side that the guest sees; touched again they read as zero. States
   * stay as they are.
   *
   * @throws {ConversionError} where a part lies in no memslot
   * @throws {KvmError} where the kernel refuses
   */
  discard(gpa: U64, size: U64): void {
    const { model } = this.conversion;
    const planned = backedPieces(this.vm, exact('', { gpa, size })).flatMap((piece) =>
      [...statesOf(this.vm, piece, model)].flatMap((part) =>
        discardOf(piece, part, part.state, isOnePool(piece, model)),
      ),
    );
    const { done, error } = performSteps(planned.map(({ step }) => step));
    this.#tell(planned.slice(0, done).flatMap(({ effects }) => effects));
    if (error) throw error;
  }

  /**
   * Runs a vCPU and does the conversions that its guest asks for (KVM_HC_MAP_GPA_RANGE, KVM_EXIT_MEMORY_FAULT), as a policy
   * decides, until it exits for another reason: see {@link serve}. The hypercall exits where
   * `vm.enableCapability(Capability.EXIT_HYPERCALL, [1 << HypercallNumber.MAP_GPA_RANGE])` was called.
   *
   * @returns that exit
   */
  serve(vcpu: Vcpu, policy?: ConversionPolicy, options?: ServeOptions): Promise<VcpuExit> {
    return serve(this, vcpu, policy, options);
  }

  /** Answers one exit of a vCPU, for loops of one's own: see {@link answerRequest}. */
  answer(
    vcpu: Vcpu,
    exit: VcpuExit,
    policy?: ConversionPolicy,
    options?: ConvertOptions,
  ): Promise<ConversionOutcome | undefined> {
    return answerRequest(this, vcpu, exit, policy, options);
  }

  /**
   * The memory map: the VM's memslots as segments of equal state, backing and residency, with what the kernel contradicts.
   *
   * @throws {KvmError} where the kernel cannot be asked
   */
  map(given: MemoryMapOptions = {}): MemoryMap {
    return mapMemory(this.vm, this.conversion, given);
  }
}

/** As many ranges from the beginning of a list as do not overlap. */
function independent<T extends { conversion: Conversion }>(list: readonly T[]): T[] {
  const taken = new RangeMap(false);
  const batch: T[] = [];
  for (const item of list) {
    const { gpa, size } = item.conversion;
    if ([...taken.ranges(gpa, gpa + size)].some(({ value }) => value)) break;
    taken.set(gpa, gpa + size, true);
    batch.push(item);
  }
  return batch;
}

const memories = new WeakMap<Vm, GuestMemory>();

/** The {@link GuestMemory} of a VM, always the same object; `vm.memory` is short for it. */
export function memoryOf(vm: Vm): GuestMemory {
  if (!(vm instanceof Vm)) throw typeError('vm', 'a Vm', vm);
  let memory = memories.get(vm);
  if (!memory) {
    memory = new GuestMemory(vm);
    memories.set(vm, memory);
  }
  return memory;
}
