import { Capability, GuestMemfdFlag } from '../kvm/constants.ts';
import type { Kvm } from '../kvm/kvm.ts';
import type { Vm } from '../kvm/vm.ts';
import type { MemoryRange } from './model.ts';
import { randomFrom } from './random.ts';
import type { Ground } from './requirements.ts';
import { activeLog } from './trace/log.ts';

/** A VM type and guest_memfd flags that this kernel supports together. */
export interface Configuration {
  readonly vm: Vm;
  readonly flags: number;
}

const flagNames: readonly [bit: number, name: string][] = [
  [GuestMemfdFlag.MMAP, 'MMAP'],
  [GuestMemfdFlag.INIT_SHARED, 'INIT_SHARED'],
];

/** 'MMAP | INIT_SHARED', or 'none'. */
export function describeFlags(flags: number): string {
  return (
    flagNames
      .filter(([bit]) => flags & bit)
      .map(([, name]) => name)
      .join(' | ') || 'none'
  );
}

/** Thrown by a check that finds out only while it runs that its question makes no sense here. */
export class CheckSkip extends Error {
  readonly remedy: string | undefined;

  constructor(reason: string, remedy?: string) {
    super(reason);
    this.remedy = remedy;
  }
}

/** What a run tells each check. */
export interface CheckTerms {
  /** What randomness is made of: the same seed gives the same steps. */
  readonly seed: number;
  /** When the check should come to its end, as performance.now() counts: a stress check works until then. */
  readonly deadline: number;
}

/** What a check is given: VMs to use up, and a place for what must be closed afterwards. */
export class CheckContext {
  readonly ground: Ground;
  /** When the check should come to its end, as performance.now() counts: a stress check works until then. */
  readonly deadline: number;
  /** Told with the result. */
  readonly notes: string[] = [];
  /**
   * The memory under test, for a failure's report: set it where the check knows its ranges, and again when they change.
   *
   * @example
   * check.memory = [{ gpa: '0x100000000', size: pageSize, state: 'private' }];
   */
  memory: readonly MemoryRange[] | undefined;
  /** True once the check has asked for the seed: then the result tells it. */
  isRandom = false;
  readonly #seed: number;
  #configuration: string | undefined;
  readonly #opened: Disposable[] = [];

  constructor(ground: Ground, { seed, deadline }: CheckTerms) {
    this.ground = ground;
    this.deadline = deadline;
    this.#seed = seed;
  }

  /** What randomness is made of, an integer from 0 to 2^32 - 1; told with the result. */
  get seed(): number {
    this.isRandom = true;
    return this.#seed;
  }

  /** A generator of numbers from 0 to below 1, the same ones for the same seed and `stream`. */
  random(stream = 0): () => number {
    return randomFrom(this.seed + stream);
  }

  /** What the check is trying at the moment, for a failure's report. */
  get configuration(): string | undefined {
    return this.#configuration;
  }

  set configuration(text: string | undefined) {
    this.#configuration = text;
    const log = activeLog();
    if (log) log.configured = log.count;
  }

  get kvm(): Kvm {
    return this.ground.kvm;
  }

  /** Closes something when the check is over, whatever came of it. */
  use<T extends Disposable>(opened: T): T {
    this.#opened.push(opened);
    return opened;
  }

  /** A new VM, closed when the check is over. */
  vm(type = 0): Vm {
    return this.use(this.kvm.createVm({ type }));
  }

  note(text: string): void {
    if (!this.notes.includes(text)) this.notes.push(text);
  }

  /**
   * Tries something with a new VM of every type, and with each set of guest_memfd flags that the type supports: none,
   * MMAP, MMAP with INIT_SHARED. `needed` leaves out the sets without those flags.
   */
  eachConfiguration(attempt: (configuration: Configuration) => void, needed = 0): void {
    for (const type of this.ground.host.vmTypes) {
      const supported = this.#guestMemfdFlags(type);
      if (supported === undefined) continue;
      for (const flags of [0, GuestMemfdFlag.MMAP, GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED]) {
        if ((flags & ~supported) !== 0 || (flags & needed) !== needed) continue;
        this.configuration = `VM type ${type}, guest_memfd flags ${describeFlags(flags)}`;
        using vm = this.kvm.createVm({ type });
        attempt({ vm, flags });
      }
    }
    this.configuration = undefined;
  }

  /**
   * Flags of a guest_memfd that a memslot of any VM takes. On arm64, which has no private memory, KVM binds only what can be
   * mapped.
   */
  get bindable(): number {
    return this.ground.host.architecture === 'arm64' ? GuestMemfdFlag.MMAP : 0;
  }

  /** Tries something with a new VM of every type that has guest_memfd. */
  eachVmType(attempt: (vm: Vm, supportedFlags: number) => void): void {
    for (const type of this.ground.host.vmTypes) {
      const supported = this.#guestMemfdFlags(type);
      if (supported === undefined) continue;
      this.configuration = `VM type ${type}`;
      using vm = this.kvm.createVm({ type });
      attempt(vm, supported);
    }
    this.configuration = undefined;
  }

  #guestMemfdFlags(type: number): number | undefined {
    using vm = this.kvm.createVm({ type });
    if (vm.checkExtension(Capability.GUEST_MEMFD) === 0) return undefined;
    return vm.checkExtension(Capability.GUEST_MEMFD_FLAGS);
  }

  /** Closes everything, last opened first. */
  close(): void {
    for (const opened of this.#opened.splice(0).reverse()) opened[Symbol.dispose]();
  }
}
