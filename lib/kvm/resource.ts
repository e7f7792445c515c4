import { typeError } from './arguments.ts';
import { type CallArguments, checked, stateError } from './errors.ts';
import { type Handle, native } from './native.ts';

// The safety net for what nobody closed. The plan is close() or `using`.
const forgotten = new FinalizationRegistry<Handle>((handle) => {
  native.close(handle);
});

/**
 * A handle on its way from the addon to the object that will own it. JavaScript knows no private constructor: without this,
 * anybody could make a second owner of a handle, and one of the two would close what is the other's.
 */
export class Owned {
  readonly handle: Handle;

  constructor(handle: Handle) {
    this.handle = handle;
  }
}

/** What the addon made, for the object that is to own it; a negative number is an errno and becomes a KvmError. */
export function owned(result: number, syscall: string, args?: CallArguments): Owned {
  return new Owned(checked(result, syscall, args));
}

/** Something of the kernel's that one JavaScript object owns. */
export abstract class KernelResource implements Disposable {
  #handle: Handle;

  protected constructor(owner: Owned) {
    if (!(owner instanceof Owned))
      throw typeError('handle', `made by this package: new ${new.target.name}() is not for others`, owner);
    const { handle } = owner;
    this.#handle = handle;
    forgotten.register(this, handle, this);
  }

  /** True once `close()` was called. */
  get closed(): boolean {
    return this.#handle === 0;
  }

  /** @internal The native handle; throws when closed. */
  get handle(): Handle {
    if (this.#handle === 0) throw stateError(`this ${this.constructor.name} is closed`, 'ERR_CLOSED');
    return this.#handle;
  }

  /**
   * Gives the resource back to the kernel now. Closing twice is fine, and so is any order between a VM and what was made
   * from it: the kernel keeps what it needs, and this package keeps host addresses reserved as long as a guest can reach
   * them.
   */
  close(): void {
    const handle = this.#handle;
    if (handle === 0) return;
    this.beforeClose(handle);
    this.#handle = 0;
    forgotten.unregister(this);
    checked(native.close(handle), 'munmap');
  }

  [Symbol.dispose](): void {
    this.close();
  }

  protected beforeClose(_handle: Handle): void {}
}

/** A resource that is a file descriptor. */
export abstract class FdResource extends KernelResource {
  /**
   * The file descriptor, close-on-exec, owned by this object: use it for calls that this package does not have, and never
   * close it by number.
   */
  get fd(): number {
    return native.fd(this.handle);
  }
}
