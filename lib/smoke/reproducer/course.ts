import type { GuestCommand } from '../../guest/commands.ts';
import type { CapturedCall } from '../trace/log.ts';
import { number, type Program } from './program.ts';
import type { Step } from './slice.ts';

/** A value that a program can look at, and what it was when the check ran. */
export interface Observation {
  readonly c: string;
  readonly recorded: bigint;
}

/** A call in C. */
export interface Emitted {
  /** An expression whose value is the result, or a negative errno; undefined for what has none. */
  readonly expression?: string;
  /** Where the new object goes, and as what. */
  readonly target?: string;
  readonly cast?: string;
  /** How an access tells of a fault, and what it gives when it is through: conditions on `rc`. */
  readonly access?: { readonly faults: string; readonly done: bigint };
  /** Statements without a result. */
  readonly statements?: readonly string[];
  readonly observations?: readonly Observation[];
  /** What must not be, whatever else is: a comparison by the guest that was unequal when it was recorded. */
  readonly misbehaves?: string;
  /** The result need not be what it was. */
  readonly indifferent?: true;
  /** A call that no program repeats. */
  readonly unsupported?: string;
}

export const shown = (arg: string | number | bigint) => (typeof arg === 'string' ? arg : number(arg));

/** An object by its name in C. */
interface Named {
  readonly name: string;
  /** Of a mapping: where it was when the check ran, and its length. */
  readonly address?: bigint;
  readonly length?: bigint;
  /** Of a forked child: the mapping that it was forked to look at. */
  readonly memory?: string;
}

/** What the translation of calls goes by, besides the call at hand. */
export class Course {
  readonly program: Program;
  readonly architecture: string;
  /** By handle. */
  readonly names = new Map<number, Named>();
  /** Registers as they were last read, by vCPU and kind. */
  readonly registers = new Map<string, Uint8Array>();
  /** What each vCPU was last told to do, and with what limit. */
  readonly tasks = new Map<number, { commands: readonly GuestCommand[]; limit: number }>();
  /** The vCPU whose run has just ended. */
  justRan: number | undefined;
  /** The array with the guest's program, once there is one. */
  guestProgram: string | undefined;

  constructor(program: Program, architecture: string) {
    this.program = program;
    this.architecture = architecture;
  }

  name(handle: unknown): string {
    return this.names.get(Number(handle))?.name ?? 'kvm';
  }

  /** Names what a call has made. */
  made(call: CapturedCall, kind: string, type: string, length?: bigint): string | undefined {
    const handle = Number(call.result);
    if (!(handle > 0)) return undefined;
    const name = this.program.fresh(kind);
    this.program.declare(`static ${type}${name};`);
    this.names.set(handle, {
      name,
      ...(typeof call.created === 'bigint' ? { address: call.created } : {}),
      ...(length === undefined ? {} : { length }),
    });
    return name;
  }

  at(mapping: unknown, offset: unknown): string {
    const name = this.name(mapping);
    return BigInt(offset as number) === 0n ? name : `${name} + ${number(offset as number)}`;
  }

  call(fragment: string, ...args: readonly (string | number | bigint)[]): string {
    return `${this.program.use(fragment)}(${args.map(shown).join(', ')})`;
  }

  /** A descriptor: one of the program's own, a file of another kind, or just a number. */
  fd({ call, behindFd }: Step, fd: unknown): string {
    if (behindFd !== undefined) return this.name(behindFd);
    if (call.file === undefined) return number(Number(fd));
    if (call.file === '/dev/kvm') return 'kvm';
    return call.file.startsWith('/') && !call.file.startsWith('/memfd:')
      ? 'open("/proc/self/exe", O_RDONLY | O_CLOEXEC)'
      : 'memfd_create("other", MFD_CLOEXEC)';
  }
}
