import { abortSignal, bytes, timeout as checkTimeout, options, rangeError, type U64, u64 } from './arguments.ts';
import { ExitReason } from './constants.ts';
import { checked, errnoName, KvmError, stateError } from './errors.ts';
import { decodeExit, decodeMemoryFault, exitBlockLayout, exitReasonOf, type VcpuExit } from './exits.ts';
import { type Handle, native } from './native.ts';
import {
  type Arm64Registers,
  checkGeneral,
  checkSpecial,
  decodeGeneral,
  decodeSpecial,
  encodeGeneral,
  encodeSpecial,
  type GeneralRegisters,
  generalNamesOf,
  registerSizes,
  type SpecialRegisterChanges,
  type SpecialRegisters,
} from './registers.ts';
import { FdResource, type Owned, owned } from './resource.ts';
import type { Vm } from './vm.ts';

/** What native/core/vcpu.hpp calls VcpuState. */
const State = { getGeneral: 0, setGeneral: 1, getSpecial: 2, setSpecial: 3 } as const;
/** What native/core/vcpu.hpp calls RunEnd, besides errnos. */
const RunEnd = { exit: 0, timeout: 1, stopped: 2 } as const;

/** Where struct kvm_run has these. */
const immediateExitOffset = 1;
const exitReasonOffset = 8;

const generalNames = generalNamesOf(process.arch);
const generalSize = generalNames.length * 8;
/** The kernel's requests for general registers: arm64 has one for each register. */
const generalRequests =
  process.arch === 'arm64'
    ? ({ get: 'KVM_GET_ONE_REG', set: 'KVM_SET_ONE_REG' } as const)
    : ({ get: 'KVM_GET_REGS', set: 'KVM_SET_REGS' } as const);

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

  private constructor(handle: Owned, vm: Vm, id: number, exit: DataView) {
    super(handle);
    this.vm = vm;
    this.id = id;
    this.#exit = exit;
  }

  /** @internal */
  static create(vm: Vm, id: number): Vcpu {
    const block = new Uint8Array(exitBlockLayout.size);
    const handle = owned(native.vcpuCreate(vm.handle, id, block), 'ioctl(KVM_CREATE_VCPU)', { id });
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
    abortSignal('signal', signal);
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
    // KVM has taken the answer to the exit before; with immediate_exit it leaves that one's reason standing.
    if (result > 0) this.#exit.setUint32(exitReasonOffset, ExitReason.INTR, true);
    if (result === RunEnd.timeout) return { reason: 'INTR', cause: 'timeout' };
    if (result === RunEnd.stopped) return { reason: 'INTR', cause: 'stopped' };
    const code = errnoName(result);
    if ((code === 'EFAULT' || code === 'EHWPOISON') && exitReasonOf(this.#exit) === ExitReason.MEMORY_FAULT)
      return decodeMemoryFault(this.#exit, code);
    throw new KvmError(result, 'ioctl(KVM_RUN)', { vcpu: this.id });
  }

  /**
   * Finishes the instruction that made the last exit and executes no other: KVM_RUN with `immediate_exit`. An IO or MMIO
   * exit happens in the middle of its instruction, which ends with the next run and writes its registers then, RIP among
   * them. So this is for before registers are read or set after such an exit; answer it first, or it counts as answered
   * with what was there.
   *
   * @throws {KvmError} as {@link run}; ERR_INVALID_STATE when the instruction exits 16 times more
   */
  finishExit(): void {
    const handle = this.#idle();
    // An access that KVM takes apart exits once for each part.
    for (let part = 0; part < 16; part++) {
      native.vcpuWriteRun(handle, immediateExitOffset, Uint8Array.of(1));
      // Ten nanoseconds are over when KVM_RUN comes back; without a limit it would be entered again.
      const result = native.vcpuRun(handle, 1e-5);
      if (result !== RunEnd.exit) {
        this.#ended(result);
        return;
      }
    }
    throw stateError('the instruction at the last exit does not come to its end');
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

  /**
   * The general registers: KVM_GET_REGS on x86-64, KVM_GET_ONE_REG for each on arm64, where they are
   * `registers<Arm64Registers>()`: x0 to x30, sp, pc and pstate.
   */
  registers<Registers extends GeneralRegisters | Arm64Registers = GeneralRegisters>(): Registers {
    return decodeGeneral<Registers>(this.#read(State.getGeneral, generalSize, generalRequests.get), generalNames);
  }

  /**
   * Reads the general registers, makes the changes and writes them back. Values are bigints from 0 to 2^64 - 1. After an IO
   * or MMIO exit call {@link finishExit} first.
   */
  setRegisters(changes: Partial<GeneralRegisters> | Partial<Arm64Registers>): void {
    checkGeneral(changes, generalNames);
    const state = this.#read(State.getGeneral, generalSize, generalRequests.get);
    encodeGeneral(state, changes, generalNames);
    checked(native.vcpuTransfer(this.handle, State.setGeneral, state), `ioctl(${generalRequests.set})`, {
      vcpu: this.id,
    });
  }

  #requireSpecial(): void {
    if (process.arch !== 'x64')
      throw stateError(`special registers are those of x86-64, not of ${process.arch}`, 'ERR_UNSUPPORTED_ARCHITECTURE');
  }

  /**
   * KVM_GET_SREGS: segments, descriptor tables, control registers.
   *
   * @throws ERR_UNSUPPORTED_ARCHITECTURE elsewhere than on x86-64
   */
  specialRegisters(): SpecialRegisters {
    this.#requireSpecial();
    return decodeSpecial(this.#read(State.getSpecial, registerSizes.special, 'KVM_GET_SREGS'));
  }

  /**
   * KVM_SET_CPUID2 (2.6.25, x86 only): the processor that the guest finds. Before the first run.
   *
   * @param list struct kvm_cpuid2 as {@link Kvm.supportedCpuid} gives it
   * @throws {KvmError} EINVAL for leaves that contradict one another or the list's length, or after the first run
   */
  setCpuid(list: Uint8Array): void {
    const handle = this.#idle();
    checked(native.vcpuSetCpuid(handle, bytes('list', list)), 'ioctl(KVM_SET_CPUID2)', { vcpu: this.id });
  }

  /** KVM_GET_SREGS, the changes, KVM_SET_SREGS. EINVAL for a combination that the processor cannot have. x86-64 only. */
  setSpecialRegisters(changes: SpecialRegisterChanges): void {
    checkSpecial(changes);
    this.#requireSpecial();
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
