import { bytes, timeout as checkTimeout, options, rangeError, typeError, type U64, u64 } from './arguments.ts';
import { ExitReason } from './constants.ts';
import { checked, errnoName, KvmError, stateError } from './errors.ts';
import { decodeExit, decodeMemoryFault, exitBlockLayout, exitReasonOf, type VcpuExit } from './exits.ts';
import { type Handle, native } from './native.ts';
import {
  decodeGeneral,
  decodeSpecial,
  encodeGeneral,
  encodeSpecial,
  type GeneralRegisters,
  generalRegisterNames,
  registerSizes,
  type SpecialRegisterChanges,
  type SpecialRegisters,
} from './registers.ts';
import { FdResource } from './resource.ts';
import type { Vm } from './vm.ts';

/** What native/core/vcpu.hpp calls VcpuState. */
const State = { getGeneral: 0, setGeneral: 1, getSpecial: 2, setSpecial: 3 } as const;
/** What native/core/vcpu.hpp calls RunEnd, besides errnos. */
const RunEnd = { exit: 0, timeout: 1, stopped: 2 } as const;

const defaultTimeout = 10_000;

/** How long a run may take, in milliseconds. */
export interface RunOptions {
  /** Milliseconds until the guest is stopped; Infinity for no limit. Default 10,000. */
  timeout?: number;
}

/** What was left of {@link Vcpu.preFault}. */
export interface PreFaultProgress {
  /** Bytes mapped. */
  readonly done: bigint;
  /** Where the next call would go on, and how many bytes it would have to do. */
  readonly guestPhysAddr: bigint;
  readonly remaining: bigint;
}

/**
 * A virtual CPU. Made by {@link Vm.createVcpu}. A guest that does not come back cannot hang the process: every run has a
 * time limit, unless it is told to have none.
 *
 * @example
 * const exit = vcpu.run({ timeout: 1000 });
 * if (exit.reason === 'MMIO') console.log(exit.guestPhysAddr);
 */
export class Vcpu extends FdResource {
  /** The VM it belongs to. */
  readonly vm: Vm;
  readonly id: number;
  readonly #exit: DataView;
  #running = false;

  private constructor(handle: Handle, vm: Vm, id: number, exit: DataView) {
    super(handle);
    this.vm = vm;
    this.id = id;
    this.#exit = exit;
  }

  /** @internal */
  static create(vm: Vm, id: number): Vcpu {
    const block = new Uint8Array(exitBlockLayout.size);
    const handle = checked(native.vcpuCreate(vm.handle, id, block), 'ioctl(KVM_CREATE_VCPU)', { id });
    return new Vcpu(handle, vm, id, new DataView(block.buffer));
  }

  /** True while {@link runAsync} is under way. */
  get running(): boolean {
    return this.#running;
  }

  #idle(): Handle {
    const { handle } = this;
    if (this.#running) throw stateError(`vCPU ${this.id} is running; wait for runAsync() to end or call stop()`);
    return handle;
  }

  /**
   * KVM_RUN on this thread, until the guest exits or the time is over.
   *
   * @throws {KvmError} where KVM_RUN fails without describing a memory fault
   */
  run(given: RunOptions = {}): VcpuExit {
    const { timeout = defaultTimeout } = options('options', given);
    return this.#ended(native.vcpuRun(this.#idle(), checkTimeout('timeout', timeout)));
  }

  /**
   * The same on a thread of the vCPU's own, while JavaScript goes on.
   *
   * @param given.signal ends the run with an INTR exit, cause 'stopped'
   * @throws {KvmError} as {@link run}, and ERR_CLOSED when the vCPU was closed meanwhile, as rejections
   */
  async runAsync(given: RunOptions & { signal?: AbortSignal } = {}): Promise<VcpuExit> {
    const { timeout = defaultTimeout, signal } = options('options', given);
    if (signal !== undefined && !(signal instanceof AbortSignal)) throw typeError('signal', 'an AbortSignal', signal);
    const limit = checkTimeout('timeout', timeout);
    const handle = this.#idle();
    if (signal?.aborted) return { reason: 'INTR', cause: 'stopped' };
    const stop = () => this.stop();
    this.#running = true;
    try {
      const result = await new Promise<number>((resolve) => {
        const status = native.vcpuRunAsync(handle, limit, resolve);
        if (status < 0) throw new KvmError(status, 'pthread_create');
        signal?.addEventListener('abort', stop, { once: true });
      });
      this.#running = false;
      if (this.closed) throw stateError(`vCPU ${this.id} was closed while it ran`, 'ERR_CLOSED');
      return this.#ended(result);
    } finally {
      this.#running = false;
      signal?.removeEventListener('abort', stop);
    }
  }

