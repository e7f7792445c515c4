import { readFileSync } from 'node:fs';
import { type U64, u64 } from '../kvm/arguments.ts';
import { stateError } from '../kvm/errors.ts';
import type { VcpuExit } from '../kvm/exits.ts';
import { type Mapping, mapAnonymous } from '../kvm/mapping.ts';
import { guestProgram } from '../kvm/program.ts';
import type { RunOptions, Vcpu } from '../kvm/vcpu.ts';
import type { Vm } from '../kvm/vm.ts';
import { encodeCommands, type GuestCommand, mailbox, touchedRanges, type Width } from './commands.ts';
import { IdentityPageTables } from './page-tables.ts';

/** The agent's own memory: program, mailbox, task state segment, page tables. */
const layout = { program: 0x0, mailbox: 0x1000, taskState: 0x5000, tables: 0x8000, size: 0x60000 } as const;
/** A 64-bit task state segment: where it says that its I/O bitmap begins, and a bitmap of all ports with its end mark. */
const taskState = { bitmapPointer: 102, bitmap: 104, limit: 104 + 8192 } as const;
const maxCommands = (layout.taskState - layout.mailbox) / mailbox.commandSize - 1;
/** The port by which the guest program says that it is through with a list. */
const donePort = 0x600;

/**
 * Commands run in ring 3, but for those that need ring 0. A KVM that does not run on virtualisation hardware (kvm_pvm)
 * executes ring 0 in its instruction emulator, which reaches memory through userspace_addr: only from ring 3 does the guest
 * take the page faults that a check of guest_memfd is about.
 */
const user = 3;
const needsSupervisor = (command: GuestCommand) => command.op === 'hypercall' || command.op === 'halt';

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
  /** Where that memory lies in the guest (384 KiB), a multiple of the page size, default 0. */
  guestPhysAddr?: U64;
  /** The vCPU's number, default 0. */
  vcpuId?: number;
}

// AMD and Hygon have VMMCALL, Intel has VMCALL; KVM would patch the wrong one into the guest's code, which tests would see.
let knownHypercallWidth: number | undefined;
function hypercallWidth(): number {
  knownHypercallWidth ??= /AuthenticAMD|HygonGenuine/.test(readFileSync('/proc/cpuinfo', 'latin1').slice(0, 4096))
    ? 1
    : 0;
  return knownHypercallWidth;
}

