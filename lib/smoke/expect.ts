import { inspect } from 'node:util';
import { KvmError, MemoryAccessError } from '../kvm/errors.ts';
import type { Mapping } from '../kvm/mapping.ts';
import { activeLog, type Moment } from './trace/log.ts';

/** What the last kernel call of a check should have done, for a reproducer; without, its recorded result is the wrong one. */
export type Expectation =
  | { readonly kind: 'refused'; readonly codes: readonly string[] }
  /** An access should have faulted. */
  | { readonly kind: 'faults' }
  /** A comparison should have found nothing. */
  | { readonly kind: 'equal' };

/** The property that a check asserts does not hold. */
export class CheckFailure extends Error {
  readonly expected: string | undefined;
  readonly got: string | undefined;
  readonly expectation: Expectation | undefined;
  /** What was so when it was found out. */
  readonly moment: Moment | undefined;

  constructor(message: string, expected?: string, got?: string, expectation?: Expectation, moment?: Moment) {
    super(message);
    this.expected = expected;
    this.got = got;
    this.expectation = expectation;
    // Now, for what the check has open may be closed before anybody catches this.
    this.moment = moment ?? activeLog()?.now();
  }
}

function show(value: unknown): string {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  return typeof value === 'string' ? value : inspect(value);
}

/** `got` must be `expected`. */
export function equal<T>(got: T, expected: T, what: string): void {
  if (!Object.is(got, expected)) throw new CheckFailure(what, show(expected), show(got));
}

/** Something must hold. */
export function holds(condition: boolean, what: string, expected?: string, got?: string): void {
  if (!condition) throw new CheckFailure(what, expected, got);
}

/**
 * The kernel must refuse a call with one of these errnos.
 *
 * @returns the one it was
 */
export function refused(codes: string | readonly string[], what: string, call: () => unknown): string {
  const allowed = typeof codes === 'string' ? [codes] : codes;
  let got: unknown;
  // Thousands of refusals are expected; most of what an error costs is its stack, which nobody would see.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    got = call();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Node's own file calls throw errors of the same shape.
    if (!(error instanceof KvmError) && !(error instanceof Error && 'syscall' in error)) throw error;
    if (code !== undefined && allowed.includes(code)) return code;
    throw new CheckFailure(what, `refused with ${allowed.join(' or ')}`, (error as Error).message, {
      kind: 'refused',
      codes: allowed,
    });
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
  const moment = activeLog()?.now();
  if (typeof got === 'object' && got !== null && Symbol.dispose in got) (got as Disposable)[Symbol.dispose]();
  throw new CheckFailure(
    what,
    `refused with ${allowed.join(' or ')}`,
    'accepted',
    { kind: 'refused', codes: allowed },
    moment,
  );
}

/** An access must be stopped by the guard: without it, SIGBUS. */
export function inaccessible(what: string, access: () => unknown): MemoryAccessError {
  try {
    access();
  } catch (error) {
    if (error instanceof MemoryAccessError) return error;
    throw error;
  }
  throw new CheckFailure(what, 'SIGBUS', 'accessible', { kind: 'faults' });
}

/** Every byte of a range of a mapping must be `value`. */
export function allBytes(mapping: Mapping, offset: number, length: number, value: number, what: string): void {
  const differs = mapping.compare(offset, new Uint8Array(length).fill(value));
  if (differs === -1) return;
  const moment = activeLog()?.now();
  const [got] = mapping.read(offset + differs, 1);
  throw new CheckFailure(
    `${what}, at offset 0x${(offset + differs).toString(16)}`,
    `0x${value.toString(16)}`,
    `0x${(got ?? 0).toString(16)}`,
    { kind: 'equal' },
    moment,
  );
}
