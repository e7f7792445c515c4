import { callDescriptions } from '../trace/calls.ts';
import { type CapturedCall, descriptorOf } from '../trace/log.ts';

/** Which objects descriptors of the process led to while calls were made. */
class Descriptors {
  readonly #byFd = new Map<number, number>();

  follow({ name, args, result, created }: CapturedCall): void {
    if (typeof created === 'number') this.#byFd.set(created, result as number);
    if (name === 'close') for (const [fd, handle] of this.#byFd) if (handle === args[0]) this.#byFd.delete(fd);
  }

  objectOf(fd: unknown): number | undefined {
    return typeof fd === 'number' ? this.#byFd.get(fd) : undefined;
  }
}

/** A call, and the library's object behind the descriptor that it was given. */
export interface Step {
  readonly call: CapturedCall;
  readonly behindFd: number | undefined;
}

/** The objects that a call is about: the device is every call's, and says nothing. */
function objectsOf({ call, behindFd }: Step): number[] {
  const { fields, creates } = callDescriptions[call.name];
  const found = call.args.filter((arg, i) => {
    const [name, show] = fields[i] ?? [];
    return show === 'object' && name !== 'kvm' && typeof arg === 'number' && arg > 0;
  }) as number[];
  if (creates && creates !== 'kvm' && typeof call.result === 'number' && call.result > 0) found.push(call.result);
  if (behindFd !== undefined) found.push(behindFd);
  return found;
}

/** Sets of objects that belong together. */
class Groups {
  readonly #parents = new Map<number, number>();

  find(object: number): number {
    let at = object;
    for (let up = this.#parents.get(at); up !== undefined && up !== at; up = this.#parents.get(at)) at = up;
    return at;
  }

  join(objects: readonly number[]): void {
    const [first, ...rest] = objects;
    if (first === undefined) return;
    for (const one of rest) this.#parents.set(this.find(one), this.find(first));
  }
}

/**
 * The calls that have to do with what happened from `from` on: those about objects that are connected with one used there,
 * as a memslot connects a VM, a guest_memfd and a mapping. What a check did with other VMs before is left out.
 */
export function relevant(calls: readonly CapturedCall[], from: number): Step[] {
  const descriptors = new Descriptors();
  const steps = calls.map((call) => {
    descriptors.follow(call);
    return { call, behindFd: descriptors.objectOf(descriptorOf(call)) };
  });
  const groups = new Groups();
  for (const step of steps) groups.join(objectsOf(step));
  const used = new Set(
    steps.filter(({ call }) => call.index >= from).flatMap((step) => objectsOf(step).map((one) => groups.find(one))),
  );
  return steps.filter((step) => {
    const objects = objectsOf(step);
    return objects.length === 0 ? step.call.index >= from : objects.some((one) => used.has(groups.find(one)));
  });
}
