import { MapFlag } from '../kvm/constants.ts';
import { KvmError } from '../kvm/errors.ts';
import type { GuestMemfd } from '../kvm/guest-memfd.ts';
import type { Mapping } from '../kvm/mapping.ts';
import type { MemoryFile } from '../kvm/memory-file.ts';
import { pageSize as systemPageSize } from '../kvm/native.ts';
import { BackendError } from './error.ts';
import type { BackendNote } from './note.ts';
import type { MemoryBackendOptions } from './properties.ts';
import { isShared } from './validate.ts';

/** The memory of a backend: what was opened and mapped for it. */
export interface Allocation {
  readonly mapping: Mapping;
  readonly file?: MemoryFile | undefined;
  readonly guestMemfd?: GuestMemfd | undefined;
  /** Whether the guest_memfd is one to bind, and not to use by its mapping only. */
  readonly bound?: boolean;
  /** Bytes of a page of it. */
  readonly pageSize: number;
  /** The file's path, where it has one. */
  readonly path?: string | undefined;
  /** True where the guest is kept from writing. */
  readonly rom?: boolean;
  /** Where in the file it begins. */
  readonly fileOffset?: number | bigint;
  readonly notes?: readonly BackendNote[];
}

/** What to do when a later step fails, last first. */
export class Undo {
  readonly #steps: (() => void)[] = [];

  /** Remembers something to be closed. */
  close<T extends { close(): void }>(one: T): T {
    this.#steps.push(() => one.close());
    return one;
  }

  add(step: () => void): void {
    this.#steps.push(step);
  }

  run(): void {
    for (const step of this.#steps.splice(0).reverse()) step();
  }
}

/** Transparent huge pages need addresses of their own alignment. */
const hugeAlignment = 2 * 1024 * 1024;

/** What every mapping of guest memory has: a guard page behind it, and an address that huge pages can have. */
export function placeOf(size: number | bigint, alignment: number | bigint = 0): { alignment: bigint; guard: true } {
  const wanted = BigInt(size) >= BigInt(hugeAlignment) ? BigInt(hugeAlignment) : BigInt(systemPageSize);
  const given = BigInt(alignment);
  return { alignment: given > wanted ? given : wanted, guard: true };
}

/** The flags that `share` and `reserve` stand for. */
export function mapFlags(options: MemoryBackendOptions): number {
  return (isShared(options) ? MapFlag.SHARED : MapFlag.PRIVATE) | (options.reserve === false ? MapFlag.NORESERVE : 0);
}

/** Memory is whole pages: QEMU rounded up until 9.1, and has refused since. */
export function requireWholePages(size: number | bigint, pageSize: number): void {
  if (BigInt(size) % BigInt(pageSize) !== 0n)
    throw new BackendError('memory is made of whole pages', {
      property: 'size',
      value: size,
      remedy: `Use a multiple of ${pageSize}`,
    });
}

/** Names the property that is behind a refusal of the kernel's. */
export function refusedBy<T>(
  property: string,
  value: unknown,
  call: () => T,
  remedy?: (code: string) => string | undefined,
): T {
  try {
    return call();
  } catch (cause) {
    if (!(cause instanceof KvmError)) throw cause;
    throw new BackendError(`${cause.syscall} refuses it: ${cause.code}`, {
      property,
      value,
      remedy: remedy?.(cause.code),
      cause,
    });
  }
}
