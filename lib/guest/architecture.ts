import type { VcpuExit } from '../kvm/exits.ts';
import type { Mapping } from '../kvm/mapping.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { GuestCommand } from './commands.ts';

/** The agent's own memory that is alike everywhere. Its size, and what lies behind the mailbox, the architecture knows. */
export const layout = { program: 0x0, mailbox: 0x1000, mailboxEnd: 0x5000 } as const;

/** What the agent's memory takes of the guest's addresses, with or without memslot. */
export const reservedSize = 0x60000;

/** The part of the guest agent that depends on the processor. */
export interface GuestArchitecture {
  /** What the encoding of a hypercall has for its width. */
  readonly hypercallWidth: number;
  /** True where the exit that ends a list is finished by the next run only, so that registers must not be set before. */
  readonly doneIsUnfinished: boolean;
  /** Sets the vCPU up; its general registers come with {@link restart}. */
  start(): void;
  /** Before a list runs, which has been encoded: refuses what cannot be done here, and makes its memory reachable. */
  prepare(commands: readonly GuestCommand[]): void;
  /** Enters the mode that the list needs; true where that was another one, and the program must start from its beginning. */
  changeMode(commands: readonly GuestCommand[]): boolean;
  /** Sets the registers for the beginning of the program. */
  restart(): void;
  /** What an exit means: 'done' where the list is through. */
  meaning(exit: VcpuExit): VcpuExit | 'done';
}

/** How a {@link GuestArchitecture} is made. */
export interface GuestArchitectureClass {
  /** Bytes of the agent's memslot. */
  readonly memorySize: number;
  /** @param base where `memory` lies in the guest */
  new (vcpu: Vcpu, memory: Mapping, base: bigint, device: string): GuestArchitecture;
}
