// What calls are given: what fits the name of a parameter, what nearly fits, objects of the game, and anything at all.
import fc from 'fast-check';

/** An object of the game, chosen when the call is made: `type` is a class, or undefined for any. */
export class Reference {
  constructor(type, pick) {
    this.type = type;
    this.pick = pick;
  }
}

/** Thrown by values that are made to throw: what a user's own code throws must come through as it is. */
export class Thrown extends Error {}

/** A value that is made anew for each call, because calls may change it. */
export class Fresh {
  constructor(name, make) {
    this.name = name;
    this.make = make;
  }
}

const limit = 2 ** 21;
const beyond = 2 ** 47;

/** What fits into the address space but not into memory would measure nothing but the kernel's OOM killer. */
const harmless = (number) =>
  Math.abs(Number(number)) > limit && Math.abs(Number(number)) < beyond
    ? typeof number === 'bigint'
      ? number % BigInt(limit)
      : number % limit
    : number;

function hostile() {
  const throws = () => {
    throw new Thrown('a user’s own error');
  };
  const resizable = () => {
    const buffer = new ArrayBuffer(64, { maxByteLength: 128 });
    const view = new Uint8Array(buffer, 32);
    buffer.resize(16); // the view is out of bounds now
    return view;
  };
  const detached = (type) => () => {
    const view = new type(new ArrayBuffer(64));
    structuredClone(view.buffer, { transfer: [view.buffer] });
    return view;
  };
  const makers = {
    'a throwing getter': () => ({
      get size() {
        return throws();
      },
      get length() {
        return throws();
      },
    }),
    'a proxy that throws': () => new Proxy({}, { get: throws }),
    'an array that is a proxy': () => new Proxy([1, 2], {}),
    'bytes that are a proxy': () => new Proxy(new Uint8Array(8), {}),
    'only the prototype of bytes': () => Object.create(Uint8Array.prototype),
    'bytes with a length of their own': () =>
      Object.defineProperty(new Uint8Array(8), 'byteLength', { value: 1 << 20 }),
    'bytes of an array that shrank': resizable,
    'detached bytes': detached(Uint8Array),
    'a detached DataView': detached(DataView),
    'a SharedArrayBuffer': () => new SharedArrayBuffer(4096),
    'a DataView': () => new DataView(new ArrayBuffer(100), 3, 17),
    '64-bit words': () => new BigUint64Array(9),
    bytes: () => new Uint8Array(4096).fill(7),
    'a few bytes': () => new Uint8Array(5),
    'no bytes': () => new Uint8Array(0),
    'a function': () => () => undefined,
    'a function that throws': () => throws,
    'a class': () => class {},
    'an aborted signal': () => AbortSignal.abort(),
    'a signal': () => new AbortController().signal,
    'a signal that fires': () => AbortSignal.timeout(1),
    'an array with holes': () => Object.assign(new Array(4), { 1: 1, 3: 2 }),
    'a valueOf that throws': () => ({ valueOf: throws, toString: throws }),
  };
  return fc.constantFrom(...Object.entries(makers).map(([name, make]) => new Fresh(name, make)));
}

const anything = fc
  .anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withNullPrototype: true,
    withTypedArray: true,
    withSparseArray: true,
    maxDepth: 2,
    maxKeys: 3,
  })
  .map((value) => (typeof value === 'number' || typeof value === 'bigint' ? harmless(value) : value));

const strings = ['', 'a', 'private', 'shared', 'a\0b', 'x'.repeat(300), '-1', '😀', '__proto__', 'constructor'];

