import { layout } from '../../guest/architecture.ts';
import type { GuestCommand } from '../../guest/commands.ts';
import { mailbox } from '../../guest/commands.ts';
import { guestProgram } from '../../kvm/program.ts';
import type { CapturedBytes, CapturedCall } from '../trace/log.ts';
import { showCommands } from '../trace/show.ts';
import { contentOf, wordsOf } from './content.ts';
import type { Course, Emitted, Observation } from './course.ts';
import { number } from './program.ts';
import type { Step } from './slice.ts';

const opName = (op: string) => op.replace(/[A-Z]/g, '_$&').toUpperCase();

/** The commands of the next run, where it is about to begin. */
function commandsAhead(ahead: readonly Step[]): readonly GuestCommand[] | undefined {
  for (const { call } of ahead)
    if (call.name === 'vcpuRun' || call.name === 'vcpuRunAsync')
      return Array.isArray(call.subject) ? (call.subject as GuestCommand[]) : undefined;
  return undefined;
}

/** An access to guest memory, or a call about the memory of a mapping. */
export function emitMemory(course: Course, call: CapturedCall, ahead: readonly Step[]): Emitted {
  const { args } = call;
  const [mapping, offset = 0] = args as [number, number?];
  const at = course.at(mapping, offset);
  switch (call.name) {
    case 'mappingWrite':
      return write(course, call, at, ahead);
    case 'mappingFill': {
      const length = BigInt(args[2] as number);
      return {
        expression: course.call('fill_memory', at, length, Number(args[3])),
        access: { faults: `rc != ${number(length)}`, done: BigInt(Number(call.result)) },
      };
    }
    case 'mappingCompare': {
      const bytes = args[2] as CapturedBytes;
      return {
        expression: compare(course, at, bytes),
        access: { faults: 'rc < 0', done: BigInt(Math.max(-1, Number(call.result))) },
      };
    }
    case 'mappingRead':
      return read(course, call, at);
    case 'mappingAdvise':
      return { expression: course.call('advise', at, Number(args[2]), Number(args[3])) };
    case 'mappingProtect':
      return { expression: course.call('protect', at, Number(args[2]), Number(args[3])) };
    case 'mappingBind': {
      const [nodes = 0n] = wordsOf(args[5]);
      const [, , length, mode, flags] = args as number[];
      return { expression: course.call('bind_memory', at, length ?? 0, mode ?? 0, flags ?? 0, nodes) };
    }
    case 'mappingPolicy': {
      const [mode = 0n, nodes = 0n] = wordsOf(args[2]);
      return {
        expression: course.call('policy_of', at),
        observations: [
          { c: '(uint64_t)policy_mode', recorded: mode },
          { c: 'policy_nodes[0]', recorded: nodes },
        ],
      };
    }
    case 'mappingResidency':
      return {
        expression: course.call('resident', at, Number(args[2])),
        observations: [...contentOf(args[3] as CapturedBytes).subarray(0, 16)].map((one, i) => ({
          c: `(resident_pages[${i}] & 1u)`,
          recorded: BigInt(one & 1),
        })),
      };
    case 'mappingNodes': {
      const content = contentOf(args[2] as CapturedBytes);
      const nodes = new Int32Array(content.slice().buffer);
      return {
        expression: course.call('nodes_of', at, nodes.length),
        observations: [...nodes.subarray(0, 16)].map((one, i) => ({
          c: `(uint64_t)page_nodes[${i}]`,
          recorded: BigInt.asUintN(64, BigInt(one)),
        })),
      };
    }
    case 'mappingPin': {
      const name = course.made(call, 'pin', 'int ');
      return {
        expression: course.call('pin_memory', at, Number(args[2])),
        ...(name === undefined ? {} : { target: name }),
      };
    }
    case 'mappingForkChild': {
      const name = course.made(call, 'child', 'struct child ');
      if (name === undefined) return { unsupported: 'fork, which failed' };
      course.names.set(Number(call.result), { name, memory: course.name(mapping) });
      course.program.use('fork_child');
      return { expression: `fork_child(&${name})` };
    }
    case 'childLoad':
    case 'childStore': {
      const child = course.names.get(mapping);
      const place = BigInt(offset) === 0n ? `${child?.memory}` : `${child?.memory} + ${number(offset)}`;
      const expression =
        call.name === 'childLoad'
          ? course.call('child_load', `&${child?.name}`, place)
          : course.call('child_store', `&${child?.name}`, place, Number(args[2]));
      const recorded = BigInt(Number(call.result));
      return {
        expression,
        access: { faults: 'rc < 0', done: recorded },
        ...(call.name === 'childLoad' ? { observations: [{ c: expression, recorded }] } : {}),
      };
    }
    default:
      return {};
  }
}

