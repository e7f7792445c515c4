import {
  closeSync,
  fchmodSync,
  fchownSync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  futimesSync,
  openSync,
  readSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { observedFileCall } from './trace.ts';

// Node's file calls on descriptors of the library, which checks ask the kernel with: told to who watches, as the library's
// own calls are. Each throws what Node throws. Not part of the package's interface.

export const fileSync = (fd: number): void => observedFileCall('fileSync', [fd], () => fsyncSync(fd));

export const fileDataSync = (fd: number): void => observedFileCall('fileDataSync', [fd], () => fdatasyncSync(fd));

export const fileOwner = (fd: number, user: number, group: number): void =>
  observedFileCall('fileOwner', [fd, user, group], () => fchownSync(fd, user, group));

/** @param seconds since 1970, of the last access and the last change */
export const fileTimes = (fd: number, seconds: number): void =>
  observedFileCall('fileTimes', [fd, seconds], () => futimesSync(fd, seconds, seconds));

export const fileTruncate = (fd: number, length: number): void =>
  observedFileCall('fileTruncate', [fd, length], () => ftruncateSync(fd, length));

export const fileMode = (fd: number, mode: number): void =>
  observedFileCall('fileMode', [fd, mode], () => fchmodSync(fd, mode));

/** Opens the file behind a descriptor anew through /proc, for reading and writing, and closes it. */
export const fileReopen = (fd: number): void =>
  observedFileCall('fileReopen', [fd], () => closeSync(openSync(`/proc/self/fd/${fd}`, 'r+')));

/** @param position where read() goes on if undefined, else where pread() begins */
export const fileRead = (fd: number, into: NodeJS.ArrayBufferView, position?: number): number =>
  observedFileCall('fileRead', [fd, into, position], () => readSync(fd, into, 0, into.byteLength, position ?? null));

/** @param position where write() goes on if undefined, else where pwrite() begins */
export const fileWrite = (fd: number, bytes: NodeJS.ArrayBufferView, position?: number): number =>
  observedFileCall('fileWrite', [fd, bytes, position], () =>
    writeSync(fd, bytes, 0, bytes.byteLength, position ?? null),
  );

/** f_type of statfs(). */
export function fileSystem(fd: number): bigint {
  const type = new BigUint64Array(1);
  observedFileCall('fileSystem', [fd, type], () => {
    type[0] = BigInt(statfsSync(`/proc/self/fd/${fd}`).type);
  });
  return type[0] ?? 0n;
}
