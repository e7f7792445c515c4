import { layout } from '../../guest/architecture.ts';
import type { GuestCommand } from '../../guest/commands.ts';
import { mailbox } from '../../guest/commands.ts';
import {
  ExitReason,
  FallocateMode,
  GuestMemfdFlag,
  MapFlag,
  MemoryRegionFlag,
  Protection,
} from '../../kvm/constants.ts';
import { guestProgram } from '../../kvm/program.ts';
import { decodeGeneral, decodeSpecial, generalNamesOf } from '../../kvm/registers.ts';
import { callDescriptions } from '../trace/calls.ts';
import { exitOf } from '../trace/guest-state.ts';
import { type CapturedBytes, type CapturedCall, isBytes } from '../trace/log.ts';
import { showCommands } from '../trace/show.ts';
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

/** What the translation of calls goes by, besides the call at hand. */
interface Course {
  /** C names of objects by handle, with the address of a mapping. */
  readonly names: Map<number, { readonly name: string; readonly address?: bigint; readonly length?: bigint }>;
  /** Registers as they were last read, by vCPU and kind. */
  readonly registers: Map<string, Uint8Array>;
  /** What each vCPU was last told to do, and with what limit. */
  readonly tasks: Map<number, { commands: readonly GuestCommand[]; limit: number }>;
  /** The vCPU whose run has just ended. */
  justRan: number | undefined;
}

const page = 4096n;

/** Names of bits, as C has them. */
type Bits = Readonly<Record<string, number>>;

const prefixed = (prefix: string, names: Bits): Bits =>
  Object.fromEntries(Object.entries(names).map(([name, bit]) => [`${prefix}${name}`, bit]));

const guestMemfdFlags = prefixed('GUEST_MEMFD_FLAG_', GuestMemfdFlag);
const regionFlags = prefixed('KVM_MEM_', MemoryRegionFlag);
const protections = prefixed('PROT_', Protection);
const mapFlags = prefixed('MAP_', MapFlag);
const fallocateModes = prefixed('FALLOC_FL_', FallocateMode);

/** A mask by the names of its bits, where it has no others. */
function bits(mask: number | bigint, names: Bits): string {
  const set = Object.entries(names).filter(([, bit]) => bit !== 0 && (BigInt(mask) & BigInt(bit)) !== 0n);
  const known = set.reduce((sum, [, bit]) => sum | BigInt(bit), 0n);
  return set.length > 0 && known === BigInt(mask) ? set.map(([name]) => name).join(' | ') : number(mask);
}

const shown = (arg: string | number | bigint) => (typeof arg === 'string' ? arg : number(arg));

/** Translates one call after the other. */
export class Emitter {
  readonly #program: Program;
  readonly #architecture: string;
  readonly #course: Course = { names: new Map(), registers: new Map(), tasks: new Map(), justRan: undefined };

  constructor(program: Program, architecture: string) {
    this.#program = program;
    this.#architecture = architecture;
  }

  /** @param ahead the steps after this one */
  emit(step: Step, ahead: readonly Step[]): Emitted {
    const { call } = step;
    const emitted = this.#translate(step, ahead);
    this.#course.justRan = call.name === 'vcpuRun' || call.name === 'vcpuRunDone' ? Number(call.args[0]) : undefined;
    return emitted;
  }

