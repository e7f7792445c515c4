// Plays a sequence of calls: finds or makes the objects that they need, and judges what they throw.
import { readdirSync, readFileSync } from 'node:fs';
import { setImmediate as tick } from 'node:timers/promises';
import { markAsUntransferable } from 'node:worker_threads';
import { Fresh, Reference, Thrown } from './hostile-values.mjs';

/** A property that did not hold. */
export class Violation extends Error {}

/** Larger mappings are closed at once: touching all of one is not what is asked here. */
const mappingLimit = 1 << 21;

/** Nothing can be made by these names. */
const harmlessPaths = new Set(['/', '/dev/zero', '/dev/null', '/no/such']);

/** What JavaScript does to the memory that it sees, and to time. */
export const ownMoves = {
  'touch a view': (_pool, pick) => {
    const view = pick('ArrayBuffer');
    if (view?.byteLength > 0) new Uint8Array(view).fill(new Uint8Array(view)[0] ?? 0);
  },
  'transfer a view': (pool, pick) => {
    const view = pick('ArrayBuffer');
    try {
      if (view?.byteLength > 0) pool.keep(structuredClone(view, { transfer: [view] }));
    } catch (error) {
      if (error.name !== 'DataCloneError') throw error;
    }
  },
  'mark a view as untransferable': (_pool, pick) => {
    // Node 24 and 26 abort at their end where such a buffer lives on, whoever made it.
    if (Number(process.versions.node.split('.')[0]) < 24 && pick('ArrayBuffer'))
      markAsUntransferable(pick('ArrayBuffer'));
  },
  'let time pass': () => tick(),
};

/** Memory that a guest can work on, where the mapping is fit for it. */
function withMemory(vm, mapping) {
  try {
    vm.setUserMemoryRegion({ slot: 7, guestPhysAddr: 0x10_0000, size: mapping.length, mapping });
  } catch (error) {
    if (!error.code) throw error;
  }
  return vm;
}

/** How to get an object of a class where the game has none. A class without a way is an error of surface(). */
export function makersOf(g, hasKvm) {
  const page = g.pageSize;
  const shared = g.GuestMemfdFlag.MMAP | g.GuestMemfdFlag.INIT_SHARED;
  const makers = {
    Mapping: () => g.mapAnonymous({ size: 16 * page }),
    MemoryFile: () => {
      const file = g.MemoryFile.memfd({ flags: g.MemfdFlag.ALLOW_SEALING });
      file.resize(16 * page);
      return file;
    },
    PagePin: (get) => get('Mapping').pin(0, page),
    ForkedChild: (get) => get('Mapping').forkChild(),
    MemoryBackend: () => g.createMemoryBackend({ 'qom-type': 'memory-backend-memfd', id: 'a', size: 16 * page }),
    ArrayBuffer: (get) => get('Mapping').view(0, page),
  };
  if (!hasKvm) return makers;
  return {
    ...makers,
    Kvm: () => g.Kvm.open(),
    Vm: (get) => withMemory(get('Kvm').createVm(), get('Mapping')),
    GuestMemfd: (get) => get('Vm').createGuestMemfd({ size: 16 * page, flags: shared }),
    GuestMemory: (get) => get('Vm').memory,
    Vcpu: (get) => get('Vm').createVcpu(),
    GuestAgent: (get) => g.GuestAgent.create(get('Vm')),
    Attachment: (get) => get('MemoryBackend').attach(get('Vm'), { slot: 1, guestPhysAddr: 0x1_0000_0000 }),
  };
}

/** The objects of one sequence, by class. */
class Pool {
  #byClass = new Map();
  #seen = new WeakSet();

  constructor(classes) {
    this.classes = classes;
  }

  all(name) {
    return this.#byClass.get(name) ?? [];
  }

