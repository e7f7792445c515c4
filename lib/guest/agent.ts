import { options as checkOptions, rangeError, typeError, type U64, u64 } from '../kvm/arguments.ts';
import { closeAll } from '../kvm/close-all.ts';
import { KvmError, stateError } from '../kvm/errors.ts';
import type { VcpuExit } from '../kvm/exits.ts';
import { type Mapping, mapAnonymous } from '../kvm/mapping.ts';
import { guestProgram } from '../kvm/program.ts';
import { describeNextRun, guestLeft } from '../kvm/trace.ts';
import type { RunOptions, Vcpu } from '../kvm/vcpu.ts';
import { Vm } from '../kvm/vm.ts';
import { type GuestArchitecture, layout } from './architecture.ts';
import { Arm64 } from './arm64.ts';
import { encodeCommands, type GuestCommand, mailbox, type Width } from './commands.ts';
import { X86 } from './x86-64.ts';

const maxCommands = (layout.mailboxEnd - layout.mailbox) / mailbox.commandSize - 1;

/** How a list of commands went. */
export interface AgentRun {
  /** True when the whole list was done. */
  readonly finished: boolean;
  /** Results of the commands that were done, in order. */
  readonly results: readonly bigint[];
  /** The exit that interrupted the list; `undefined` when it was finished. */
  readonly exit: VcpuExit | undefined;
}

/** The guest did not come to the end of its commands. */
export class GuestExitError extends Error {
  readonly code = 'ERR_GUEST_EXIT';
  readonly exit: VcpuExit;
  /** The command at which it left. */
  readonly command: GuestCommand | undefined;

  /** @internal */
  constructor(exit: VcpuExit, index: number, command: GuestCommand | undefined) {
    const fields = Object.entries(exit)
      .filter(([name]) => name !== 'reason')
      .map(([name, value]) => `${name} ${typeof value === 'bigint' ? `0x${value.toString(16)}` : value}`);
    const detail = fields.length ? ` (${fields.join(', ')})` : '';
    super(`the guest left with ${exit.reason}${detail} at command ${index}${command ? `, ${command.op}` : ''}`);
    this.exit = exit;
    this.command = command;
  }
}
Object.defineProperty(GuestExitError.prototype, 'name', {
  value: 'GuestExitError',
  configurable: true,
  writable: true,
});

/** Options of {@link GuestAgent.create}. */
export interface GuestAgentOptions {
  /** The memslot for the agent's own memory, default 0. */
  slot?: number;
  /** Where that memory lies in the guest (384 KiB, on arm64 the last 64 of them without memslot), a multiple of the page size, default 0. */
  guestPhysAddr?: U64;
  /** The vCPU's number, default 0. */
  vcpuId?: number;
}

/**
 * A vCPU that executes what the host tells it: the guest side of experiments, with no machine code to write.
 *
 * Its program, mailbox and, on x86-64, page tables lie in a memslot of their own, on ordinary anonymous memory, so that the memory
 * under test can be anything.
 *
 * @example
 * using agent = GuestAgent.create(vm);
 * agent.store(0x1_0000_0000, 42n);
 * agent.load(0x1_0000_0000); // 42n
 */
export class GuestAgent implements Disposable {
  readonly vcpu: Vcpu;
  readonly #memory: Mapping;
  readonly #architecture: GuestArchitecture;
  #commands: readonly GuestCommand[] = [];
  #inList = false;
  #isDone = false;

  private constructor(vcpu: Vcpu, memory: Mapping, architecture: GuestArchitecture) {
    this.vcpu = vcpu;
    this.#memory = memory;
    this.#architecture = architecture;
  }

  /**
   * Sets up the agent's memslot and a vCPU in 64-bit mode: on x86-64 with page tables, on arm64 in EL1 with the MMU off.
   *
   * @throws {KvmError} where the slot or the vCPU cannot be made
   * @throws ERR_UNSUPPORTED_ARCHITECTURE where there is no guest program for this processor
   */
  static create(vm: Vm, options: GuestAgentOptions = {}): GuestAgent {
    if (!(vm instanceof Vm)) throw typeError('vm', 'a Vm', vm);
    const { slot = 0, guestPhysAddr = 0, vcpuId = 0 } = checkOptions('options', options);
    const program = guestProgram();
    if (program.byteLength === 0)
      throw stateError(`there is no guest program for ${process.arch}`, 'ERR_UNSUPPORTED_ARCHITECTURE');
    const base = BigInt(u64('guestPhysAddr', guestPhysAddr));
    const Architecture = process.arch === 'arm64' ? Arm64 : X86;
    const size = Architecture.memorySize;
    const memory = mapAnonymous({ size });
    let hasSlot = false;
    let vcpu: Vcpu | undefined;
    try {
      vm.setUserMemoryRegion({ slot, guestPhysAddr: base, size, mapping: memory });
      hasSlot = true;
      memory.write(layout.program, program);
      vcpu = vm.createVcpu({ id: vcpuId });
      const architecture = new Architecture(vcpu, memory, base, vm.device);
      architecture.start();
      const agent = new GuestAgent(vcpu, memory, architecture);
      agent.restart();
      return agent;
    } catch (error) {
      vcpu?.close();
      // Left behind, the slot would keep the next try from taking its number.
      if (hasSlot) vm.deleteUserMemoryRegion(slot);
      memory.close();
      throw error;
    }
  }

