import { GuestExitError } from '../../guest/agent.ts';
import { KvmError, MemoryAccessError } from '../../kvm/errors.ts';
import { CheckFailure } from '../expect.ts';
import type { Failure } from '../model.ts';
import type { Emitted, Observation } from './course.ts';
import { done } from './emit-vcpu.ts';
import { errnoSymbol, number } from './program.ts';
import type { Step } from './slice.ts';

/** What a program ends with: the step after which it judges, and how. */
export interface Goal {
  /** The index of the last step that is repeated. */
  readonly at: number;
  /** True where the kernel misbehaves; may look at `rc`, the result of that step. */
  readonly misbehaves: string;
  /** What should be, in words. */
  readonly expected: string;
}

/** Steps before the end in which the value that was wrong is looked for. */
const reach = 6;

/** The number in a text such as '0x22' or '34'. */
function numeric(text: string | undefined): bigint | undefined {
  return text !== undefined && /^(-?\d+|0x[0-9a-f]+)n?$/i.test(text)
    ? BigInt.asUintN(64, BigInt(text.replace(/n$/, '')))
    : undefined;
}

function lastIndex<T>(list: readonly T[], isIt: (one: T, index: number) => boolean): number {
  for (let i = list.length - 1; i >= 0; i--) if (isIt(list[i] as T, i)) return i;
  return -1;
}

/** The value that the check found wrong, where it is one that a step shows. */
function byValue(emitted: readonly Emitted[], failure: Failure): Goal | undefined {
  const got = numeric(failure.got);
  if (got === undefined) return undefined;
  const from = emitted.length - reach;
  const at = lastIndex(
    emitted,
    ({ observations = [] }, i) => i >= from && observations.some((one) => BigInt.asUintN(64, one.recorded) === got),
  );
  const seen = emitted[at]?.observations?.find((one) => BigInt.asUintN(64, one.recorded) === got);
  if (!seen) return undefined;
  const wanted = numeric(failure.expected);
  const value = `(uint64_t)(${seen.c})`;
  return wanted === undefined
    ? { at, misbehaves: `${value} == ${number(got)}`, expected: `not ${number(got)}` }
    : { at, misbehaves: `${value} != ${number(wanted)}`, expected: number(wanted) };
}

const sameAs = ({ c, recorded }: Observation) => `(uint64_t)(${c}) == (uint64_t)${number(recorded)}`;

/** Where nothing better is known: the kernel misbehaves where it does just what it did. */
function bySameness(steps: readonly Step[], emitted: readonly Emitted[]): Goal | undefined {
  const from = emitted.length - reach;
  const observing = lastIndex(emitted, ({ observations = [] }, i) => i >= from && observations.length > 0);
  const at = observing === -1 ? lastIndex(emitted, ({ expression }) => expression !== undefined) : observing;
  const last = emitted[at];
  const call = steps[at]?.call;
  if (!last || !call) return undefined;
  if (last.misbehaves !== undefined) return { at, misbehaves: last.misbehaves, expected: 'equal' };
  const conditions = (last.observations ?? []).map(sameAs);
  const result = Number(call.result);
  if (last.expression !== undefined && last.access) conditions.push(`rc == ${number(last.access.done)}`);
  else if (last.expression !== undefined && !last.indifferent)
    conditions.push(result < 0 ? `rc == -${errnoSymbol(result)}` : 'rc >= 0');
  // What the guest's commands gave is looked at after its run, which may have ended otherwise.
  const before = emitted[at - 1];
  if (last.expression === undefined && /^vcpuRun/.test(steps[at - 1]?.call.name ?? ''))
    conditions.unshift(...(before?.observations ?? []).map(sameAs));
  if (conditions.length === 0) return undefined;
  return { at, misbehaves: conditions.join(' && '), expected: 'anything but what was recorded' };
}

/** By what the check said of its last call. */
function byExpectation(error: unknown, emitted: readonly Emitted[]): Goal | undefined {
  const calling = lastIndex(emitted, ({ expression }) => expression !== undefined);
  const accessing = emitted.length - 1;
  const access = emitted[accessing]?.access;
  if (error instanceof CheckFailure && error.expectation) {
    const { expectation } = error;
    if (expectation.kind === 'refused')
      return {
        at: calling,
        misbehaves: expectation.codes.map((code) => `rc != -${code}`).join(' && '),
        expected: `refused with ${expectation.codes.join(' or ')}`,
      };
    if (!access) return undefined;
    return expectation.kind === 'faults'
      ? { at: accessing, misbehaves: `!(${access.faults})`, expected: 'SIGBUS' }
      : { at: accessing, misbehaves: `rc == ${number(access.done)}`, expected: 'equal' };
  }
  if (error instanceof KvmError) return { at: calling, misbehaves: 'rc < 0', expected: 'it succeeds' };
  if (error instanceof MemoryAccessError && access)
    return { at: accessing, misbehaves: access.faults, expected: 'the memory can be accessed' };
  if (error instanceof GuestExitError) {
    const at = lastIndex(emitted, ({ observations = [] }) => observations.some(({ c }) => c.startsWith('exit_of(')));
    const c = emitted[at]?.observations?.find((one) => one.c.startsWith('exit_of('))?.c;
    return c === undefined
      ? undefined
      : { at, misbehaves: `${c} != ${done}`, expected: 'the guest comes to the end of its commands' };
  }
  return undefined;
}

/** How the program that consists of these steps shall judge; undefined where none of them shows what the check found. */
export function goalOf(
  error: unknown,
  failure: Failure,
  steps: readonly Step[],
  emitted: readonly Emitted[],
): Goal | undefined {
  if (error instanceof CheckFailure && error.expectation?.kind === 'elsewhere') return undefined;
  const goal = byExpectation(error, emitted) ?? byValue(emitted, failure) ?? bySameness(steps, emitted);
  if (!goal || goal.at < 0) return undefined;
  // A comparison by the guest just before may find the same in another place.
  const others = emitted.slice(Math.max(0, goal.at - reach), goal.at).flatMap(({ misbehaves }) => misbehaves ?? []);
  return others.length === 0 ? goal : { ...goal, misbehaves: `${goal.misbehaves} || seen` };
}