  #name(handle: unknown): string {
    return this.#course.names.get(Number(handle))?.name ?? 'kvm';
  }

  /** Names what a call has made. */
  #made(call: CapturedCall, kind: string, type: string, length?: bigint): string | undefined {
    const handle = Number(call.result);
    if (!(handle > 0)) return undefined;
    const name = this.#program.fresh(kind);
    this.#program.declare(`static ${type}${name};`);
    this.#course.names.set(handle, {
      name,
      ...(typeof call.created === 'bigint' ? { address: call.created } : {}),
      ...(length === undefined ? {} : { length }),
    });
    return name;
  }

  #at(mapping: unknown, offset: unknown): string {
    const name = this.#name(mapping);
    return BigInt(offset as number) === 0n ? name : `${name} + ${number(offset as number)}`;
  }

  #call(fragment: string, ...args: readonly (string | number | bigint)[]): string {
    return `${this.#program.use(fragment)}(${args.map(shown).join(', ')})`;
  }

  /** A descriptor: one of the program's own, a file of another kind, or just a number. */
  #fd({ call, behindFd }: Step, fd: unknown): string {
    if (behindFd !== undefined) return this.#name(behindFd);
    if (call.file === undefined) return number(Number(fd));
    if (call.file === '/dev/kvm') return 'kvm';
    return call.file.startsWith('/') && !call.file.startsWith('/memfd:')
      ? 'open("/proc/self/exe", O_RDONLY | O_CLOEXEC)'
      : 'memfd_create("other", MFD_CLOEXEC)';
  }

  #translate(step: Step, ahead: readonly Step[]): Emitted {
    const { call } = step;
    const { args } = call;
    const [object, ...rest] = args as (number | bigint)[];
    const own = this.#name(object);
    const plain = rest as [number, number, number, number, number, number];
    switch (call.name) {
      case 'kvmCreateVm':
        return { expression: this.#call('create_vm', own, plain[0]), ...this.#target(this.#made(call, 'vm', 'int ')) };
      case 'kvmCheckExtension':
      case 'vmCheckExtension':
        return {
          expression: this.#call('check_extension', own, plain[0]),
          indifferent: true,
          observations: [{ c: this.#call('check_extension', own, plain[0]), recorded: BigInt(Number(call.result)) }],
        };
      case 'vmEnableCapability':
        return { expression: this.#call('enable_capability', own, ...plain) };
      case 'vmCreateGuestMemfd':
        return {
          expression: this.#call('create_guest_memfd', own, plain[0], bits(plain[1], guestMemfdFlags)),
          ...this.#target(this.#made(call, 'gmem', 'int ')),
        };
      case 'vmSetUserMemoryRegion':
        return { expression: this.#region(step) };
      case 'vmSetMemoryAttributes':
        return { expression: this.#call('set_memory_attributes', own, ...plain.slice(0, 4)) };
      case 'vmSetTssAddress':
        this.#program.use('set_address');
        return { expression: `set_tss_address(${own}, ${number(plain[0])})` };
      case 'vmSetIdentityMapAddress':
        this.#program.use('set_address');
        return { expression: `set_identity_map_address(${own}, ${number(plain[0])})` };
      case 'fileFallocate':
        return { expression: this.#call('allocate', own, bits(plain[0], fallocateModes), plain[1], plain[2]) };
      case 'fileFacts': {
        const words = wordsOf(args[1]);
        const seen = ['file_stat.st_size', 'file_stat.st_blksize', '', '', 'file_stat.st_mode', 'file_system.f_type'];
        return {
          expression: this.#call('file_facts', own),
          observations: seen.flatMap((c, i) => (c === '' ? [] : [{ c: `(uint64_t)${c}`, recorded: words[i] ?? 0n }])),
        };
      }
      case 'guestMemfdSetMemoryAttributes':
        return { expression: this.#call('set_memory_attributes2', own, ...plain.slice(0, 4)) };
      case 'map':
        return this.#map(step);
      case 'close':
        return this.#close(Number(object));
      case 'vcpuCreate': {
        const name = this.#made(call, 'vcpu', 'struct vcpu ');
        this.#program.use('vcpu');
        return { expression: `create_vcpu(kvm, ${own}, ${number(plain[0])}, &${name ?? this.#spareVcpu()})` };
      }
      case 'vcpuSetCpuid':
        return { expression: this.#call('set_cpuid', 'kvm', `${own}.fd`) };
      case 'vcpuTransfer':
        return this.#registers(call, own);
      case 'vcpuPreFault': {
        const [, size = 0n] = wordsOf(args[4]);
        return {
          expression: this.#call('pre_fault', `${own}.fd`, ...plain.slice(0, 3)),
          observations: [{ c: 'left.size', recorded: size }],
        };
      }
      case 'vcpuWriteRun': {
        const [at, bytes] = [Number(plain[0]), args[2] as CapturedBytes];
        this.#program.use('write_run');
        const words = wordsOf(bytes);
        return {
          statements: words.map(
            (word, i) =>
              `write_run(&${own}, ${number(at + 8 * i)}, ${number(word)}, ${Math.min(8, bytes.length - 8 * i)});`,
          ),
        };
      }
      case 'vcpuRun':
      case 'vcpuRunAsync':
      case 'vcpuRunDone':
      case 'vcpuStop':
        return this.#run(call, own);
      case 'rawIoctl':
      case 'rawIoctlInChild': {
        const [, request, bytes] = args;
        const content = isBytes(bytes) ? this.#program.bytes(contentOf(bytes)) : 'NULL';
        const fragment = call.name === 'rawIoctl' ? 'ioctl_bytes' : 'ioctl_in_child';
        const length = isBytes(bytes) ? bytes.length : 0;
        return { expression: this.#call(fragment, this.#fd(step, object), request as number, content, length) };
      }
      case 'rawFallocateInChild':
        return {
          expression: this.#call(
            'allocate_in_child',
            this.#fd(step, object),
            bits(plain[0], fallocateModes),
            plain[1],
            plain[2],
          ),
        };
      case 'mappingPin':
      case 'mappingForkChild':
      case 'childLoad':
      case 'childStore':
        return { unsupported: callDescriptions[call.name].call };
      default:
        return this.#memory(call, ahead);
    }
  }

  #target(name: string | undefined): { target?: string } {
    return name === undefined ? {} : { target: name };
  }

  #spareVcpu(): string {
    const name = this.#program.fresh('vcpu');
    this.#program.declare(`static struct vcpu ${name};`);
    return name;
  }

  #region(step: Step): string {
    const [vm, slot, flags, gpa, size, address, fd, offset, legacy, mapping] = step.call.args as number[];
    const known = [...this.#course.names.values()].find(
      (one) =>
        one.address !== undefined &&
        BigInt(address ?? 0) >= one.address &&
        BigInt(address ?? 0) < one.address + (one.length ?? 0n),
    );
    const within = known?.address === undefined ? 0n : BigInt(address ?? 0) - known.address;
    const memory = known
      ? within === 0n
        ? known.name
        : `${known.name} + ${number(within)}`
      : mapping
        ? this.#name(mapping)
        : `(void *)${number(address ?? 0)}`;
    this.#program.use('set_memory_region');
    const request = legacy === 1 ? 'KVM_SET_USER_MEMORY_REGION' : 'KVM_SET_USER_MEMORY_REGION2';
    const file = this.#fd(step, fd);
    const values = [slot ?? 0, bits(flags ?? 0, regionFlags), gpa ?? 0, size ?? 0].map(shown);
    return `set_memory_region(${this.#name(vm)}, ${request}, ${values.join(', ')}, ${memory}, ${file}, ${number(offset ?? 0)})`;
  }

  #map(step: Step): Emitted {
    const { call } = step;
    const [fd, offset, length, protection, flags, alignment] = call.args as number[];
    const whole = ((BigInt(length ?? 0) + page - 1n) / page) * page;
    const file = this.#fd(step, fd);
    const name = this.#made(call, 'map', 'char *', whole);
    return {
      expression: this.#call(
        'map_memory',
        file,
        offset ?? 0,
        length ?? 0,
        bits(protection ?? 0, protections),
        bits(flags ?? 0, mapFlags),
        alignment ?? 0,
      ),
      ...(name ? { target: name, cast: '(char *)' } : {}),
    };
  }

  #close(handle: number): Emitted {
    const known = this.#course.names.get(handle);
    if (!known) return {};
    this.#course.names.delete(handle);
    if (known.length !== undefined) return { statements: [`munmap(${known.name}, ${number(known.length)});`] };
    if (known.name.startsWith('vcpu')) return { statements: [`${this.#program.use('close_vcpu')}(&${known.name});`] };
    return { statements: [`close(${known.name});`] };
  }

  /** Only what was changed between reading and writing is told, so that the rest is the host's own. */
  #registers(call: CapturedCall, own: string): Emitted {
    const [vcpu, which, state] = call.args as [number, number, CapturedBytes];
    const special = which >= 2;
    const [fragment, variable] = special
      ? ['sregs', 'sregs']
      : this.#architecture === 'arm64'
        ? ['core_regs', 'core']
        : ['regs', 'regs'];
    this.#program.use(fragment);
    const key = `${vcpu} ${special}`;
    const content = contentOf(state);
    if (which === 0 || which === 2) {
      this.#course.registers.set(key, content);
      return { expression: `get_${variable}(${own}.fd)` };
    }
    const before = this.#course.registers.get(key) ?? new Uint8Array(content.length);
    const changes = special ? specialChanges(before, content) : generalChanges(before, content, this.#architecture);
    this.#course.registers.set(key, content);
    return { statements: changes, expression: `set_${variable}(${own}.fd)` };
  }

  #run(call: CapturedCall, own: string): Emitted {
    const vcpu = Number(call.args[0]);
    const before = this.#course.tasks.get(vcpu);
    const limit = call.name === 'vcpuRun' || call.name === 'vcpuRunAsync' ? Number(call.args[1]) : (before?.limit ?? 0);
    const commands = Array.isArray(call.subject) ? (call.subject as GuestCommand[]) : (before?.commands ?? []);
    this.#course.tasks.set(vcpu, { commands, limit });
    this.#program.use('vcpu');
    if (call.name === 'vcpuStop') {
      this.#program.use('thread');
      return { statements: [`stop_vcpu(&${own});`] };
    }
    if (call.name === 'vcpuRunAsync') {
      this.#program.use('thread');
      return { statements: [`start_vcpu(&${own});`] };
    }
    const wait = limit === 0 ? 1e9 : limit;
    if (call.name === 'vcpuRunDone') this.#program.use('thread');
    const expression =
      call.name === 'vcpuRun' ? this.#call('run_vcpu', `&${own}`, String(wait)) : `finish_vcpu(&${own}, ${wait})`;
    // What finishes an exit runs no instruction of the guest's.
    if (call.name === 'vcpuRun' && wait < 0.01) return { expression, indifferent: true };
    return { expression, indifferent: true, observations: this.#exit(call, own) };
  }

  #exit(call: CapturedCall, own: string): Observation[] {
    const exit = exitOf(call);
    this.#program.use('exit_of');
    const reason = reasonOf(call, this.#architecture);
    const seen: Observation[] = [{ c: `exit_of(&${own}, rc)`, recorded: BigInt(reason) }];
    if (exit?.reason === 'MMIO' && reason !== done)
      seen.push({ c: `${own}.run->mmio.phys_addr`, recorded: exit.guestPhysAddr });
    if (exit?.reason === 'MEMORY_FAULT')
      seen.push(
        { c: `${own}.run->memory_fault.gpa`, recorded: exit.guestPhysAddr },
        { c: `${own}.run->memory_fault.flags`, recorded: exit.flags },
      );
    if (exit?.reason === 'HYPERCALL')
      for (let i = 0; i < 3; i++) seen.push({ c: `${own}.run->words[${1 + i}]`, recorded: exit.args[i] ?? 0n });
    return seen;
  }

  #memory(call: CapturedCall, ahead: readonly Step[]): Emitted {
    const { args } = call;
    const [mapping, offset] = args as [number, number];
    const at = this.#at(mapping, offset);
    switch (call.name) {
      case 'mappingWrite':
        return this.#write(call, at, ahead);
      case 'mappingFill': {
        const length = BigInt(args[2] as number);
        return {
          expression: this.#call('fill_memory', at, length, Number(args[3])),
          access: { faults: `rc != ${number(length)}`, done: BigInt(Number(call.result)) },
        };
      }
      case 'mappingCompare': {
        const bytes = args[2] as CapturedBytes;
        return {
          expression: this.#compare(at, bytes),
          access: { faults: 'rc < 0', done: BigInt(Math.max(-1, Number(call.result))) },
        };
      }
      case 'mappingRead':
        return this.#read(call, at);
      case 'mappingAdvise':
        return { expression: this.#call('advise', at, Number(args[2]), Number(args[3])) };
      case 'mappingProtect':
        return { expression: this.#call('protect', at, Number(args[2]), Number(args[3])) };
      case 'mappingBind': {
        const [nodes = 0n] = wordsOf(args[5]);
        const [, , length, mode, flags] = args as number[];
        return { expression: this.#call('bind_memory', at, length ?? 0, mode ?? 0, flags ?? 0, nodes) };
      }
      case 'mappingPolicy': {
        const [mode = 0n, nodes = 0n] = wordsOf(args[2]);
        return {
          expression: this.#call('policy_of', at),
          observations: [
            { c: '(uint64_t)policy_mode', recorded: mode },
            { c: 'policy_nodes[0]', recorded: nodes },
          ],
        };
      }
      case 'mappingResidency':
        return {
          expression: this.#call('resident', at, Number(args[2])),
          observations: [...contentOf(args[3] as CapturedBytes).subarray(0, 16)].map((one, i) => ({
            c: `(resident_pages[${i}] & 1u)`,
            recorded: BigInt(one & 1),
          })),
        };
      case 'mappingNodes': {
        const content = contentOf(args[2] as CapturedBytes);
        const nodes = new Int32Array(content.slice().buffer);
        return {
          expression: this.#call('nodes_of', at, nodes.length),
          observations: [...nodes.subarray(0, 16)].map((one, i) => ({
            c: `(uint64_t)page_nodes[${i}]`,
            recorded: BigInt.asUintN(64, BigInt(one)),
          })),
        };
      }
      default:
        return {};
    }
  }

  #compare(at: string, bytes: CapturedBytes): string {
    const content = contentOf(bytes);
    const [first = 0] = content;
    if (bytes.uniform !== undefined || content.every((byte) => byte === first))
      return this.#call('compare_fill', at, bytes.length, bytes.uniform ?? first);
    return this.#call('compare_memory', at, bytes.length, this.#program.bytes(content));
  }

  #write(call: CapturedCall, at: string, ahead: readonly Step[]): Emitted {
    const bytes = call.args[2] as CapturedBytes;
    const access = { faults: `rc != ${number(bytes.length)}`, done: BigInt(Number(call.result)) };
    const content = contentOf(bytes);
    const [first = 0] = content;
    const commands = commandsAhead(ahead);
    if (
      commands &&
      Number(call.args[1]) === layout.mailbox &&
      bytes.length === (commands.length + 1) * mailbox.commandSize
    )
      return this.#commandList(call, commands, content);
    if (content.every((byte) => byte === first))
      return { expression: this.#call('fill_memory', at, bytes.length, first), access };
    const words = wordsOf(bytes);
    const growth = (words[1] ?? 0n) - (words[0] ?? 0n);
    if (
      bytes.length >= 64 &&
      bytes.length % 8 === 0 &&
      words.every((one, i) => i === 0 || one - (words[i - 1] ?? 0n) === growth)
    ) {
      this.#program.use('write_words');
      return { statements: [`write_words(${at}, ${words.length}, ${number(words[0] ?? 0n)}, ${number(growth)});`] };
    }
    const program = guestProgram();
    const isProgram = content.length === program.length && Buffer.compare(content, program) === 0;
    const name = isProgram ? this.#guestProgram(content) : this.#program.bytes(content);
    return { expression: this.#call('write_memory', at, bytes.length, name), access };
  }

  #programName: string | undefined;
  #guestProgram(content: Uint8Array): string {
    this.#programName ??= this.#program.bytes(content, 'guest_program');
    return this.#programName;
  }

  /** The agent's mailbox, as commands. */
  #commandList(call: CapturedCall, commands: readonly GuestCommand[], content: Uint8Array): Emitted {
    this.#program.use('guest_commands');
    const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
    const rows = commands.map(({ op }, i) => {
      const base = i * mailbox.commandSize;
      const fields = [0, 1, 2, 3].map((j) => view.getBigUint64(base + 8 + 8 * j, true));
      while (fields.length > 1 && fields.at(-1) === 0n) fields.pop();
      const width = op === 'hypercall' ? 0 : view.getUint32(base + 4, true);
      return `\t{ ${opName(op)}, ${width}, ${fields.map(number).join(', ')} },`;
    });
    const name = this.#program.fresh('list');
    this.#program.declare(`static const struct command ${name}[] = {\n${rows.join('\n')}\n\t{ END },\n};`);
    const at = this.#at(call.args[0], call.args[1]);
    const statements = [`memcpy(${at}, ${name}, sizeof(${name})); /* ${showCommands(commands)} */`];
    for (const [i, { op }] of commands.entries())
      if (op === 'hypercall') {
        this.#program.use('vmmcall');
        statements.push(
          `((struct command *)(${at}))[${i}].width = ${this.#architecture === 'x64' ? 'vmmcall()' : '0'};`,
        );
      }
    return { statements };
  }

  #read(call: CapturedCall, at: string): Emitted {
    const bytes = call.args[2] as CapturedBytes;
    const [mapping, offset] = call.args as [number, number];
    const task = this.#course.justRan === undefined ? undefined : this.#course.tasks.get(this.#course.justRan);
    if (task && offset === layout.mailbox && bytes.length === task.commands.length * mailbox.commandSize)
      return this.#results(mapping, task.commands, contentOf(bytes));
    if (Number(call.result) < bytes.length || bytes.length === 0)
      return { expression: this.#call('compare_fill', at, bytes.length, 0), access: { faults: 'rc < 0', done: -1n } };
    if (bytes.length <= 8) {
      const [word = 0n] = wordsOf(bytes);
      return { observations: [{ c: this.#call('number_at', at, bytes.length), recorded: word }] };
    }
    return { observations: [{ c: this.#compare(at, bytes), recorded: BigInt(bytes.length) }] };
  }

  /** What the guest's commands gave. */
  #results(mapping: number, commands: readonly GuestCommand[], content: Uint8Array): Emitted {
    const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
    const observations: Observation[] = [];
    const unequal: string[] = [];
    for (const [i, command] of commands.entries()) {
      const base = i * mailbox.commandSize;
      if (view.getBigUint64(base + mailbox.stateOffset, true) !== mailbox.stateDone) break;
      if (!['load', 'compare', 'checksum', 'hypercall', 'portIn'].includes(command.op)) continue;
      const recorded = view.getBigUint64(base + mailbox.resultOffset, true);
      const c = this.#call('word_at', this.#at(mapping, layout.mailbox + base + mailbox.resultOffset));
      observations.push({ c, recorded });
      if (command.op === 'compare' && recorded !== BigInt(command.length))
        unequal.push(`${c} != ${number(BigInt(command.length))}`);
    }
    return {
      observations: observations.slice(-8),
      ...(unequal.length > 0 ? { misbehaves: unequal.join(' || ') } : {}),
    };
  }
}

/** As DONE and TIMEOUT of the C programs. */
export const done = 1000;
const timeout = 1001;

/** What exit_of() of the C programs gives for a run. */
export function reasonOf(call: CapturedCall, architecture: string): number {
  const exit = exitOf(call);
  if (!exit) return Number(call.result);
  if (exit.reason === 'INTR') return timeout;
  if (architecture === 'x64' && exit.reason === 'IO' && exit.direction === 'out' && exit.port === 0x600) return done;
  if (
    architecture === 'arm64' &&
    exit.reason === 'MMIO' &&
    exit.isWrite &&
    (exit.guestPhysAddr & 0xfffffn) === 0x50000n
  )
    return done;
  return exit.reason === 'OTHER' ? exit.exitReason : ExitReason[exit.reason as keyof typeof ExitReason];
}

const opName = (op: string) => op.replace(/[A-Z]/g, '_$&').toUpperCase();

/** The commands of the next run, where it is about to begin. */
function commandsAhead(ahead: readonly Step[]): readonly GuestCommand[] | undefined {
  for (const { call } of ahead)
    if (call.name === 'vcpuRun' || call.name === 'vcpuRunAsync')
      return Array.isArray(call.subject) ? (call.subject as GuestCommand[]) : undefined;
  return undefined;
}

function contentOf(bytes: CapturedBytes): Uint8Array {
  return bytes.uniform === undefined ? bytes.bytes : new Uint8Array(bytes.length).fill(bytes.uniform);
}

/** The 64-bit words of a buffer; the last one may be a part of one. */
function wordsOf(value: unknown): bigint[] {
  if (!isBytes(value)) return [];
  const padded = new Uint8Array(Math.ceil(value.length / 8) * 8);
  padded.set(contentOf(value).subarray(0, value.length));
  return [...new BigUint64Array(padded.buffer)];
}

function generalChanges(before: Uint8Array, after: Uint8Array, architecture: string): string[] {
  const names = generalNamesOf(architecture);
  const [old, changed] = [decodeGeneral(before, names), decodeGeneral(after, names)] as unknown as [
    Record<string, bigint>,
    Record<string, bigint>,
  ];
  return names.flatMap((name, i) =>
    old[name] === changed[name]
      ? []
      : [`${architecture === 'arm64' ? `core[${i}]` : `regs.${name}`} = ${number(changed[name] ?? 0n)};`],
  );
}

function specialChanges(before: Uint8Array, after: Uint8Array): string[] {
  const [old, changed] = [decodeSpecial(before), decodeSpecial(after)] as unknown as [
    Record<string, unknown>,
    Record<string, unknown>,
  ];
  return Object.entries(changed).flatMap(([name, value]) => {
    const field = name === 'apicBase' ? 'apic_base' : name;
    if (typeof value === 'bigint') return old[name] === value ? [] : [`sregs.${field} = ${number(value)};`];
    const was = old[name] as Record<string, number | bigint>;
    return Object.entries(value as Record<string, number | bigint>)
      .filter(([part, one]) => was[part] !== one)
      .map(([part, one]) => `sregs.${field}.${part} = ${number(one)};`);
  });
}

/** True for a call that only asks, and changes nothing. */
export function isQuestion(call: CapturedCall): boolean {
  return (
    ['kvmApiVersion', 'kvmCheckExtension', 'vmCheckExtension', 'kvmSupportedCpuid', 'kvmVcpuMmapSize'].includes(
      call.name,
    ) ||
    call.name === 'kvmOpen' ||
    !(call.name in callDescriptions)
  );
}
