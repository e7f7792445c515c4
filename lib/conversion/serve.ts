import { abortSignal, callback, options as checkOptions, i32, instance, typeError } from '../kvm/arguments.ts';
import type { VcpuExit } from '../kvm/exits.ts';
import { type RunOptions, Vcpu } from '../kvm/vcpu.ts';
import { ConversionError } from './errors.ts';
import { piecesOf, statesOf } from './layout.ts';
import type { ConvertOptions, GuestMemory } from './memory.ts';
import { type ConversionRequest, decodeRequest } from './requests.ts';

/** Errors that a hypercall can give the guest (KVM_E*); the guest finds the negative number in its result register. */
export const GuestErrno = { EPERM: 1, E2BIG: 7, EFAULT: 14, EINVAL: 22, EOPNOTSUPP: 95, ENOSYS: 1000 } as const;

/**
 * What a policy says to a request.
 * - 'allow': convert.
 * - 'default': convert; a range where no memslot with guest_memfd lies may become shared, which changes nothing, for so a
 *   guest asks for memory of its devices.
 * - `{ refuse }`: give the guest this {@link GuestErrno} and change nothing. A fault cannot be refused: its exit goes to the
 *   caller.
 */
export type Verdict = 'allow' | 'default' | { readonly refuse: number };

export type ConversionPolicy = (request: ConversionRequest) => Verdict | Promise<Verdict>;

/** How a request was answered. */
export interface ConversionOutcome {
  /** Undefined for one that was malformed. */
  readonly request: ConversionRequest | undefined;
  /** What the guest was given: 0, or a negative {@link GuestErrno}. */
  readonly result: number;
  /** Why not 0. */
  readonly error?: ConversionError | string;
}

const byDefault: ConversionPolicy = () => 'default';

function checkVerdict(verdict: Verdict): Verdict {
  if (verdict === 'allow' || verdict === 'default') return verdict;
  if (verdict !== null && typeof verdict === 'object' && i32('refuse', verdict.refuse) > 0) return verdict;
  throw typeError('verdict', "'allow', 'default' or { refuse: a positive GuestErrno }", verdict);
}

async function attempt(
  memory: GuestMemory,
  request: ConversionRequest,
  verdict: Verdict,
  options: ConvertOptions,
): Promise<ConversionOutcome> {
  if (typeof verdict === 'object') {
    const error = new ConversionError('ERR_CONVERSION_REFUSED', request, 'the policy refuses it');
    return { request, result: -verdict.refuse, error };
  }
  const bare =
    verdict === 'default' &&
    request.to === 'shared' &&
    !piecesOf(memory.vm, request).some(({ slot }) => slot.guestMemfd);
  if (bare) return { request, result: 0 };
  try {
    await memory.convert(request.gpa, request.size, request.to, options);
    return { request, result: 0 };
  } catch (error) {
    if (!(error instanceof ConversionError) || memory.vm.closed) throw error;
    return { request, result: -GuestErrno.EINVAL, error };
  }
}

/** Whether a range is wholly in a state, by the books. */
function isAlready(memory: GuestMemory, { gpa, size, to }: ConversionRequest): boolean {
  const pieces = piecesOf(memory.vm, { gpa, size });
  return pieces.every((piece) =>
    [...statesOf(memory.vm, piece, memory.conversion.model)].every(({ state }) => state === to),
  );
}

/**
 * Answers a vCPU's exit when it is a request for a conversion, so that the vCPU can go on. A fault is one only where the
 * memory is in the other state than the access wanted; any other fault (a page that is gone, no memslot) would come again at
 * once.
 *
 * @returns how, or undefined where the exit is something else, which is the caller's
 */
export async function answerRequest(
  memory: GuestMemory,
  vcpu: Vcpu,
  exit: VcpuExit,
  policy: ConversionPolicy = byDefault,
  options: ConvertOptions = {},
): Promise<ConversionOutcome | undefined> {
  instance('vcpu', Vcpu, vcpu);
  callback('policy', policy);
  const decoded = decodeRequest(checkOptions('exit', exit));
  if (!decoded) return undefined;
  if ('malformed' in decoded) {
    if (decoded.by === 'fault') return undefined;
    vcpu.completeHypercall(BigInt.asUintN(64, BigInt(-GuestErrno.EINVAL)));
    return { request: undefined, result: -GuestErrno.EINVAL, error: decoded.malformed };
  }
  const { request } = decoded;
  if (request.by === 'fault' && isAlready(memory, request)) return undefined;
  const verdict = checkVerdict(await policy(request));
  if (request.by === 'fault' && typeof verdict === 'object') return undefined;
  const outcome = await attempt(memory, request, verdict, options);
  if (request.by === 'fault') return outcome.result === 0 ? outcome : undefined;
  vcpu.completeHypercall(BigInt.asUintN(64, BigInt(outcome.result)));
  return outcome;
}

/** Options of {@link serve}. */
export interface ServeOptions extends RunOptions, ConvertOptions {
  readonly signal?: AbortSignal;
  /** Told of each request once it is answered. */
  readonly onRequest?: (outcome: ConversionOutcome) => void;
}

/**
 * Runs a vCPU and does the conversions that its guest asks for, until it exits for another reason.
 *
 * @param given.timeout milliseconds that the guest may run from one exit to the next, default 10,000
 * @returns that exit
 * @throws {KvmError} as {@link Vcpu.runAsync}, and what the policy or a listener throws
 *
 * @example
 * const exit = await vm.memory.serve(vcpu, ({ to }) => (to === 'private' ? 'allow' : { refuse: GuestErrno.EPERM }));
 */
export async function serve(
  memory: GuestMemory,
  vcpu: Vcpu,
  policy: ConversionPolicy = byDefault,
  given: ServeOptions = {},
): Promise<VcpuExit> {
  instance('vcpu', Vcpu, vcpu);
  callback('policy', policy);
  const { timeout, signal, onRequest, ...convertOptions } = checkOptions('options', given);
  abortSignal('signal', signal);
  callback('onRequest', onRequest);
  const runOptions = { ...(timeout === undefined ? {} : { timeout }), ...(signal ? { signal } : {}) };
  for (;;) {
    const exit = await vcpu.runAsync(runOptions);
    const outcome = await answerRequest(memory, vcpu, exit, policy, convertOptions);
    if (!outcome) return exit;
    onRequest?.(outcome);
  }
}
