import { i32, options, type U64, u64 } from './arguments.ts';
import { FallocateMode, MemoryAttribute } from './constants.ts';
import { type CallArguments, KvmError } from './errors.ts';
import type { GuestMemfd } from './guest-memfd.ts';
import type { Mapping } from './mapping.ts';
import { type Handle, native } from './native.ts';
import type { Vm } from './vm.ts';

/** One kernel call of a conversion. Offsets and sizes are bytes. */
export type ConversionStep =
  /** KVM_SET_MEMORY_ATTRIBUTES (6.8). */
  | { readonly op: 'vmAttributes'; readonly vm: Vm; readonly offset: U64; readonly length: U64; readonly value: U64 }
  /** KVM_SET_MEMORY_ATTRIBUTES2 on the guest_memfd (pending). */
  | {
      readonly op: 'fileAttributes';
      readonly guestMemfd: GuestMemfd;
      readonly offset: U64;
      readonly length: U64;
      readonly value: U64;
    }
  /** fallocate with PUNCH_HOLE. */
  | { readonly op: 'punchHole'; readonly guestMemfd: GuestMemfd; readonly offset: U64; readonly length: U64 }
  /** madvise; the range must lie in the mapping. */
  | {
      readonly op: 'advise';
      readonly mapping: Mapping;
      readonly offset: U64;
      readonly length: U64;
      /** One of {@link Advice}. */
      readonly value: number;
    };

/** How far a list of steps came. */
export interface StepsOutcome {
  /** Steps that were done, from the beginning of the list. */
  readonly done: number;
  /** Why the next one was not. Its `arguments.errorOffset` names the page that stopped an in-place conversion. */
  readonly error: KvmError | undefined;
}

/** As native/addon/conversion.cpp numbers them. */
const kinds = { vmAttributes: 0, fileAttributes: 1, punchHole: 2, advise: 3 } as const;

/** Steps as the native side takes them: five 64-bit words each. */
class StepWords {
  readonly words: BigUint64Array;
  // By halves: to make a bigint of each number would take longer than everything else here.
  readonly #halves: Uint32Array;
  #at = 0;

  constructor(steps: number) {
    this.words = new BigUint64Array(5 * steps);
    this.#halves = new Uint32Array(this.words.buffer);
  }

  add(kind: number, handle: Handle, offset: U64, length: U64, value: U64): void {
    this.#put(kind);
    this.#put(handle);
    this.#put(offset);
    this.#put(length);
    this.#put(value);
  }

  #put(value: U64): void {
    const at = this.#at;
    this.#at += 2;
    // Every processor that this package knows is little-endian.
    this.#halves[at] = typeof value === 'number' ? value >>> 0 : Number(value & 0xffff_ffffn);
    this.#halves[at + 1] = typeof value === 'number' ? value / 2 ** 32 : Number(value >> 32n);
  }
}

/** A range and the {@link MemoryAttribute}s that it is to have. */
export interface AttributeRange {
  readonly address: U64;
  readonly size: U64;
  readonly attributes: U64;
}

/**
 * KVM_SET_MEMORY_ATTRIBUTES for each of the ranges, in one call of the addon.
 *
 * @returns how many were done, and the errno of the next one
 */
export function setAttributesOfRanges(vm: Handle, ranges: readonly AttributeRange[]): { done: number; status: number } {
  const steps = new StepWords(ranges.length);
  for (const range of ranges) {
    const { address, size, attributes } = options('ranges[]', range);
    steps.add(kinds.vmAttributes, vm, u64('address', address), u64('size', size), u64('attributes', attributes));
  }
  const outcome = new BigUint64Array(2);
  const status = native.convert(steps.words, outcome);
  return { done: Number(outcome[0]), status };
}

const callOf = (step: ConversionStep): [syscall: string, args: CallArguments] => {
  const { offset, length } = step;
  switch (step.op) {
    case 'vmAttributes':
      return ['ioctl(KVM_SET_MEMORY_ATTRIBUTES)', { address: offset, size: length, attributes: step.value }];
    case 'fileAttributes':
      return ['ioctl(KVM_SET_MEMORY_ATTRIBUTES2)', { offset, size: length, attributes: step.value }];
    case 'punchHole':
      return ['fallocate', { mode: FallocateMode.KEEP_SIZE | FallocateMode.PUNCH_HOLE, offset, length }];
    case 'advise':
      return ['madvise', { offset, length, advice: step.value }];
  }
};

/**
 * Does kernel calls one after the other until one fails, all in one call of the addon, and keeps the books of what they
 * changed. On the way to private in place, views over the range are detached before the first step.
 *
 * @throws where a step names an object that is closed, before the first is done
 */
export function performSteps(steps: readonly ConversionStep[]): StepsOutcome {
  const encoded = new StepWords(steps.length);
  for (const step of steps) {
    const handle =
      step.op === 'vmAttributes' ? step.vm.handle : step.op === 'advise' ? step.mapping.handle : step.guestMemfd.handle;
    const value =
      step.op === 'punchHole' ? 0 : step.op === 'advise' ? i32('value', step.value) : u64('value', step.value);
    encoded.add(kinds[step.op], handle, u64('offset', step.offset), u64('length', step.length), value);
  }
  for (const step of steps)
    if (step.op === 'fileAttributes' && (BigInt(step.value) & BigInt(MemoryAttribute.PRIVATE)) !== 0n)
      step.guestMemfd.detachViews(step.offset, step.length);
  const outcome = new BigUint64Array(2);
  const status = native.convert(encoded.words, outcome);
  const done = Number(outcome[0]);
  for (const step of steps.slice(0, done)) {
    if (step.op === 'vmAttributes') step.vm.attributesWereSet(step.offset, step.length, step.value);
    else if (step.op === 'fileAttributes') step.guestMemfd.attributesWereSet(step.offset, step.length, step.value);
  }
  const failed = steps[done];
  if (status >= 0 || !failed) return { done, error: undefined };
  const [syscall, args] = callOf(failed);
  // Only EAGAIN and ENOMEM write the offset; for other errors it is what it was, 0.
  const errorOffset = failed.op === 'fileAttributes' && [-11, -12].includes(status) ? { errorOffset: outcome[1] } : {};
  return { done, error: new KvmError(status, syscall, { ...args, ...errorOffset }) };
}