  /** Forgets an interrupted list: the next one starts from the beginning of the program. */
  restart(): void {
    // The load or port read that an exit interrupted would else be finished after the program counter is set, and take
    // the guest back.
    if (this.#inList || (this.#isDone && this.#architecture.doneIsUnfinished)) this.vcpu.finishExit();
    this.#architecture.restart();
    this.#inList = false;
    this.#isDone = false;
  }

  #prepare(commands: readonly GuestCommand[]): void {
    if (!Array.isArray(commands)) throw typeError('commands', 'an array of commands', commands);
    if (this.vcpu.running) throw stateError('the guest is running; wait for runAsync() to end or call vcpu.stop()');
    if (this.#inList) throw stateError('the last list was interrupted: resume() it, or restart()');
    if (commands.length > maxCommands)
      throw rangeError('commands', `a list of at most ${maxCommands}`, commands.length);
    const bytes = encodeCommands(commands, this.#architecture.hypercallWidth);
    this.#architecture.prepare(commands);
    if (this.#architecture.changeMode(commands)) this.restart();
    this.#memory.write(layout.mailbox, bytes);
    this.#commands = commands;
    this.#inList = true;
    describeNextRun(commands);
  }

  /** After a run that threw: where KVM_RUN was never reached, for its arguments were wrong, no list was begun. */
  #failed(error: unknown): never {
    if (!(error instanceof KvmError)) this.#inList = false;
    throw error;
  }

  #outcome(exit: VcpuExit): AgentRun {
    const meaning = this.#architecture.meaning(exit);
    const finished = meaning === 'done';
    if (finished) this.#inList = false;
    this.#isDone = finished;
    const bytes = this.#memory.read(layout.mailbox, this.#commands.length * mailbox.commandSize);
    const view = new DataView(bytes.buffer);
    const results: bigint[] = [];
    for (let at = 0; at < bytes.byteLength; at += mailbox.commandSize) {
      if (view.getBigUint64(at + mailbox.stateOffset, true) !== mailbox.stateDone) break;
      results.push(view.getBigUint64(at + mailbox.resultOffset, true));
    }
    return { finished, results, exit: finished ? undefined : meaning };
  }

  /** Runs a list of up to 255 commands until it is through or the guest exits for another reason. */
  run(commands: readonly GuestCommand[], options?: RunOptions): AgentRun {
    this.#prepare(commands);
    try {
      return this.#outcome(this.vcpu.run(options));
    } catch (error) {
      this.#failed(error);
    }
  }

  /**
   * Goes on with an interrupted list, once its exit has been answered.
   *
   * @throws ERR_INVALID_STATE where no list was interrupted
   */
  resume(options?: RunOptions): AgentRun {
    if (!this.#inList) throw stateError('no list was interrupted');
    return this.#outcome(this.vcpu.run(options));
  }

  /** {@link run} on the vCPU's own thread. */
  async runAsync(
    commands: readonly GuestCommand[],
    options?: RunOptions & { signal?: AbortSignal },
  ): Promise<AgentRun> {
    this.#prepare(commands);
    try {
      return this.#outcome(await this.vcpu.runAsync(options));
    } catch (error) {
      this.#failed(error);
    }
  }

  /**
   * Runs a list that must come to its end.
   *
   * @returns the results of all commands
   * @throws {GuestExitError} when the guest left before; the agent can be used again
   */
  execute(commands: readonly GuestCommand[], options?: RunOptions): readonly bigint[] {
    const { exit, results } = this.run(commands, options);
    if (!exit) return results;
    guestLeft(this.vcpu.handle);
    this.restart();
    throw new GuestExitError(exit, results.length, commands[results.length]);
  }

  load(gpa: U64, width: Width = 8): bigint {
    return this.#one({ op: 'load', gpa, width });
  }

  store(gpa: U64, value: U64, width: Width = 8): void {
    this.#one({ op: 'store', gpa, value, width });
  }

  fill(gpa: U64, length: U64, value: number): void {
    this.#one({ op: 'fill', gpa, length, value });
  }

  /** The offset of the first byte that is not `value`, or -1. */
  compare(gpa: U64, length: U64, value: number): number {
    const result = this.#one({ op: 'compare', gpa, length, value });
    return result === BigInt(length) ? -1 : Number(result);
  }

  checksum(gpa: U64, length: U64): bigint {
    return this.#one({ op: 'checksum', gpa, length });
  }

  #one(command: GuestCommand): bigint {
    return this.execute([command])[0] as bigint;
  }

  /** Closes the vCPU and the agent's memory. The memslot goes with the VM. */
  close(): void {
    closeAll(this.vcpu, this.#memory);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