/** Values for parameters by their names, where a class of objects has not that name itself. */
export function vocabulary(library) {
  const page = library.pageSize;
  const pages = [0, 1, page - 1, page, page + 1, 2 * page, 4 * page, 16 * page, 17 * page];
  const edges = [beyond, 2 ** 53 - 1, 2 ** 53, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, -0];
  const big = [0n, BigInt(page), 1n << 47n, 1n << 62n, 1n << 63n, (1n << 64n) - 1n, 1n << 64n, -1n];
  const size = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...pages) },
    { weight: 1, arbitrary: fc.constantFrom(...edges, ...big) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 1 << 18 }) },
  );
  const small = fc.oneof(
    fc.integer({ min: 0, max: 9 }),
    fc.constantFrom(16, 99, 255, 256, 1023, 1024, 65535, -1, 2 ** 31, 2 ** 32),
  );
  const bits = fc.oneof(
    fc.constantFrom(
      ...new Set(
        Object.values(library)
          .filter((one) => one?.constructor === Object)
          .flatMap((one) => Object.values(one))
          .filter((one) => typeof one === 'number'),
      ),
    ),
    fc
      .array(fc.integer({ min: 0, max: 31 }), { maxLength: 3 })
      .map((list) => list.reduce((sum, bit) => (sum | (1 << bit)) >>> 0, 0)),
  );
  // Broken memory is broken for the whole machine: MADV_HWPOISON and MADV_SOFT_OFFLINE.
  const advice = fc
    .oneof(fc.constantFrom(...Object.values(library.Advice), 102, 103), bits)
    .map((number) => (number === 100 || number === 101 ? 4 : number));
  const mode = fc.oneof(fc.constantFrom(...Object.values(library.MemoryPolicy)), bits);
  const text = fc.oneof(fc.constantFrom(...strings), fc.string({ maxLength: 12 }));
  const nodes = fc.array(fc.oneof(fc.constant(0), small), { maxLength: 3 });
  const address = fc.constantFrom(0, page, 0x10_0000, 0x1_0000_0000, 0x1_0000_1000, 1, 2 ** 52, 1n << 63n, -1);
  const callback = fc.constant(new Fresh('a function', () => () => undefined));
  const signal = fc.constantFrom(
    undefined,
    new Fresh('a signal', () => new AbortController().signal),
    new Fresh('an aborted signal', () => AbortSignal.abort()),
    new Fresh('a signal that fires', () => AbortSignal.timeout(1)),
  );
  // Devices that are there on every machine: a name that is not would be made, as a file, by a call with CREATE.
  // One file has one name in a sequence, so that nobody else shrinks it (see play.mjs).
  const path = fc.oneof(
    fc.constantFrom('@file', '/dev/zero', '/dev/null', '/', '/no/such', '', 'a\0b'),
    text.map((one) => `@${one.replaceAll('/', '')}`),
  );
  const command = fc.record(
    {
      op: fc.oneof(
        fc.constantFrom(
          'load',
          'store',
          'fill',
          'compare',
          'checksum',
          'copy',
          'hypercall',
          'portOut',
          'portIn',
          'halt',
        ),
        text,
      ),
      gpa: address,
      to: address,
      from: address,
      length: size,
      value: small,
      width: fc.constantFrom(1, 2, 4, 8, 3),
      port: small,
      number: small,
      args: nodes,
    },
    { requiredKeys: ['op', 'gpa'] },
  );
  const range = fc.record(
    { gpa: address, size, to: fc.constantFrom('private', 'shared', 'x') },
    { requiredKeys: ['gpa', 'size'] },
  );
  const backend = backendTexts(library);
  const segment = fc.record(
    {
      gpa: size,
      size,
      state: fc.constantFrom('private', 'shared', 'unbacked'),
      resident: fc.boolean(),
      slot: small,
      backing: text,
    },
    { requiredKeys: ['gpa', 'size', 'state'] },
  );
  const exit = fc.record({
    reason: fc.constantFrom('HYPERCALL', 'MEMORY_FAULT', 'IO'),
    number: fc.constantFrom(12n, 1n),
    args: fc.constantFrom([0x1_0000_0000n, 1n, 16n], []),
    guestPhysAddr: fc.constantFrom(0n, 1n),
    size: fc.constantFrom(4096n),
    flags: fc.constantFrom(0n, 8n),
    code: fc.constantFrom('EFAULT'),
    isPrivate: fc.boolean(),
  });
  const named = {
    size,
    length: size,
    offset: size,
    fileOffset: size,
    mappingOffset: size,
    guestMemfdOffset: size,
    pageSize: size,
    alignment: size,
    gpa: address,
    guestPhysAddr: address,
    address,
    // A bare address is the caller's own risk: none that has memory behind it.
    userspaceAddr: fc.constantFrom(0, 1, 2n ** 63n),
    flags: bits,
    protection: bits,
    advice,
    mode,
    seals: bits,
    attributes: fc.constantFrom(0, 8, 8n, 1, 2 ** 40),
    capability: bits,
    slot: small,
    id: fc.oneof(small, text),
    vcpuId: small,
    value: fc.oneof(small, text, fc.boolean()),
    threads: fc.integer({ min: 0, max: 6 }),
    width: small,
    type: small,
    errno: small,
    // A guest may well run for ever: no run of the game takes longer.
    timeout: fc.constantFrom(1, 5, 20, 0, -1, Number.NaN),
    deadline: fc.constantFrom(0, 1, 5, -1),
    nodes,
    cpus: nodes,
    args: fc.array(size, { maxLength: 5 }),
    needs: fc.array(fc.oneof(fc.constantFrom(...library.adviceTable.map((row) => row.need)), text), { maxLength: 3 }),
    name: text,
    path,
    text: backend,
    commandLine: fc.oneof(
      backend.map((one) => `qemu -m 1G -object ${one} -machine memory-backend=a`),
      fc.array(text, { maxLength: 4 }),
    ),
    to: fc.constantFrom('private', 'shared', 'x'),
    method: fc.constantFrom('write', 'read', 'touch', 'x'),
    property: fc.oneof(fc.constantFrom(...library.properties.map((row) => row.name)), text),
    qom: text,
    signal,
    onProgress: callback,
    onRequest: callback,
    listener: callback,
    policy: fc.constantFrom(
      undefined,
      new Fresh('a policy', () => () => 'allow'),
      new Fresh('a refusal', () => () => ({ refuse: 1 })),
    ),
    commands: fc.array(command, { maxLength: 4 }),
    command,
    ranges: fc.array(range, { maxLength: 3 }),
    map: fc.record({ model: text, reason: text, segments: fc.array(segment, { maxLength: 4 }) }),
    exit,
    object: backend,
    objects: fc.array(backend, { maxLength: 2 }),
    into: fc.oneof(size, hostile()),
    from: hostile(),
    expected: hostile(),
    data: hostile(),
    list: hostile(),
    bytes: hostile(),
    populate: fc.boolean(),
    guard: fc.boolean(),
    legacy: fc.boolean(),
    discard: fc.boolean(),
    resident: fc.boolean(),
    checkHost: fc.boolean(),
    json: fc.boolean(),
    contexts: fc.array(fc.record({ id: fc.constantFrom('a', 'tc'), cpus: nodes }), { maxLength: 1 }),
  };
  const classes = {
    mapping: 'Mapping',
    vm: 'Vm',
    vcpu: 'Vcpu',
    guestMemfd: 'GuestMemfd',
    asked: 'Kvm',
    memory: 'GuestMemory',
  };
  const reference = (type) => fc.nat(9).map((pick) => new Reference(type, pick));
  const wild = fc.oneof(
    { weight: 4, arbitrary: anything },
    { weight: 2, arbitrary: hostile() },
    { weight: 1, arbitrary: reference(undefined) },
  );
  const fits = (name) => (classes[name] ? reference(classes[name]) : (named[name] ?? fc.oneof(size, text, wild)));
  const one = (name) =>
    fc.oneof(
      { weight: 12, arbitrary: fits(name) },
      { weight: 1, arbitrary: wild },
      { weight: 1, arbitrary: fc.constant(undefined) },
    );
  const common = [
    'offset',
    'length',
    'size',
    'flags',
    'protection',
    'alignment',
    'guard',
    'populate',
    'timeout',
    'signal',
  ];
  return { one, wild, common, object: backendObjects(library, one) };
}