function compare(course: Course, at: string, bytes: CapturedBytes): string {
  const content = contentOf(bytes);
  const [first = 0] = content;
  if (bytes.uniform !== undefined || content.every((byte) => byte === first))
    return course.call('compare_fill', at, bytes.length, bytes.uniform ?? first);
  return course.call('compare_memory', at, bytes.length, course.program.bytes(content));
}

function write(course: Course, call: CapturedCall, at: string, ahead: readonly Step[]): Emitted {
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
    return commandList(course, call, commands, content);
  if (content.every((byte) => byte === first))
    return { expression: course.call('fill_memory', at, bytes.length, first), access };
  const words = wordsOf(bytes);
  const growth = (words[1] ?? 0n) - (words[0] ?? 0n);
  if (
    bytes.length >= 64 &&
    bytes.length % 8 === 0 &&
    words.every((one, i) => i === 0 || one - (words[i - 1] ?? 0n) === growth)
  ) {
    course.program.use('write_words');
    return { statements: [`write_words(${at}, ${words.length}, ${number(words[0] ?? 0n)}, ${number(growth)});`] };
  }
  const program = guestProgram();
  const isProgram = content.length === program.length && Buffer.compare(content, program) === 0;
  const name = isProgram ? guestProgramName(course, content) : course.program.bytes(content);
  return { expression: course.call('write_memory', at, bytes.length, name), access };
}

function guestProgramName(course: Course, content: Uint8Array): string {
  course.guestProgram ??= course.program.bytes(content, 'guest_program');
  return course.guestProgram;
}

/** The agent's mailbox, as commands. */
function commandList(
  course: Course,
  call: CapturedCall,
  commands: readonly GuestCommand[],
  content: Uint8Array,
): Emitted {
  course.program.use('guest_commands');
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const rows = commands.map(({ op }, i) => {
    const base = i * mailbox.commandSize;
    const fields = [0, 1, 2, 3].map((j) => view.getBigUint64(base + 8 + 8 * j, true));
    while (fields.length > 1 && fields.at(-1) === 0n) fields.pop();
    const width = op === 'hypercall' ? 0 : view.getUint32(base + 4, true);
    return `\t{ ${opName(op)}, ${width}, ${fields.map(number).join(', ')} },`;
  });
  const name = course.program.fresh('list');
  course.program.declare(`static const struct command ${name}[] = {\n${rows.join('\n')}\n\t{ END },\n};`);
  const at = course.at(call.args[0], call.args[1]);
  const statements = [`memcpy(${at}, ${name}, sizeof(${name})); /* ${showCommands(commands)} */`];
  for (const [i, { op }] of commands.entries())
    if (op === 'hypercall') {
      course.program.use('vmmcall');
      statements.push(
        `((struct command *)(${at}))[${i}].width = ${course.architecture === 'x64' ? 'vmmcall()' : '0'};`,
      );
    }
  return { statements };
}

function read(course: Course, call: CapturedCall, at: string): Emitted {
  const bytes = call.args[2] as CapturedBytes;
  const [mapping, offset] = call.args as [number, number];
  const task = course.justRan === undefined ? undefined : course.tasks.get(course.justRan);
  if (task && offset === layout.mailbox && bytes.length === task.commands.length * mailbox.commandSize)
    return results(course, mapping, task.commands, contentOf(bytes));
  if (Number(call.result) < bytes.length || bytes.length === 0)
    return { expression: course.call('compare_fill', at, bytes.length, 0), access: { faults: 'rc < 0', done: -1n } };
  if (bytes.length <= 8) {
    const [word = 0n] = wordsOf(bytes);
    return { observations: [{ c: course.call('number_at', at, bytes.length), recorded: word }] };
  }
  return { observations: [{ c: compare(course, at, bytes), recorded: BigInt(bytes.length) }] };
}

/** What the guest's commands gave. */
function results(course: Course, mapping: number, commands: readonly GuestCommand[], content: Uint8Array): Emitted {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const observations: Observation[] = [];
  const unequal: string[] = [];
  for (const [i, command] of commands.entries()) {
    const base = i * mailbox.commandSize;
    if (view.getBigUint64(base + mailbox.stateOffset, true) !== mailbox.stateDone) break;
    if (!['load', 'compare', 'checksum', 'hypercall', 'portIn'].includes(command.op)) continue;
    const recorded = view.getBigUint64(base + mailbox.resultOffset, true);
    const c = course.call('word_at', course.at(mapping, layout.mailbox + base + mailbox.resultOffset));
    observations.push({ c, recorded });
    if (command.op === 'compare' && recorded !== BigInt(command.length))
      unequal.push(`${c} != ${number(BigInt(command.length))}`);
  }
  return {
    observations: observations.slice(-8),
    ...(unequal.length > 0 ? { misbehaves: unequal.join(' || ') } : {}),
  };
}
