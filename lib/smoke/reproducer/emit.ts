import { FallocateMode, GuestMemfdFlag, MapFlag, MemoryRegionFlag, Protection } from '../../kvm/constants.ts';
import { callDescriptions } from '../trace/calls.ts';
import { type CapturedCall, isBytes } from '../trace/log.ts';
import { contentOf, wordsOf } from './content.ts';
import { Course, type Emitted, shown } from './course.ts';
import { emitFileCall } from './emit-file-call.ts';
import { emitMemory } from './emit-memory.ts';
import { emitVcpu } from './emit-vcpu.ts';
import { number, type Program } from './program.ts';
import type { Step } from './slice.ts';

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

function region(course: Course, step: Step): string {
  const [vm, slot, flags, gpa, size, address, fd, offset, legacy, mapping] = step.call.args as number[];
  const known = [...course.names.values()].find(
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
      ? course.name(mapping)
      : `(void *)${number(address ?? 0)}`;
  course.program.use('set_memory_region');
  const request = legacy === 1 ? 'KVM_SET_USER_MEMORY_REGION' : 'KVM_SET_USER_MEMORY_REGION2';
  const file = course.fd(step, fd);
  const values = [slot ?? 0, bits(flags ?? 0, regionFlags), gpa ?? 0, size ?? 0].map(shown);
  return `set_memory_region(${course.name(vm)}, ${request}, ${values.join(', ')}, ${memory}, ${file}, ${number(offset ?? 0)})`;
}

function mapped(course: Course, step: Step): Emitted {
  const { call } = step;
  const [fd, offset, length, protection, flags, alignment] = call.args as number[];
  const whole = ((BigInt(length ?? 0) + page - 1n) / page) * page;
  const file = course.fd(step, fd);
  const name = course.made(call, 'map', 'char *', whole);
  return {
    expression: course.call(
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

function closed(course: Course, handle: number): Emitted {
  const known = course.names.get(handle);
  if (!known) return {};
  course.names.delete(handle);
  if (known.length !== undefined) return { statements: [`munmap(${known.name}, ${number(known.length)});`] };
  if (known.name.startsWith('pin')) return { statements: [`unpin_memory(${known.name});`] };
  if (known.name.startsWith('child')) return { statements: [`end_child(&${known.name});`] };
  if (known.name.startsWith('vcpu')) return { statements: [`${course.program.use('close_vcpu')}(&${known.name});`] };
  return { statements: [`close(${known.name});`] };
}

const target = (name: string | undefined): { target?: string } => (name === undefined ? {} : { target: name });

/** A call about a VM, a guest_memfd or a descriptor, and what makes and ends mappings; undefined for any other. */
function emitObject(course: Course, step: Step): Emitted | undefined {
  const { call } = step;
  const { args } = call;
  const [object, ...rest] = args as (number | bigint)[];
  const own = course.name(object);
  const plain = rest as [number, number, number, number, number, number];
  switch (call.name) {
    case 'kvmCreateVm':
      return { expression: course.call('create_vm', own, plain[0]), ...target(course.made(call, 'vm', 'int ')) };
    case 'kvmCheckExtension':
    case 'vmCheckExtension':
      return {
        expression: course.call('check_extension', own, plain[0]),
        indifferent: true,
        observations: [{ c: course.call('check_extension', own, plain[0]), recorded: BigInt(Number(call.result)) }],
      };
    case 'vmEnableCapability':
      return { expression: course.call('enable_capability', own, ...plain) };
    case 'vmCreateGuestMemfd':
      return {
        expression: course.call('create_guest_memfd', own, plain[0], bits(plain[1], guestMemfdFlags)),
        ...target(course.made(call, 'gmem', 'int ')),
      };
    case 'vmSetUserMemoryRegion':
      return { expression: region(course, step) };
    case 'vmSetMemoryAttributes':
      return { expression: course.call('set_memory_attributes', own, ...plain.slice(0, 4)) };
    case 'vmSetTssAddress':
      course.program.use('set_address');
      return { expression: `set_tss_address(${own}, ${number(plain[0])})` };
    case 'vmSetIdentityMapAddress':
      course.program.use('set_address');
      return { expression: `set_identity_map_address(${own}, ${number(plain[0])})` };
    case 'guestMemfdFallocate':
      return { expression: course.call('allocate', own, bits(plain[0], fallocateModes), plain[1], plain[2]) };
    case 'guestMemfdFacts': {
      const words = wordsOf(args[1]);
      const seen = ['file_stat.st_size', 'file_stat.st_blksize', '', '', 'file_stat.st_mode', 'file_system.f_type'];
      return {
        expression: course.call('file_facts', own),
        observations: seen.flatMap((c, i) => (c === '' ? [] : [{ c: `(uint64_t)${c}`, recorded: words[i] ?? 0n }])),
      };
    }
    case 'guestMemfdSetMemoryAttributes':
      return { expression: course.call('set_memory_attributes2', own, ...plain.slice(0, 4)) };
    case 'map':
      return mapped(course, step);
    case 'close':
      return closed(course, Number(object));
    case 'rawIoctl':
    case 'rawIoctlInChild': {
      const [, request, bytes] = args;
      const content = isBytes(bytes) ? course.program.bytes(contentOf(bytes)) : 'NULL';
      const fragment = call.name === 'rawIoctl' ? 'ioctl_bytes' : 'ioctl_in_child';
      const length = isBytes(bytes) ? bytes.length : 0;
      return { expression: course.call(fragment, course.fd(step, object), request as number, content, length) };
    }
    case 'rawFallocateInChild':
      return {
        expression: course.call(
          'allocate_in_child',
          course.fd(step, object),
          bits(plain[0], fallocateModes),
          plain[1],
          plain[2],
        ),
      };
    default:
      return undefined;
  }
}

/** Translates one call after the other. */
export class Emitter {
  readonly #course: Course;

  constructor(program: Program, architecture: string) {
    this.#course = new Course(program, architecture);
  }

  /** @param ahead the steps after this one */
  emit(step: Step, ahead: readonly Step[]): Emitted {
    const { call } = step;
    const emitted =
      emitObject(this.#course, step) ??
      emitVcpu(this.#course, call) ??
      emitFileCall(this.#course, step) ??
      emitMemory(this.#course, call, ahead);
    this.#course.justRan = call.name === 'vcpuRun' || call.name === 'vcpuRunDone' ? Number(call.args[0]) : undefined;
    return emitted;
  }
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
