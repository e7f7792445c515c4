import { rangeError } from '../kvm/arguments.ts';
import { stateError } from '../kvm/errors.ts';
import type { VcpuExit } from '../kvm/exits.ts';
import type { Mapping } from '../kvm/mapping.ts';
import type { Arm64Registers } from '../kvm/registers.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import { type GuestArchitecture, type GuestArchitectureClass, layout } from './architecture.ts';
import type { GuestCommand } from './commands.ts';

/**
 * Where the guest program tells the host something: behind the memslot, where a store is an MMIO exit, and inside of what
 * the agent reserves. A multiple of the largest page size, 64 KiB.
 */
const signals = { offset: 0x50000n, done: 0n, exception: 8n, halt: 16n } as const;

/** EL1 with its own stack pointer, which the program does not use, and interrupts masked. */
const pstate = 0x3c5n;

function aligned(path: string, gpa: number | bigint, width: number): void {
  if (BigInt(gpa) % BigInt(width) !== 0n)
    throw rangeError(path, `a multiple of ${width} on arm64, where the guest runs with its MMU off`, gpa);
}

/** Refuses what an arm64 guest with its MMU off cannot do. */
export function checkArm64Commands(commands: readonly GuestCommand[]): void {
  for (const [i, command] of commands.entries()) {
    const path = `commands[${i}]`;
    switch (command.op) {
      case 'portOut':
      case 'portIn':
        throw stateError(
          `${path}: ${command.op} is for x86-64, arm64 has no I/O ports; load or store at an address without memslot`,
          'ERR_UNSUPPORTED_ARCHITECTURE',
        );
      case 'load':
      case 'store':
        aligned(`${path}.gpa`, command.gpa, command.width ?? 8);
        break;
      case 'spin':
      case 'checksum':
        aligned(`${path}.gpa`, command.gpa, 8);
        break;
      default: // byte by byte where need be
    }
  }
}

/** What an MMIO exit at the signals means; `registers` are asked only where an exception is told. */
export function arm64Meaning(
  exit: VcpuExit,
  base: bigint,
  registers: () => Pick<Arm64Registers, 'x9' | 'x10' | 'x11'>,
): VcpuExit | 'done' {
  if (exit.reason !== 'MMIO' || !exit.isWrite) return exit;
  switch (exit.guestPhysAddr - base - signals.offset) {
    case signals.done:
      return 'done';
    case signals.halt:
      return { reason: 'HLT' };
    case signals.exception: {
      const { x9, x10, x11 } = registers();
      return { reason: 'EXCEPTION', syndrome: x9, faultAddress: x10, instruction: x11 };
    }
    default:
      return exit;
  }
}

/** EL1, MMU off: every address that a vCPU can have is reachable, and there is nothing to set up but registers. */
export const Arm64: GuestArchitectureClass = class implements GuestArchitecture {
  static readonly memorySize = Number(signals.offset);
  readonly hypercallWidth = 0;
  /** KVM moves PC on when it is entered again, past whatever was set. */
  readonly doneIsUnfinished = true;
  readonly #vcpu: Vcpu;
  readonly #base: bigint;

  constructor(vcpu: Vcpu, _memory: Mapping, base: bigint) {
    this.#vcpu = vcpu;
    this.#base = base;
  }

  start(): void {}

  prepare(commands: readonly GuestCommand[]): void {
    checkArm64Commands(commands);
  }

  changeMode(): boolean {
    return false;
  }

  restart(): void {
    this.#vcpu.setRegisters({
      pc: this.#base + BigInt(layout.program),
      x0: this.#base + BigInt(layout.mailbox),
      x1: this.#base + signals.offset,
      pstate,
    });
  }

  meaning(exit: VcpuExit): VcpuExit | 'done' {
    return arm64Meaning(exit, this.#base, () => this.#vcpu.registers<Arm64Registers>());
  }
};
