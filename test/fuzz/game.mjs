// A sequence of calls as the fuzzer makes it up, and plays it.
import { readdirSync, readFileSync } from 'node:fs';
import { setImmediate as tick } from 'node:timers/promises';
import { markAsUntransferable } from 'node:worker_threads';
import fc from 'fast-check';
import { Fresh, Reference, Thrown, vocabulary } from './values.mjs';

/** A property that did not hold. */
export class Violation extends Error {}

/** Larger mappings are closed at once: touching all of one is not what is asked here. */
const mappingLimit = 1 << 21;

/** Nothing can be made by these names. */
const harmlessPaths = new Set(['/', '/dev/zero', '/dev/null', '/no/such']);

/** What JavaScript does to the memory that it sees, and to time. */
const ownMoves = {
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
    Vm: (get) => get('Kvm').createVm(),
    GuestMemfd: (get) => get('Vm').createGuestMemfd({ size: 16 * page, flags: shared }),
    GuestMemory: (get) => get('Vm').memory,
    Vcpu: (get) => get('Vm').createVcpu(),
    GuestAgent: (get) => g.GuestAgent.create(get('Vm')),
    Attachment: (get) => get('MemoryBackend').attach(get('Vm'), { slot: 1, guestPhysAddr: 0x1_0000_0000 }),
  };
}

/** Sequences of steps over a surface. */
export function sequences(g, calls) {
  const words = vocabulary(g);
  const argument = ({ name, fields }) => {
    if ((name === 'options' && fields?.length === 0) || fields?.includes('qom-type'))
      return fc.oneof({ weight: 8, arbitrary: words.object }, { weight: 1, arbitrary: words.wild });
    if (!fields) return words.one(name);
    const known = Object.fromEntries(
      [...new Set([...fields, ...words.common])].map((field) => [field, words.one(field)]),
    );
    const optional = fields.length > 0 ? fc.subarray(fields) : fc.constant([]);
    const object = fc
      .tuple(optional, fc.subarray(words.common, { maxLength: 1 }))
      .chain(([some, more]) =>
        fc.record(Object.fromEntries([...new Set([...some, ...more])].map((field) => [field, known[field]]))),
      );
    // What calls of this kind cannot do without, so that not all of them fail at once.
    const needed = fields.filter((field) =>
      /^(?:size|slot|guestPhysAddr|mapping|address|attributes|mode)$/.test(field),
    );
    const whole =
      needed.length > 0 ? fc.record(Object.fromEntries(needed.map((field) => [field, known[field]]))) : object;
    return fc.oneof(
      { weight: 6, arbitrary: object },
      { weight: 3, arbitrary: whole },
      { weight: 1, arbitrary: words.wild },
      { weight: 2, arbitrary: fc.constant(undefined) },
    );
  };
  const step = (call) =>
    fc.record({
      call: fc.constant(call.name),
      receiver: call.owner && call.how !== 'static' ? fc.nat(9) : fc.constant(0),
      args: fc.oneof(
        { weight: 14, arbitrary: fc.tuple(...call.parameters.map(argument)) },
        { weight: 1, arbitrary: fc.array(words.wild, { maxLength: 4 }) },
      ),
      wait: fc.boolean(),
    });
  const own = Object.keys(ownMoves).map((name) => ({
    weight: 16,
    arbitrary: fc.record({
      call: fc.constant(name),
      receiver: fc.nat(9),
      args: fc.constant([]),
      wait: fc.constant(true),
    }),
  }));
  // Half of what can be called ends something; that must not be half of what is done. Most is done to memory.
  const weight = ({ name, how }) => {
    if (/close|dispose|Error$/.test(name) || how === 'get' || how === 'forge') return 1;
    return /^(?:Mapping|MemoryFile|Vm|GuestMemfd|GuestAgent)\b/.test(name) ? 6 : 3;
  };
  return fc.array(fc.oneof(...own, ...calls.map((call) => ({ weight: weight(call), arbitrary: step(call) }))), {
    minLength: 1,
    maxLength: 24,
    size: 'max',
  });
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
  async #object(pool, type, pick, open = false) {
    const list = pool.all(type).filter((one) => !(open && one.closed));
    if (list.length > 0 && pick % 5 !== 4) return list[pick % list.length];
    const maker = this.makers[type];
    if (!maker) return list[0];
    try {
      const needed = /get\('(\w+)'\)/g;
      const parts = new Map();
      for (const [, name] of maker.toString().matchAll(needed))
        parts.set(name, await this.#object(pool, name, pick, true));
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
    const types = Object.keys(this.makers);
    if (value instanceof Reference)
      return [await this.#object(pool, value.type ?? types[value.pick % types.length], value.pick)];
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
      await Promise.all(pending);
      pool.closeAll();
    }
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
    if (step.wait) await settled;
    else pending.push(settled);
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

/** A sequence in words. */
export function describe(steps) {
  const text = (value) => {
    if (value instanceof Fresh) return `<${value.name}>`;
    if (value instanceof Reference) return `<a ${value.type ?? 'thing'}, ${value.pick}>`;
    if (value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype)
      return `{ ${Object.entries(value)
        .map(([key, one]) => `${key}: ${text(one)}`)
        .join(', ')} }`;
    return fc.stringify(value);
  };
  return steps
    .map(
      ({ call, receiver, args, wait }) =>
        `  ${call}(${args.map(text).join(', ')})${receiver ? ` of ${receiver}` : ''}${wait ? '' : ' not waited for'}`,
    )
    .join('\n');
}
