import type { GuestCommand } from '../../guest/commands.ts';
import { ExitReason } from '../../kvm/constants.ts';
import { decodeGeneral, decodeSpecial, generalNamesOf } from '../../kvm/registers.ts';
import { exitOf } from '../trace/guest-state.ts';
import type { CapturedBytes, CapturedCall } from '../trace/log.ts';
import { contentOf, wordsOf } from './content.ts';
import type { Course, Emitted, Observation } from './course.ts';
import { number } from './program.ts';

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

function spareVcpu(course: Course): string {
  const name = course.program.fresh('vcpu');
  course.program.declare(`static struct vcpu ${name};`);
  return name;
}

/** A call about a vCPU; undefined for any other. */
export function emitVcpu(course: Course, call: CapturedCall): Emitted | undefined {
  const [object, ...plain] = call.args as [number, number, number, number];
  const own = course.name(object);
  switch (call.name) {
    case 'vcpuCreate': {
      const name = course.made(call, 'vcpu', 'struct vcpu ');
      course.program.use('vcpu');
      return { expression: `create_vcpu(kvm, ${own}, ${number(plain[0])}, &${name ?? spareVcpu(course)})` };
    }
    case 'vcpuSetCpuid':
      return { expression: course.call('set_cpuid', 'kvm', `${own}.fd`) };
    case 'vcpuTransfer':
      return transferred(course, call, own);
    case 'vcpuPreFault': {
      const [, size = 0n] = wordsOf(call.args[4]);
      return {
        expression: course.call('pre_fault', `${own}.fd`, ...plain.slice(0, 3)),
        observations: [{ c: 'left.size', recorded: size }],
      };
    }
    case 'vcpuWriteRun': {
      const at = Number(plain[0]);
      const bytes = call.args[2] as CapturedBytes;
      course.program.use('write_run');
      return {
        statements: wordsOf(bytes).map(
          (word, i) =>
            `write_run(&${own}, ${number(at + 8 * i)}, ${number(word)}, ${Math.min(8, bytes.length - 8 * i)});`,
        ),
      };
    }
    case 'vcpuRun':
    case 'vcpuRunAsync':
    case 'vcpuRunDone':
    case 'vcpuStop':
      return ran(course, call, own);
    default:
      return undefined;
  }
}

/** Only what was changed between reading and writing is told, so that the rest is the host's own. */
function transferred(course: Course, call: CapturedCall, own: string): Emitted {
  const [vcpu, which, state] = call.args as [number, number, CapturedBytes];
  const special = which >= 2;
  const [fragment, variable] = special
    ? ['sregs', 'sregs']
    : course.architecture === 'arm64'
      ? ['core_regs', 'core']
      : ['regs', 'regs'];
  course.program.use(fragment);
  const key = `${vcpu} ${special}`;
  const content = contentOf(state);
  if (which === 0 || which === 2) {
    course.registers.set(key, content);
    return { expression: `get_${variable}(${own}.fd)` };
  }
  const before = course.registers.get(key) ?? new Uint8Array(content.length);
  const changes = special ? specialChanges(before, content) : generalChanges(before, content, course.architecture);
  course.registers.set(key, content);
  return { statements: changes, expression: `set_${variable}(${own}.fd)` };
}

function ran(course: Course, call: CapturedCall, own: string): Emitted {
  const vcpu = Number(call.args[0]);
  const before = course.tasks.get(vcpu);
  const limit = call.name === 'vcpuRun' || call.name === 'vcpuRunAsync' ? Number(call.args[1]) : (before?.limit ?? 0);
  const commands = Array.isArray(call.subject) ? (call.subject as GuestCommand[]) : (before?.commands ?? []);
  course.tasks.set(vcpu, { commands, limit });
  course.program.use('vcpu');
  if (call.name === 'vcpuStop') {
    course.program.use('thread');
    return { statements: [`stop_vcpu(&${own});`] };
  }
  if (call.name === 'vcpuRunAsync') {
    course.program.use('thread');
    return { statements: [`start_vcpu(&${own});`] };
  }
  const wait = limit === 0 ? 1e9 : limit;
  if (call.name === 'vcpuRunDone') course.program.use('thread');
  const expression =
    call.name === 'vcpuRun' ? course.call('run_vcpu', `&${own}`, String(wait)) : `finish_vcpu(&${own}, ${wait})`;
  // What finishes an exit runs no instruction of the guest's.
  if (call.name === 'vcpuRun' && wait < 0.01) return { expression, indifferent: true };
  return { expression, indifferent: true, observations: observedExit(course, call, own) };
}

function observedExit(course: Course, call: CapturedCall, own: string): Observation[] {
  const exit = exitOf(call);
  course.program.use('exit_of');
  const reason = reasonOf(call, course.architecture);
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
