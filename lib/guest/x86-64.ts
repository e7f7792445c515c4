import { readFileSync } from 'node:fs';
import type { VcpuExit } from '../kvm/exits.ts';
import { Kvm } from '../kvm/kvm.ts';
import type { Mapping } from '../kvm/mapping.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import { type GuestArchitecture, type GuestArchitectureClass, layout, reservedSize } from './architecture.ts';
import { type GuestCommand, touchedRanges } from './commands.ts';
import { IdentityPageTables } from './page-tables.ts';

const taskStateOffset = layout.mailboxEnd;
const tablesOffset = 0x8000;
/** A 64-bit task state segment: where it says that its I/O bitmap begins, and a bitmap of all ports with its end mark. */
const taskState = { bitmapPointer: 102, bitmap: 104, limit: 104 + 8192 } as const;
/** The port by which the guest program says that it is through with a list. */
const donePort = 0x600;

/**
 * Commands run in ring 3, but for those that need ring 0. A KVM that does not run on virtualisation hardware (kvm_pvm)
 * executes ring 0 in its instruction emulator, which reaches memory through userspace_addr: only from ring 3 does the guest
 * take the page faults that a check of guest_memfd is about.
 */
const user = 3;
const needsSupervisor = (command: GuestCommand) => command.op === 'hypercall' || command.op === 'halt';
const ringOf = (commands: readonly GuestCommand[]) => (commands.some(needsSupervisor) ? 0 : user);

// AMD and Hygon have VMMCALL, Intel has VMCALL; KVM would patch the wrong one into the guest's code, which tests would see.
let knownHypercallWidth: number | undefined;
function hypercallWidth(): number {
  knownHypercallWidth ??= /AuthenticAMD|HygonGenuine/.test(readFileSync('/proc/cpuinfo', 'latin1').slice(0, 4096))
    ? 1
    : 0;
  return knownHypercallWidth;
}

const cpuids = new Map<string, Uint8Array>();

/** What the device's vCPUs may be: without CPUID, KVM on AMD processors refuses 64-bit mode since 7.x. */
function cpuidOf(device: string): Uint8Array {
  let found = cpuids.get(device);
  if (!found) {
    using kvm = Kvm.open({ path: device });
    found = kvm.supportedCpuid();
    cpuids.set(device, found);
  }
  return found;
}

/** 64-bit mode with page tables that map addresses to themselves. */
export const X86: GuestArchitectureClass = class implements GuestArchitecture {
  static readonly memorySize = reservedSize;
  readonly doneIsUnfinished = false;
  readonly #vcpu: Vcpu;
  readonly #device: string;
  readonly #memory: Mapping;
  readonly #base: bigint;
  readonly #tables: IdentityPageTables;
  #ring: 0 | 3 = user;

  constructor(vcpu: Vcpu, memory: Mapping, base: bigint, device: string) {
    this.#vcpu = vcpu;
    this.#device = device;
    this.#memory = memory;
    this.#base = base;
    this.#tables = new IdentityPageTables(memory, base, BigInt(tablesOffset), BigInt(reservedSize));
  }

  get hypercallWidth(): number {
    return hypercallWidth();
  }

  start(): void {
    this.#memory.write(taskStateOffset + taskState.bitmapPointer, Uint16Array.of(taskState.bitmap));
    this.#memory.fill(0xff, taskStateOffset + taskState.limit, 1);
    this.#tables.ensure(this.#base, BigInt(reservedSize));
    this.#vcpu.setCpuid(cpuidOf(this.#device));
    this.#vcpu.setSpecialRegisters({
      cr0: 0x8000_0021n, // PG, NE, PE
      cr3: this.#tables.root,
      cr4: 0x20n, // PAE
      efer: 0x500n, // LMA, LME
      // Ports are open to ring 3 by RFLAGS.IOPL, which kvm_pvm loses once the guest has run; then the bitmap decides, and
      // without a segment of its own that would be whatever lies at address 0.
      tr: {
        base: this.#base + BigInt(taskStateOffset),
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
    this.#vcpu.setSpecialRegisters({ cs: code, ds: data, es: data, fs: data, gs: data, ss: data });
    this.#ring = ring;
  }

  prepare(commands: readonly GuestCommand[]): void {
    for (const command of commands)
      for (const [gpa, length] of touchedRanges(command)) this.#tables.ensure(gpa, length);
  }

  changeMode(commands: readonly GuestCommand[]): boolean {
    const ring = ringOf(commands);
    if (ring === this.#ring) return false;
    this.#enterRing(ring);
    return true;
  }

  restart(): void {
    this.#vcpu.setRegisters({
      rip: this.#base + BigInt(layout.program),
      rdi: this.#base + BigInt(layout.mailbox),
      rflags: 0x3002n, // the bit that is always set, and port access for every ring
    });
  }

  meaning(exit: VcpuExit): VcpuExit | 'done' {
    return exit.reason === 'IO' && exit.direction === 'out' && exit.port === donePort ? 'done' : exit;
  }
};
