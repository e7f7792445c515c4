import { KvmError } from './errors.ts';
import { native } from './native.ts';

// Calls that the objects of this package never make, because the kernel refuses them or because they belong to another
// process: what checks ask the kernel with. Not part of the package's interface.

/** Requests of ioctl() that checks make with bytes of their own. The numbers are those of x86-64 and arm64. */
export const Request = {
  CREATE_VM: 0xae01,
  CHECK_EXTENSION: 0xae03,
  SET_USER_MEMORY_REGION2: 0x40a0_ae49,
  RUN: 0xae80,
  SET_MEMORY_ATTRIBUTES: 0x4020_aed2,
  CREATE_GUEST_MEMFD: 0xc040_aed4,
  PRE_FAULT_MEMORY: 0xc040_aed5,
  /** No kernel has it. */
  UNKNOWN: 0xc008_aeff,
} as const;

/** Fields of a struct, 64 bits each unless the name of the list says otherwise, as the bytes of an ioctl's argument. */
export function words(size: number, fields: Readonly<Record<number, bigint | number>>): Uint8Array {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  for (const [offset, value] of Object.entries(fields))
    view.setBigUint64(Number(offset), BigInt.asUintN(64, BigInt(value)), true);
  return bytes;
}

function requestName(request: number): string {
  const name = Object.entries(Request).find(([, number]) => number === request)?.[0];
  return name === undefined || name === 'UNKNOWN' ? `0x${request.toString(16)}` : `KVM_${name}`;
}

/**
 * ioctl() as it is, with bytes for the kernel to read and write, or null as its argument.
 *
 * @throws {KvmError} with what the kernel said
 */
export function rawIoctl(fd: number, request: number, argument: Uint8Array | null): number {
  const result = native.rawIoctl(fd, request, argument);
  if (result < 0) throw new KvmError(result, `ioctl(${requestName(request)})`, { fd });
  return result;
}

/**
 * The same by a child process made with fork(), which has file descriptors of this one but an address space of its own.
 *
 * @throws {KvmError} with what the kernel said to the child
 */
export function rawIoctlInChild(fd: number, request: number, argument: Uint8Array | null): void {
  const result = native.rawIoctlInChild(fd, request, argument);
  if (result < 0) throw new KvmError(result, `ioctl(${requestName(request)}) in a child`, { fd });
}

/** fallocate() by a forked child. */
export function fallocateInChild(fd: number, mode: number, offset: number, length: number): void {
  const result = native.rawFallocateInChild(fd, mode, offset, length);
  if (result < 0) throw new KvmError(result, 'fallocate in a child', { fd, mode, offset, length });
}