/**
 * A vCPU that executes what the host tells it: the guest side of experiments, with no machine code to write.
 *
 * Its program, mailbox and page tables lie in a memslot of their own, on ordinary anonymous memory, so that the memory
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
  readonly #tables: IdentityPageTables;
  readonly #base: bigint;
  #commands: readonly GuestCommand[] = [];
  #inList = false;
  #ring: 0 | 3 = user;

  private constructor(vcpu: Vcpu, memory: Mapping, base: bigint) {
    this.vcpu = vcpu;
    this.#memory = memory;
    this.#base = base;
    this.#tables = new IdentityPageTables(memory, base, BigInt(layout.tables), BigInt(layout.size));
  }

  /**
   * Sets up the agent's memslot and a vCPU in 64-bit mode.
   *
   * @throws {KvmError} where the slot or the vCPU cannot be made
   * @throws ERR_UNSUPPORTED_ARCHITECTURE where there is no guest program for this processor yet
   */
  static create(vm: Vm, options: GuestAgentOptions = {}): GuestAgent {
    const { slot = 0, guestPhysAddr = 0, vcpuId = 0 } = options;
    const program = guestProgram();
    if (program.byteLength === 0)
      throw stateError(`there is no guest program for ${process.arch} yet`, 'ERR_UNSUPPORTED_ARCHITECTURE');
    const base = BigInt(u64('guestPhysAddr', guestPhysAddr));
    const memory = mapAnonymous({ size: layout.size });
    let vcpu: Vcpu | undefined;
    try {
      vm.setUserMemoryRegion({ slot, guestPhysAddr: base, size: layout.size, mapping: memory });
      memory.write(layout.program, program);
      memory.write(layout.taskState + taskState.bitmapPointer, Uint16Array.of(taskState.bitmap));
      memory.fill(0xff, layout.taskState + taskState.limit, 1);
      vcpu = vm.createVcpu({ id: vcpuId });
      const agent = new GuestAgent(vcpu, memory, base);
      agent.#tables.ensure(base, BigInt(layout.size));
      agent.#enterLongMode();
      return agent;
    } catch (error) {
      vcpu?.close();
      memory.close();
      throw error;
    }
  }

  #enterLongMode(): void {
    this.vcpu.setSpecialRegisters({
      cr0: 0x8000_0021n, // PG, NE, PE
      cr3: this.#tables.root,
      cr4: 0x20n, // PAE
      efer: 0x500n, // LMA, LME
      // Ports are open to ring 3 by RFLAGS.IOPL, which kvm_pvm loses once the guest has run; then the bitmap decides, and
      // without a segment of its own that would be whatever lies at address 0.
      tr: {
        base: this.#base + BigInt(layout.taskState),
        limit: taskState.limit,
        selector: 24,
        type: 11,
        present: 1,
        s: 0,
        unusable: 0,
      },
    });
    this.#enterRing(user);
  }

  #enterRing(ring: 0 | 3): void {
    const data = {
      base: 0n,
      limit: 0xffffffff,
      selector: 16 | ring,
      type: 3,
      present: 1,
      dpl: ring,
      db: 1,
      s: 1,
      l: 0,
      g: 1,
    };
    const code = { ...data, selector: 8 | ring, type: 11, db: 0, l: 1 };
    this.vcpu.setSpecialRegisters({ cs: code, ds: data, es: data, fs: data, gs: data, ss: data });
    this.#ring = ring;
    this.restart();
  }

  /** Forgets an interrupted list: the next one starts from the beginning of the program. */
  restart(): void {
    this.vcpu.setRegisters({
      rip: this.#base + BigInt(layout.program),
      rdi: this.#base + BigInt(layout.mailbox),
      rflags: 0x3002n, // the bit that is always set, and port access for every ring
    });
    this.#inList = false;
  }

  #prepare(commands: readonly GuestCommand[]): void {
    if (this.#inList) throw stateError('the last list was interrupted: resume() it, or restart()');
    if (commands.length > maxCommands) throw new RangeError(`a list holds at most ${maxCommands} commands`);
    const bytes = encodeCommands(commands, hypercallWidth());
    for (const command of commands)
      for (const [gpa, length] of touchedRanges(command)) this.#tables.ensure(gpa, length);
    const ring = commands.some(needsSupervisor) ? 0 : user;
    if (ring !== this.#ring) this.#enterRing(ring);
    this.#memory.write(layout.mailbox, bytes);
    this.#commands = commands;
    this.#inList = true;
  }

  #outcome(exit: VcpuExit): AgentRun {
    const finished = exit.reason === 'IO' && exit.direction === 'out' && exit.port === donePort;
    if (finished) this.#inList = false;
    const bytes = this.#memory.read(layout.mailbox, this.#commands.length * mailbox.commandSize);
    const view = new DataView(bytes.buffer);
    const results: bigint[] = [];
    for (let at = 0; at < bytes.byteLength; at += mailbox.commandSize) {
      if (view.getBigUint64(at + mailbox.stateOffset, true) !== mailbox.stateDone) break;
      results.push(view.getBigUint64(at + mailbox.resultOffset, true));
    }
    return { finished, results, exit: finished ? undefined : exit };
  }

  /** Runs a list of up to 255 commands until it is through or the guest exits for another reason. */
  run(commands: readonly GuestCommand[], options?: RunOptions): AgentRun {
    this.#prepare(commands);
    return this.#outcome(this.vcpu.run(options));
  }

  /** Goes on with an interrupted list, once its exit has been answered. */
  resume(options?: RunOptions): AgentRun {
    return this.#outcome(this.vcpu.run(options));
  }

  /** {@link run} on the vCPU's own thread. */
  async runAsync(
    commands: readonly GuestCommand[],
    options?: RunOptions & { signal?: AbortSignal },
  ): Promise<AgentRun> {
    this.#prepare(commands);
    return this.#outcome(await this.vcpu.runAsync(options));
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
    this.vcpu.close();
    this.#memory.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