  /** Ends the {@link runAsync} under way with an INTR exit; without one, does nothing. */
  stop(): void {
    if (this.#running && !this.closed) native.vcpuStop(this.handle);
  }

  #ended(result: number): VcpuExit {
    if (result === RunEnd.exit) return decodeExit(this.#exit);
    if (result === RunEnd.timeout) return { reason: 'INTR', cause: 'timeout' };
    if (result === RunEnd.stopped) return { reason: 'INTR', cause: 'stopped' };
    const code = errnoName(result);
    if ((code === 'EFAULT' || code === 'EHWPOISON') && exitReasonOf(this.#exit) === ExitReason.MEMORY_FAULT)
      return decodeMemoryFault(this.#exit, code);
    throw new KvmError(result, 'ioctl(KVM_RUN)', { vcpu: this.id });
  }

  /** Answers an IO exit of direction 'in', before the next run. */
  completeIo(data: NodeJS.ArrayBufferView): void {
    const handle = this.#idle();
    const answer = bytes('data', data);
    const offset = Number(this.#exit.getBigUint64(40, true));
    this.#require(ExitReason.IO, 'an IO exit');
    const room = this.#exit.getUint8(33) * this.#exit.getUint32(36, true);
    if (answer.byteLength > room) throw rangeError('data', `at most ${room} bytes`, answer.byteLength);
    native.vcpuWriteRun(handle, offset, answer);
  }

  /** Answers an MMIO exit of a read, before the next run: up to 8 bytes, little-endian. */
  completeMmio(data: NodeJS.ArrayBufferView): void {
    const handle = this.#idle();
    const answer = bytes('data', data);
    this.#require(ExitReason.MMIO, 'an MMIO exit');
    if (answer.byteLength > 8) throw rangeError('data', 'at most 8 bytes', answer.byteLength);
    native.vcpuWriteRun(handle, 40, answer);
  }

  /** Answers a HYPERCALL exit, before the next run: the value that the guest finds in its result register. */
  completeHypercall(result: U64): void {
    const handle = this.#idle();
    const value = u64('result', result);
    this.#require(ExitReason.HYPERCALL, 'a HYPERCALL exit');
    native.vcpuWriteRun(handle, 88, new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  }

  #require(reason: number, name: string): void {
    if (exitReasonOf(this.#exit) !== reason) throw stateError(`the last run did not end with ${name}`);
  }

  #read(which: number, size: number, request: string): Uint8Array {
    const state = new Uint8Array(size);
    checked(native.vcpuTransfer(this.#idle(), which, state), `ioctl(${request})`, { vcpu: this.id });
    return state;
  }

  /** KVM_GET_REGS. x86-64 only: EOPNOTSUPP elsewhere. */
  registers(): GeneralRegisters {
    return decodeGeneral(this.#read(State.getGeneral, registerSizes.general, 'KVM_GET_REGS'));
  }

  /** KVM_GET_REGS, the changes, KVM_SET_REGS. Values are bigints from 0 to 2^64 - 1. */
  setRegisters(changes: Partial<GeneralRegisters>): void {
    options('changes', changes);
    for (const name of Object.keys(changes)) {
      if (!(generalRegisterNames as readonly string[]).includes(name))
        throw rangeError('changes', 'general registers', name);
      const value = (changes as Record<string, unknown>)[name];
      if (typeof value !== 'bigint') throw typeError(name, 'a bigint', value);
      u64(name, value);
    }
    const state = this.#read(State.getGeneral, registerSizes.general, 'KVM_GET_REGS');
    encodeGeneral(state, changes);
    checked(native.vcpuTransfer(this.handle, State.setGeneral, state), 'ioctl(KVM_SET_REGS)', { vcpu: this.id });
  }

  /** KVM_GET_SREGS: segments, descriptor tables, control registers. x86-64 only: EOPNOTSUPP elsewhere. */
  specialRegisters(): SpecialRegisters {
    return decodeSpecial(this.#read(State.getSpecial, registerSizes.special, 'KVM_GET_SREGS'));
  }

  /** KVM_GET_SREGS, the changes, KVM_SET_SREGS. EINVAL for a combination that the processor cannot have. */
  setSpecialRegisters(changes: SpecialRegisterChanges): void {
    options('changes', changes);
    const state = this.#read(State.getSpecial, registerSizes.special, 'KVM_GET_SREGS');
    encodeSpecial(state, changes);
    checked(native.vcpuTransfer(this.handle, State.setSpecial, state), 'ioctl(KVM_SET_SREGS)', { vcpu: this.id });
  }

  /**
   * KVM_PRE_FAULT_MEMORY (6.11, x86 with the TDP MMU): maps guest physical memory before the guest touches it. The kernel
   * may do a part only and report success; `remaining` tells.
   *
   * @throws {KvmError} ENOENT without memslot, EOPNOTSUPP without nested paging, ENOTTY before 6.11
   */
  preFault(given: { guestPhysAddr: U64; size: U64; flags?: U64 }): PreFaultProgress {
    const { guestPhysAddr, size, flags = 0 } = options('options', given);
    const args = { gpa: u64('guestPhysAddr', guestPhysAddr), size: u64('size', size), flags: u64('flags', flags) };
    const left = new BigUint64Array(2);
    checked(
      native.vcpuPreFault(this.#idle(), args.gpa, args.size, args.flags, left),
      'ioctl(KVM_PRE_FAULT_MEMORY)',
      args,
    );
    const [next = 0n, remaining = 0n] = left;
    return { done: BigInt(args.size) - remaining, guestPhysAddr: next, remaining };
  }
}
