// What calls are given: what fits the name of a parameter, what nearly fits, objects of the game, and anything at all.
import fc from 'fast-check';
import { backendObjects, backendTexts } from './backend-values.mjs';
import { anything, beyond, Fresh, hostile, proper, Reference } from './hostile-values.mjs';

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
  // Where a call begins in something of 16 pages.
  const place = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(0, 0, 1, page - 1, page, 4 * page) },
    { weight: 2, arbitrary: size },
  );
  const content = fc.oneof({ weight: 3, arbitrary: proper }, { weight: 2, arbitrary: hostile() });
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
  // At 0 lies the guest program: one that was overwritten may run until its time is up, and play waits for it.
  const address = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(0x10_0000, 0x1_0000_0000, 0x1_0000_1000) },
    { weight: 1, arbitrary: fc.constantFrom(0, page, 1, 2 ** 52, 1n << 63n, -1) },
  );
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
    offset: place,
    fileOffset: place,
    mappingOffset: place,
    guestMemfdOffset: place,
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
    value: fc.oneof({ weight: 3, arbitrary: small }, text, fc.boolean()),
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
    into: fc.oneof(size, content),
    from: content,
    expected: content,
    data: content,
    list: hostile(),
    bytes: content,
    populate: fc.boolean(),
    guard: fc.boolean(),
    legacy: fc.boolean(),
    discard: fc.boolean(),
    preallocPrivate: fc.boolean(),
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