/** Objects for -object, from the package's own table of properties. */
function backendObjects(library, one) {
  const values = {
    size: fc.constantFrom(4096, 65536, 1 << 20, 0, 4097, 2 ** 47, 65536n),
    bool: fc.boolean(),
    uint32: fc.integer({ min: 0, max: 4 }),
    uint16s: fc.array(fc.constantFrom(0, 0, 1, 127, 128), { maxLength: 2 }),
    string: fc.constantFrom('tc', 'a', ''),
  };
  const of = (row) =>
    row.name === 'mem-path' ? one('path') : row.kind === 'enum' ? fc.constantFrom(...row.values) : values[row.kind];
  return fc.oneof(
    ...library.objectTypes.map(({ name }) => {
      const rows = library.properties.filter((row) => row.types.includes(name));
      const required = { 'qom-type': fc.constant(name), id: fc.constantFrom('a', 'ram0', 'tc') };
      if (name !== 'thread-context') required.size = values.size;
      return fc
        .tuple(
          fc.record(required),
          fc
            .subarray(rows, { maxLength: Math.min(3, rows.length) })
            .chain((some) => fc.record(Object.fromEntries(some.map((row) => [row.name, of(row)])))),
        )
        .map(([base, more]) => ({ ...base, ...more }));
    }),
  );
}

function backendTexts(library) {
  const words = fc.oneof(
    fc.constantFrom(
      'id=a',
      'size=1M',
      'share',
      'noshare',
      'size=1e3',
      'host-nodes=0-1',
      'host-nodes=0-65535',
      'policy=bind',
      'mem-path=a,,b',
      '=',
      ',',
      'x=',
      'size=99999999999999999999',
      'prealloc=on',
    ),
    fc
      .tuple(fc.constantFrom(...library.properties.map((row) => row.name)), fc.string({ maxLength: 6 }))
      .map(([name, value]) => `${name}=${value}`),
    fc.string({ maxLength: 8 }),
  );
  const plain = fc
    .tuple(fc.constantFrom(...library.objectTypes.map(({ name }) => name), 'x'), fc.array(words, { maxLength: 5 }))
    .map(([type, list]) => [type, 'id=a', 'size=1M', ...list].join(','));
  const json = fc.json({ maxDepth: 2 });
  const object = fc
    .tuple(
      fc.constantFrom('memory-backend-ram', 'memory-backend-file'),
      fc.string({ maxLength: 5 }),
      fc.jsonValue({ maxDepth: 1 }),
    )
    .map(([type, key, value]) => JSON.stringify({ 'qom-type': type, id: 'a', size: 4096, [key]: value }));
  return fc.oneof(plain, json, object, fc.string({ maxLength: 40 }));
}
