import { readlinkSync } from 'node:fs';
import { type CallName, type CallObserver, type NativeCall, unobserved } from '../../kvm/trace.ts';
import { callDescriptions } from './calls.ts';
import { guestState } from './guest-state.ts';

/** What a buffer held when a call was over. */
export interface CapturedBytes {
  readonly length: number;
  /** The one byte that it consists of; known where the log keeps everything. */
  readonly uniform?: number;
  /** All of it, or its beginning where the log keeps the last calls only; empty where `uniform` is there. */
  readonly bytes: Uint8Array;
}

/** A call with what its buffers held. */
export interface CapturedCall {
  readonly name: CallName;
  readonly args: readonly unknown[];
  readonly begin: number;
  readonly end: number;
  /** Undefined for a call that is under way. */
  readonly result: number | bigint | undefined;
  readonly exit?: Uint8Array | undefined;
  readonly subject?: unknown;
  /** Its number since the check began. */
  readonly index: number;
  /** Of what it created, where the log keeps everything: the descriptor, or the address of a mapping. */
  readonly created?: number | bigint | undefined;
  /** The file behind a descriptor that it was given, where the log keeps everything. */
  readonly file?: string | undefined;
}

/** A moment in a check. */
export interface Moment {
  /** How many calls there had been. */
  readonly calls: number;
  /** The state of the vCPU that ran last. */
  readonly guest: Readonly<Record<string, string>> | undefined;
}

/** True for an argument that was a buffer. */
export function isBytes(value: unknown): value is CapturedBytes {
  return typeof value === 'object' && value !== null && 'bytes' in value;
}

const head = 64;
const recentCount = 32;
/** What a log of everything may hold: beyond it no reproducer could be read by anybody. */
const mostCalls = 100_000;

/** What a view shows: nothing where it is detached, or claims to be longer than it is. To look must never fail a call. */
function contentOf(view: ArrayBufferView): Buffer {
  try {
    return Buffer.from(view.buffer, view.byteOffset, view.byteLength);
  } catch {
    return Buffer.alloc(0);
  }
}

function capture(value: unknown, whole: boolean): unknown {
  if (!ArrayBuffer.isView(value)) return value;
  const all = contentOf(value);
  const { length } = all;
  if (!whole) return { length, bytes: new Uint8Array(all.subarray(0, head)) } satisfies CapturedBytes;
  const uniform = length > head && all.subarray(1).equals(all.subarray(0, -1)) ? all[0] : undefined;
  return uniform === undefined
    ? ({ length, bytes: new Uint8Array(all) } satisfies CapturedBytes)
    : ({ length, uniform, bytes: new Uint8Array(0) } satisfies CapturedBytes);
}

/** Which descriptor or address a new object has. */
function createdBy({ name, args, result }: NativeCall): number | bigint | undefined {
  const { creates } = callDescriptions[name];
  if (!creates || typeof result !== 'number' || result < 0) return undefined;
  if (creates === 'pin' || creates === 'child') return undefined;
  return creates === 'map' ? (args[7] as BigUint64Array)[0] : unobserved.fd(result);
}

/** The descriptor that a call was given beside its own object: it may be none of the library's. */
export function descriptorOf({ name, args }: Pick<NativeCall, 'name' | 'args'>): unknown {
  if (name === 'vmSetUserMemoryRegion') return args[6];
  return name === 'map' || name.startsWith('raw') || name.startsWith('file') ? args[0] : undefined;
}

/** What it leads to. */
function fileOf(call: NativeCall): string | undefined {
  const fd = descriptorOf(call);
  if (typeof fd !== 'number' || fd < 0) return undefined;
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined; // not open
  }
}

/** The kernel calls of one check: the last ones, or all of them. */
export class CallLog implements CallObserver {
  /** A call that will be told by `onEnd` begins, for it may be the one that never ends. */
  onBegin: ((call: CapturedCall) => void) | undefined;
  onEnd: ((call: CapturedCall) => void) | undefined;
  readonly #whole: boolean;
  #calls: CapturedCall[] = [];
  #count = 0;
  #moment: Moment | undefined;
  #lastRun: CapturedCall | undefined;
  /** When the check began, as performance.now(). */
  began = 0;
  /** How many calls there had been when the check took up its present configuration. */
  configured = 0;

  /** @param whole keep every call and every byte, for a reproducer */
  constructor(whole = false) {
    this.#whole = whole;
  }

  /** A check begins. */
  reset(): void {
    this.began = performance.now();
    this.#calls = [];
    this.#count = 0;
    this.configured = 0;
    this.#moment = undefined;
    this.#lastRun = undefined;
  }

  #captured(call: NativeCall): CapturedCall {
    const { fields } = callDescriptions[call.name];
    return {
      name: call.name,
      args: call.args.map((arg, i) => (fields[i]?.[1] === 'hidden' ? undefined : capture(arg, this.#whole))),
      begin: call.begin,
      end: call.end,
      result: call.result as number | bigint | undefined,
      exit: call.exit,
      subject: call.subject,
      index: this.#count,
      ...(this.#whole && call.end > 0 ? { created: createdBy(call), file: fileOf(call) } : {}),
    };
  }

  begin(call: NativeCall): void {
    this.onBegin?.(this.#captured(call));
  }

  end(call: NativeCall): void {
    const captured = this.#captured(call);
    this.#count++;
    if (call.name === 'vcpuRun' || call.name === 'vcpuRunDone') this.#lastRun = captured;
    this.#calls.push(captured);
    // Trimmed now and then: shifting a list at each call would cost more than the call's own record.
    if (!this.#whole && this.#calls.length >= 4 * recentCount) this.#calls = this.#calls.slice(-recentCount);
    this.onEnd?.(captured);
  }

  guestLeft(): void {
    this.#moment = this.now();
  }

  /** The moment at which the guest was last seen to leave its commands, where that was its last run. */
  get whenGuestLeft(): Moment | undefined {
    return this.#moment && this.#lastRun && this.#moment.calls > this.#lastRun.index ? this.#moment : undefined;
  }

  /** The moment after the last call that came back as told, where it is among those kept; else now. */
  whenLast(isIt: (call: CapturedCall) => boolean): Moment {
    const call = this.#calls.findLast(isIt);
    return call ? { ...this.now(), calls: call.index + 1 } : this.now();
  }

  /** How many calls there have been since the check began. */
  get count(): number {
    return this.#count;
  }

  /** What is so now; the registers of a vCPU that is closed or running cannot be had. */
  now(): Moment {
    return { calls: this.#count, guest: this.#lastRun && guestState(this.#lastRun) };
  }

  /** The last calls up to a moment. */
  recent(moment: Moment | undefined): CapturedCall[] {
    const before = moment?.calls ?? this.#count;
    return this.#calls.filter((call) => call.index < before).slice(-recentCount);
  }

  /** All calls, where all were kept; undefined where they were not, or were too many. */
  get all(): readonly CapturedCall[] | undefined {
    return this.#whole && this.#count <= mostCalls ? this.#calls : undefined;
  }
}

let active: CallLog | undefined;

/** The log of the check under way. */
export function activeLog(): CallLog | undefined {
  return active;
}

/** @internal */
export function setActiveLog(log: CallLog | undefined): void {
  active = log;
}
