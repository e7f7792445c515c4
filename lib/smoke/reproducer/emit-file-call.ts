import { callDescriptions } from '../trace/calls.ts';
import { isBytes } from '../trace/log.ts';
import { wordsOf } from './content.ts';
import type { Course, Emitted } from './course.ts';
import { number } from './program.ts';
import type { Step } from './slice.ts';

/** The call in C, of the file behind `fd`; undefined where there is none. */
function expressionOf(course: Course, { call }: Step, fd: string): string | undefined {
  const plain = call.args.slice(1).map((arg) => (typeof arg === 'number' ? number(arg) : ''));
  const bytes = call.args[1];
  const length = isBytes(bytes) ? bytes.length : 0;
  const [moved, movedAt] = call.name === 'fileRead' ? ['read', 'pread'] : ['write', 'pwrite'];
  switch (call.name) {
    case 'fileSync':
      return `fsync(${fd})`;
    case 'fileDataSync':
      return `fdatasync(${fd})`;
    case 'fileOwner':
      return `fchown(${fd}, ${plain.join(', ')})`;
    case 'fileTimes':
      return `futimens(${fd}, (struct timespec[]){ { ${plain[0]}, 0 }, { ${plain[0]}, 0 } })`;
    case 'fileReopen':
      return `${course.program.use('open_again')}(${fd})`;
    case 'fileTruncate':
      return `ftruncate(${fd}, ${plain[0]})`;
    case 'fileMode':
      return `fchmod(${fd}, ${plain[0]})`;
    case 'fileRead':
    case 'fileWrite':
      return call.args[2] === undefined
        ? `${moved}(${fd}, (char[${length}]){ 0 }, ${length})`
        : `${movedAt}(${fd}, (char[${length}]){ 0 }, ${length}, ${plain[1]})`;
    default:
      return undefined;
  }
}

/** A call of Node's about a file; undefined for any other. */
export function emitFileCall(course: Course, step: Step): Emitted | undefined {
  const { call, behindFd } = step;
  if (!call.name.startsWith('file')) return undefined;
  // What is done to other files, with guest memory as their buffer, would need that memory's address.
  if (behindFd === undefined) return { unsupported: callDescriptions[call.name].call };
  const fd = course.name(behindFd);
  if (call.name === 'fileSystem')
    return {
      expression: course.call('file_facts', fd),
      observations: [{ c: '(uint64_t)file_system.f_type', recorded: wordsOf(call.args[1])[0] ?? 0n }],
    };
  return { expression: `${course.program.use('result_of')}(${expressionOf(course, step, fd)})` };
}
