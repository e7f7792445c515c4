import { exitBlockLayout } from './exits.ts';
import { type Native, native } from './native.ts';

/** A function of the addon that asks the kernel for something, or touches guest memory; 'vcpuRunDone' ends a 'vcpuRunAsync'. */
export type CallName = Exclude<keyof Native, (typeof silent)[number]> | 'vcpuRunDone' | FileCallName;

/** A call of Node's own about a file descriptor, as file-calls.ts makes them. */
export type FileCallName =
  | 'fileSync'
  | 'fileDataSync'
  | 'fileOwner'
  | 'fileTimes'
  | 'fileReopen'
  | 'fileRead'
  | 'fileWrite'
  | 'fileTruncate'
  | 'fileMode'
  | 'fileSystem';

/** A call to the addon, as it was made. */
export interface NativeCall {
  readonly name: CallName;
  /** As they were given; buffers are still the caller's own. */
  readonly args: readonly unknown[];
  /** performance.now() when it began, and when it was through. */
  readonly begin: number;
  end: number;
  /** The value, the handle or the negative errno that came back; undefined while the call is under way, or threw. */
  result: unknown;
  /** After a run of a vCPU: the head of kvm_run, as exits.ts describes it. */
  exit?: Uint8Array | undefined;
  /** What the guest had been told to do, where its agent said. */
  subject?: unknown;
}

/** Who is told of each call. */
export interface CallObserver {
  /** Before the call: it may not come back. */
  begin?(call: NativeCall): void;
  end(call: NativeCall): void;
  /** A guest did not come to the end of its commands, and its registers are about to be set anew. */
  guestLeft?(vcpu: number): void;
}

/** These are not told of: most ask the kernel for nothing. */
const silent = [
  'fd',
  'guestProgram',
  'pageSize',
  'dieWithParent',
  'mappingView',
  'mappingDetachView',
  'pinKind',
  // It is several calls in one, which are told of one by one.
  'convert',
  // What memory backends are made of, which no check uses.
  'memoryFileOpen',
  'memoryFileMemfd',
  'memoryFileShared',
  'memoryFileResize',
  'memoryFileAddSeals',
  'memoryFileFallocate',
  'memoryFileFacts',
  'populateStart',
  'populateProgress',
  'populateCancel',
  'populateOutcome',
  'probeAffinity',
] as const;

const original: Native = { ...native };
let observer: CallObserver | undefined;
const exitBlocks = new Map<number, Uint8Array>();
let nextSubject: unknown;

function finish(call: NativeCall, result: unknown): void {
  call.end = performance.now();
  call.result = result;
  if (call.name === 'vcpuCreate' && (result as number) >= 0)
    exitBlocks.set(result as number, call.args[2] as Uint8Array);
  else if (call.name === 'vcpuRun' || call.name === 'vcpuRunDone')
    call.exit = exitBlocks.get(call.args[0] as number)?.slice(0, exitBlockLayout.runHead);
  else if (call.name === 'close') exitBlocks.delete(call.args[0] as number);
  observer?.end(call);
}

function start(name: CallName, args: readonly unknown[], begin = performance.now()): NativeCall {
  const call: NativeCall = { name, args, begin, end: 0, result: undefined };
  if (name === 'vcpuRun' || name === 'vcpuRunAsync') {
    if (nextSubject !== undefined) call.subject = nextSubject;
    nextSubject = undefined;
  }
  observer?.begin?.(call);
  return call;
}

/** The single calls of `convert`, by their numbers: the function and its arguments of handle, offset, length and value. */
const conversionSteps: readonly ((...words: [number, bigint, bigint, bigint]) => [CallName, readonly unknown[]])[] = [
  (vm, address, size, attributes) => ['vmSetMemoryAttributes', [vm, address, size, attributes, 0]],
  (file, offset, size, attributes) => ['guestMemfdSetMemoryAttributes', [file, offset, size, attributes, 0]],
  (file, offset, length) => ['guestMemfdFallocate', [file, 3, offset, length]],
  (mapping, offset, length, advice) => ['mappingAdvise', [mapping, offset, length, Number(advice)]],
];

function observedConversion(steps: BigUint64Array, outcome: BigUint64Array): number {
  const begin = performance.now();
  const status = original.convert(steps, outcome);
  const done = Number(outcome[0]);
  for (let i = 0; 5 * i < steps.length && i <= done; i++) {
    const [kind = 0n, handle = 0n, ...rest] = steps.subarray(5 * i, 5 * i + 5);
    const step = conversionSteps[Number(kind)];
    if (!step || (i === done && status >= 0)) break;
    const [name, args] = step(Number(handle), ...(rest as [bigint, bigint, bigint]));
    finish(start(name, args, begin), i < done ? 0 : status);
  }
  return status;
}

type AnyFunction = (...args: unknown[]) => unknown;

function observed(name: CallName, call: AnyFunction): AnyFunction {
  if (name === 'vcpuRunAsync')
    return (vcpu, timeout, done) => {
      const run = start(name, [vcpu, timeout]);
      const result = call(vcpu, timeout, (ended: number) => {
        finish(start('vcpuRunDone', [vcpu], run.begin), ended);
        (done as AnyFunction)(ended);
      });
      finish(run, result);
      return result;
    };
  return (...args) => {
    // The kernel may write into the bytes of a raw ioctl; what it was given is what counts.
    const given = name.startsWith('raw') ? args.map((arg) => (arg instanceof Uint8Array ? arg.slice() : arg)) : args;
    const begun = start(name, given);
    const result = call(...args);
    finish(begun, result);
    return result;
  };
}

/**
 * Lets somebody watch every kernel call and every access to guest memory that this process makes through the library, or
 * ends that. Everything goes through the functions of the addon, so it is those that are exchanged: who does not watch pays
 * nothing.
 *
 * @internal
 */
export function observeCalls(by: CallObserver | undefined): void {
  observer = by;
  for (const name of Object.keys(original) as (keyof Native)[]) {
    if ((silent as readonly string[]).includes(name)) continue;
    const call = original[name] as AnyFunction;
    (native as unknown as Record<string, AnyFunction>)[name] = by ? observed(name as CallName, call) : call;
  }
  native.convert = by ? observedConversion : original.convert;
}

/** @internal Makes a file call, and tells of it: what is thrown has a negative errno, as errors of Node's file calls have. */
export function observedFileCall<T>(name: FileCallName, args: readonly unknown[], call: () => T): T {
  if (!observer) return call();
  const begun = start(name, args);
  try {
    const result = call();
    finish(begun, typeof result === 'number' ? result : 0);
    return result;
  } catch (error) {
    finish(begun, (error as NodeJS.ErrnoException).errno);
    throw error;
  }
}

/** @internal Says what the guest has been told to do in the run that follows. */
export function describeNextRun(subject: unknown): void {
  if (observer) nextSubject = subject;
}

/** @internal Says that a guest's state is about to be lost. */
export function guestLeft(vcpu: number): void {
  observer?.guestLeft?.(vcpu);
}

/** @internal The functions of the addon themselves: for looking at things without being recorded. */
export const unobserved: Native = original;
