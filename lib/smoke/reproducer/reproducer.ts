import { expectedBug } from '../known-bugs.ts';
import type { Check, CheckResult, Failure, HostFacts } from '../model.ts';
import type { Reproducer } from '../protocol.ts';
import type { Outcome } from '../run-check.ts';
import type { Emitted } from './course.ts';
import { Emitter, isQuestion } from './emit.ts';
import { type Goal, goalOf } from './goal.ts';
import { comment, errnoSymbol, number, Program, quote } from './program.ts';
import { relevant, type Step } from './slice.ts';

/** Statements beyond which nobody would read a program. */
const longest = 20_000;
/** Refusals of the same kind in a row that are repeated. */
const refusalsKept = 2;

/** Refused calls change nothing, so a few of many in a row will do. The last step stays: it may be what it is about. */
function withoutRepetition(steps: readonly Step[]): Step[] {
  let row = 0;
  return steps.filter(({ call }, i) => {
    const before = steps[i - 1]?.call;
    const repeats = Number(call.result) < 0 && before?.name === call.name && before.result === call.result;
    row = repeats ? row + 1 : 0;
    return row < refusalsKept || i === steps.length - 1 || call.name.startsWith('mapping') || call.name === 'vcpuRun';
  });
}

/** A step as it stands before the last one. */
function statementsOf({ call }: Step, emitted: Emitted, program: Program): string[] {
  const {
    expression,
    target,
    cast = '',
    access,
    statements = [],
    observations = [],
    indifferent,
    misbehaves,
  } = emitted;
  const lines = [...statements];
  const result = Number(call.result);
  if (expression !== undefined) {
    if (access) lines.push(`${program.use('same').toUpperCase()}(${expression}, ${number(access.done)});`);
    else if (indifferent) lines.push(`rc = ${expression};`);
    else if (result < 0) lines.push(`${program.use('refused').toUpperCase()}(${expression}, ${errnoSymbol(result)});`);
    else
      lines.push(
        `${target === undefined ? '' : `${target} = ${cast}`}${program.use('must').toUpperCase()}(${expression});`,
      );
  }
  if (misbehaves !== undefined) lines.push(`seen |= ${misbehaves};`);
  // What an access gave has been compared.
  else if (!access)
    for (const { c, recorded } of observations)
      lines.push(`${program.use('same').toUpperCase()}(${c}, ${number(recorded)});`);
  return lines;
}

/** The last step, and the verdict. */
function ending(emitted: Emitted, goal: Goal, failure: Failure, program: Program): string[] {
  const { expression, target, cast = '', statements = [] } = emitted;
  const lines = ['', '/* The call in question. */', ...statements];
  const looksAtResult = /\brc\b/.test(goal.misbehaves);
  if (expression !== undefined)
    lines.push(looksAtResult ? `rc = ${expression};` : `${program.use('must').toUpperCase()}(${expression});`);
  if (looksAtResult && !emitted.access && !emitted.indifferent)
    lines.push('printf("the call gives: %s\\n", rc < 0 ? strerror(-rc) : "success");');
  if (target !== undefined && looksAtResult) lines.push(`${target} = ${cast}rc;`);
  const expected = `${failure.message}: ${failure.expected ?? goal.expected}`;
  lines.push(
    `return ${program.use('verdict')}(${goal.misbehaves}, ${quote(failure.expected ? expected : goal.expected)});`,
  );
  return lines;
}

function header(check: Check, result: CheckResult, failure: Failure, host: HostFacts, file: string): string {
  const bug = expectedBug(check.knownBugs, host.kernelRelease);
  const field = (name: string, text: string | undefined) =>
    text === undefined ? [] : [` * ${`${name}:`.padEnd(11)} ${comment(text).split('\n').join('\n *             ')}`];
  return [
    '// SPDX-License-Identifier: MIT',
    '/*',
    ` * What the check ${check.name} of gmem smoke did until the kernel misbehaved.`,
    ' *',
    ...field('property', check.title),
    ...field('failed', failure.message),
    ...field('expected', failure.expected),
    ...field('got', failure.got),
    ...field('with', failure.configuration),
    ...field('kernel', `Linux ${host.kernelRelease} (${host.kernelVersion})`),
    ...field('machine', `${host.architecture}, ${host.cpu}`),
    ...field('seed', result.seed === undefined ? undefined : String(result.seed)),
    ...field('known bug', bug && `${bug.title}; fixed by ${bug.fixedBy}`),
    ' *',
    ` * cc -Wall -o reproducer ${file} && ./reproducer`,
    ' * (with a C library older than glibc 2.34: cc -Wall -pthread)',
    ' *',
    ' * Exit status: 1 the kernel misbehaves, 0 it does not, 4 it cannot be asked here, for it refuses what led there or there',
    ' * is no /dev/kvm. Whatever else differs from what was recorded is printed.',
    ' */',
  ].join('\n');
}

/** The C program that repeats what a failed check did in the configuration that failed, and tells whether it fails here. */
export function reproducer(
  check: Check,
  { result, error, moment, calls, configured }: Outcome,
  host: HostFacts,
): Reproducer {
  const { failure } = result;
  if (!failure || !moment) return { problem: 'the check did not fail by what the kernel did' };
  if (!calls) return { problem: 'the check made too many kernel calls for a program that anybody would read' };
  const happened = calls.filter((call) => call.index < moment.calls);
  const steps = withoutRepetition(
    relevant(happened, configured).filter(({ call }, i, all) => !isQuestion(call) || i >= all.length - 3),
  );
  if (steps.length === 0) return { problem: 'no kernel call was made through the library' };
  // Once to find out what it ends with, and once more up to there.
  const translate = (program: Program, count: number) => {
    const emitter = new Emitter(program, host.architecture);
    return steps.slice(0, count).map((step, i) => emitter.emit(step, steps.slice(i + 1, i + 12)));
  };
  const goal = goalOf(error, failure, steps, translate(new Program(host.architecture), steps.length));
  if (!goal) return { problem: 'no kernel call of the check shows what is wrong' };
  const program = new Program(host.architecture);
  const emitted = translate(program, goal.at + 1);
  const foreign = emitted.find(({ unsupported }) => unsupported !== undefined)?.unsupported;
  if (foreign !== undefined) return { problem: `the check does what the programs do not repeat: ${foreign}` };
  program.use('open_kvm');
  program.declare('static int kvm;');
  program.add('kvm = open_kvm();');
  if (/\bseen\b/.test(goal.misbehaves)) program.add('int seen = 0;');
  for (const [i, one] of emitted.entries()) {
    const step = steps[i] as Step;
    if (i === goal.at) program.add(...ending(one, goal, failure, program));
    else if (!isQuestion(step.call))
      program.add(...statementsOf(step, i >= goal.at - 6 ? one : withoutSeen(one), program));
    if (program.size > longest) return { problem: `it would be longer than ${longest} statements` };
  }
  return { source: program.text(header(check, result, failure, host, `${check.name.replaceAll('/', '-')}.c`)) };
}

/** Only comparisons just before the end count. */
function withoutSeen({ misbehaves, ...emitted }: Emitted): Emitted {
  return misbehaves === undefined ? emitted : emitted;
}
