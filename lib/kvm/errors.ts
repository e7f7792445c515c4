import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { i32 } from './arguments.ts';
import { explain } from './explanations.ts';

/** Values that went into a kernel call, by the field's name in the API or the kernel. */
export type CallArguments = Readonly<Record<string, string | number | bigint | boolean | undefined>>;

/** The calls of native/core's Step, by number: the native side puts it above the errno where a function makes several. */
const steps = [
  undefined,
  'fstatfs',
  'mmap',
  'munmap',
  'sigaction',
  'timer_create',
  'pthread_create',
  'sched_setaffinity',
  'pipe2',
  'read',
  'write',
  'ioctl(KVM_GET_VCPU_MMAP_SIZE)',
  'ioctl(KVM_ARM_PREFERRED_TARGET)',
  'ioctl(KVM_ARM_VCPU_INIT)',
  'fcntl(F_SETPIPE_SZ)',
  'vmsplice',
];

const errnoBits = 12;
const errnoOf = (result: number) => Math.abs(result) & ((1 << errnoBits) - 1);

/** The symbol of an errno: 'EINVAL' for 22 or -22. EHWPOISON and EOPNOTSUPP go by their Linux names. */
export function errnoName(errno: number): string {
  const number = errnoOf(i32('errno', errno));
  // Node does not know EHWPOISON, and prints 95 by the name that POSIX gives the same number.
  if (number === 133) return 'EHWPOISON';
  if (number === 95) return 'EOPNOTSUPP';
  const name = getSystemErrorName(-number);
  if (/^E[A-Z0-9]+$/.test(name)) return name;
  // libuv names no more than it needs: not ENOEXEC, for one, which KVM_RUN gives.
  return Object.entries(constants.errno).find(([, value]) => value === number)?.[0] ?? name;
}

function formatValue(value: CallArguments[string]): string {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 4096) return `0x${value.toString(16)}`;
  return String(value);
}

/** `name=value, …` with addresses and sizes in hexadecimal; what is undefined is left out. */
export function formatArguments(args: CallArguments): string {
  return Object.entries(args)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${formatValue(value)}`)
    .join(', ');
}

/**
 * A kernel call that failed. It looks like Node's own system errors, and says why and what to do where that is known.
 *
 * @example
 * try {
 *   vm.createGuestMemfd({ size: 1 });
 * } catch (error) {
 *   if (error instanceof KvmError && error.code === 'EINVAL') console.log(error.reason);
 * }
 */
export class KvmError extends Error {
  /** The errno's symbol, as 'EINVAL'. */
  readonly code: string;
  /** The errno, negative as in Node's errors: -22. */
  readonly errno: number;
  /** The call that failed, as 'ioctl(KVM_CREATE_GUEST_MEMFD)' or 'mmap'. */
  readonly syscall: string;
  /** What the call was given. */
  readonly arguments: CallArguments;
  /** Why, in words, where the kernel's rules leave few possibilities. */
  readonly reason: string | undefined;
  /** What to do about it, where something can be done. */
  readonly remedy: string | undefined;

  /**
   * @internal
   * @param errno either sign, as the native side gives it
   */
  constructor(errno: number, named: string, args: CallArguments = {}) {
    const code = errnoName(errno);
    const syscall = steps[Math.abs(errno) >> errnoBits] ?? named;
    const { reason, remedy } = explain(syscall, code, args);
    const shown = formatArguments(args);
    super(
      `${syscall}: ${code}${shown ? ` (${shown})` : ''}${reason ? `: ${reason}` : ''}${remedy ? `. ${remedy}` : ''}`,
    );
    this.code = code;
    this.errno = -errnoOf(errno);
    this.syscall = syscall;
    this.arguments = args;
    this.reason = reason;
    this.remedy = remedy;
  }
}
Object.defineProperty(KvmError.prototype, 'name', { value: 'KvmError', configurable: true, writable: true });

/**
 * A page of a mapping that could not be accessed: private guest_memfd memory, beyond the end of the file, poisoned, or
 * protected. Without the guard the access would have ended the process with SIGBUS or SIGSEGV.
 */
export class MemoryAccessError extends Error {
  readonly code = 'ERR_MEMORY_ACCESS';
  /** 'read', 'write', 'fill', 'compare' or 'view'. */
  readonly operation: string;
  /** The offset in the mapping of the first byte that could not be accessed. */
  readonly offset: number;
  /** The guest physical address of that byte, where the mapping lies in a memslot. */
  readonly guestPhysAddr: number | bigint | undefined;
  /** How many bytes were done before. */
  readonly bytesDone: number;

  /** @internal */
  constructor(operation: string, offset: number, bytesDone: number, guestPhysAddr?: number | bigint) {
    const where = guestPhysAddr === undefined ? '' : ` (guest physical address 0x${guestPhysAddr.toString(16)})`;
    super(
      `cannot ${operation} at offset 0x${offset.toString(16)}${where}: the page is private to the guest, lies beyond the ` +
        `end of the file, or is protected or poisoned; ${bytesDone} bytes were done before it`,
    );
    this.operation = operation;
    this.offset = offset;
    this.bytesDone = bytesDone;
    this.guestPhysAddr = guestPhysAddr;
  }
}
Object.defineProperty(MemoryAccessError.prototype, 'name', {
  value: 'MemoryAccessError',
  configurable: true,
  writable: true,
});

/** Passes a native result on: a negative number is an errno and becomes a KvmError. */
export function checked(result: number, syscall: string, args: CallArguments = {}): number {
  if (result < 0) {
    const error = new KvmError(result, syscall, args);
    Error.captureStackTrace?.(error, checked);
    throw error;
  }
  return result;
}

/** An error of this package's own making, with one of Node's codes. */
export function stateError(message: string, code = 'ERR_INVALID_STATE'): Error & { code: string } {
  return Object.assign(new Error(message), { code });
}
