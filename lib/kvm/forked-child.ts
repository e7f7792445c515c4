import { range, rangeError, type U64, u32 } from './arguments.ts';
import { checked, MemoryAccessError } from './errors.ts';
import { native } from './native.ts';
import { KernelResource, type Owned } from './resource.ts';

/** A child of this process that has inherited a mapping and touches it when it is told to. Made by {@link Mapping.forkChild}. */
export class ForkedChild extends KernelResource {
  readonly #length: number;

  /** @internal */
  constructor(handle: Owned, length: number) {
    super(handle);
    this.#length = length;
  }

  #result(operation: string, offset: number, result: number): number {
    if (result === -14) throw new MemoryAccessError(operation, offset, 0);
    return checked(result, 'read');
  }

  /**
   * The byte that the child finds at an offset of the mapping.
   *
   * @throws {MemoryAccessError} where its access would have been ended by SIGBUS or SIGSEGV
   */
  load(offset: U64): number {
    const { handle } = this;
    const [at] = range(offset, 1, this.#length);
    return this.#result('read', at, native.childLoad(handle, at));
  }

  /**
   * Lets the child write a byte, from 0 to 255.
   *
   * @throws {MemoryAccessError} as {@link load}
   */
  store(offset: U64, value: number): void {
    const { handle } = this;
    const [at] = range(offset, 1, this.#length);
    if (u32('value', value) > 255) throw rangeError('value', 'an integer from 0 to 255', value);
    this.#result('write', at, native.childStore(handle, at, value));
  }
}