  keep(value) {
    if (value === null || typeof value !== 'object' || this.#seen.has(value)) return;
    const prototype = Object.getPrototypeOf(value);
    const name = value instanceof ArrayBuffer ? 'ArrayBuffer' : prototype?.constructor?.name;
    if (name !== 'ArrayBuffer' && !this.classes.has(prototype?.constructor)) {
      if (typeof value[Symbol.dispose] === 'function' && prototype !== Object.prototype)
        throw new Violation(`objects of the class ${name} turn up, which no maker of game.mjs makes`);
      return;
    }
    this.#seen.add(value);
    const list = this.#byClass.get(name) ?? [];
    this.#byClass.set(name, list);
    list.push(value);
    if (name === 'Mapping' && value.length > mappingLimit) value.close();
    // Not too many of a kind: a sequence is about few objects that meet.
    if (list.length > 4) list.shift().close?.();
  }

  closeAll() {
    for (const list of this.#byClass.values()) for (const one of list) one.close?.();
    this.#byClass.clear();
  }
}

/** What is not the package's doing: these objects themselves throw when somebody reads a property. */
const throwsItself = (error, args) =>
  error instanceof TypeError &&
  /incompatible receiver/.test(error.message) &&
  args?.some((one) => one instanceof Fresh && /proxy|prototype/.test(one.name));

const acceptable = (g, error, how, args) =>
  error instanceof Thrown ||
  throwsItself(error, args) ||
  [g.KvmError, g.MemoryAccessError, g.ConversionError, g.BackendError, g.GuestExitError].some(
    (type) => error instanceof type,
  ) ||
  (error instanceof Error && typeof error.code === 'string' && /^ERR_[A-Z_]+$/.test(error.code)) ||
  error?.name === 'AbortError' ||
  error?.name === 'TimeoutError' ||
  (error instanceof AggregateError && error.errors.every((one) => acceptable(g, one, how))) ||
  // Constructors that the declarations say are not there.
  (how === 'forge' && error instanceof TypeError);

/** Plays sequences, and counts what it did. */
export class Game {
  calls = new Map();
  #names = 0;

  /** @param g the package, @param surface from surfaceOf(), @param makers from makersOf() */
  constructor(g, surface, makers, folder) {
    this.g = g;
    this.makers = makers;
    this.folder = folder;
    this.classes = surface.classes;
    this.surface = new Map(surface.calls.map((call) => [call.name, call]));
    for (const name of [...this.surface.keys(), ...Object.keys(ownMoves)])
      this.calls.set(name, { returned: 0, threw: 0 });
  }

  /** One of the game's objects, or a new one; `open` for what another one is to be made of. */
  async #object(pool, type, pick, { open = false, mayMake = true } = {}) {
    const list = pool.all(type).filter((one) => !(open && one.closed));
    if (list.length > 0 && pick % 5 !== 4) return list[pick % list.length];
    const maker = this.makers[type];
    if (!maker || !mayMake) return list[0];
    try {
      const needed = /get\('(\w+)'\)/g;
      const parts = new Map();
      for (const [, name] of maker.toString().matchAll(needed))
        parts.set(name, await this.#object(pool, name, pick, { open: true }));
      if ([...parts.values()].includes(undefined)) return list[0];
      const made = await maker((name) => parts.get(name));
      pool.keep(made);
      return made;
    } catch (error) {
      // Another object may have been closed, or hold the number that this one needs.
      if (!acceptable(this.g, error)) throw error;
      return list[0];
    }
  }

  /** A value for a call, boxed: `await` would ask some of them for a `then` that throws. */
  async #resolve(pool, value) {
    if (value instanceof Fresh) return [value.make()];
    if (value instanceof Reference) {
      const types = Object.keys(this.makers);
      const type = value.type ?? types[value.pick % types.length];
      // Nobody asked for this one, and a process is made in the time of a whole sequence.
      const mayMake = value.type !== undefined || type !== 'ForkedChild';
      return [await this.#object(pool, type, value.pick, { mayMake })];
    }
    // Whatever is a path somewhere stays in the folder of the game.
    if (typeof value === 'string' && !harmlessPaths.has(value) && (value.startsWith('/') || value.includes('..')))
      return [value.replaceAll('/', '_').replaceAll('..', '_')];
    if (typeof value === 'string' && value.startsWith('@')) return [`${this.folder}/${value.slice(1)}${this.#names++}`];
    if (
      value !== null &&
      typeof value === 'object' &&
      [Object.prototype, null].includes(Object.getPrototypeOf(value))
    ) {
      const copy = Object.create(Object.getPrototypeOf(value));
      for (const key of Object.keys(value))
        Object.defineProperty(copy, key, {
          value: (await this.#resolve(pool, value[key]))[0],
          enumerable: true,
          writable: true,
          configurable: true,
        });
      return [copy];
    }
    return [value];
  }

  #invoke(call, receiver, args) {
    if (call.how === 'construct' || call.how === 'forge') return Reflect.construct(call.callable, args);
    return Reflect.apply(call.callable, call.how === 'static' ? call.owner : receiver, args);
  }

  /** @throws {Violation} */
  async play(steps) {
    const pool = new Pool(this.classes);
    const pending = [];
    try {
      for (const step of steps) await this.#step(pool, pending, step);
    } finally {
      pool.closeAll();
      await Promise.allSettled(pending);
      pool.closeAll();
    }
    await Promise.all(pending);
  }

  async #step(pool, pending, step) {
    const counts = this.calls.get(step.call);
    const failed = (error, how) => {
      if (error instanceof Violation) throw error;
      counts.threw++;
      if (!acceptable(this.g, error, how, step.args))
        throw new Violation(`${step.call} threw ${error?.stack ?? error}`, { cause: error });
    };
    const own = ownMoves[step.call];
    if (own) {
      const view = await this.#object(pool, 'ArrayBuffer', step.receiver);
      counts.returned++;
      return own(pool, () => view);
    }
    const call = this.surface.get(step.call);
    let receiver;
    if (call.owner && ['method', 'get'].includes(call.how)) {
      receiver = await this.#object(pool, call.owner.name, step.receiver);
      if (receiver === undefined) return;
    }
    const args = [];
    for (const one of step.args) args.push(...(await this.#resolve(pool, one)));
    let result;
    try {
      result = this.#invoke(call, receiver, args);
    } catch (error) {
      failed(error, call.how);
      return;
    }
    if (!(result instanceof Promise)) {
      counts.returned++;
      // What was forged is left to the garbage collector.
      if (call.how !== 'forge') pool.keep(result);
      return;
    }
    const settled = result.then(
      (value) => {
        counts.returned++;
        pool.keep(value);
      },
      (error) => failed(error, call.how),
    );
    if (step.wait) return settled;
    settled.catch(() => {}); // until the sequence ends, which asks again
    pending.push(settled);
  }
}

/** What this process holds of the kernel's. */
export function held() {
  const maps = readFileSync('/proc/self/maps', 'latin1').split('\n');
  return {
    fds: readdirSync('/proc/self/fd').length,
    files: maps.filter((line) => /\/memfd:|kvm-|guest_memfd:|SYSV|\/dev\/zero|gmem-fuzz/.test(line)).length,
    mappings: maps.length,
  };
}
