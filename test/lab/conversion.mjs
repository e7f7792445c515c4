// Tests of lib/conversion that need memory to convert. They run inside a lab machine, as those of library.mjs do: on a kernel
// with two pools and on one that converts in place, whatever the tests find.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';

const g = await import('/gmem/dist/index.js');
const { native } = await import('/gmem/dist/kvm/native.js');
const page = 4096;
const gpa = 0x1_0000_0000;
const privateAttribute = g.MemoryAttribute.PRIVATE;
const bothStates = g.GuestMemfdFlag.MMAP | g.GuestMemfdFlag.INIT_SHARED;
const parameter = '/sys/module/kvm/parameters/gmem_in_place_conversion';
const inPlace = existsSync(parameter) && readFileSync(parameter, 'utf8').startsWith('Y');

function test(name, run) {
  return { name: `library/${name}`, title: name, since: '', run: async (check) => run(g.Kvm.open(), check) };
}

/** A VM whose memory can be converted, all shared at first, made as its model wants it. */
function convertibleVm(kvm, pages, slots = 1) {
  const vm = kvm.createVm({ type: g.VmType.SW_PROTECTED });
  const size = pages * page;
  const each = size / slots;
  const { model } = vm.memory.conversion;
  const gmems = [];
  const mappings = [];
  for (let i = 0; i < slots; i++) {
    const gmem = vm.createGuestMemfd({ size: each, flags: model === 'in-place' ? bothStates : 0 });
    const mapping = model === 'in-place' ? gmem.map() : g.mapAnonymous({ size: each });
    vm.setUserMemoryRegion({ slot: 10 + i, guestPhysAddr: gpa + i * each, size: each, mapping, guestMemfd: gmem });
    gmems.push(gmem);
    mappings.push(mapping);
  }
  vm.enableCapability(g.Capability.EXIT_HYPERCALL, [1 << g.HypercallNumber.MAP_GPA_RANGE]);
  return { vm, model, gmem: gmems[0], gmems, mapping: mappings[0], mappings, size, memory: vm.memory };
}

/** Runs a list of the guest's, doing the conversions that it asks for. */
async function serveList(memory, agent, commands, policy) {
  let run = agent.run(commands, { timeout: 20_000 });
  const outcomes = [];
  while (run.exit) {
    const outcome = await memory.answer(agent.vcpu, run.exit, policy);
    assert.ok(outcome, `the guest left with ${run.exit.reason}`);
    outcomes.push(outcome);
    run = agent.resume({ timeout: 20_000 });
  }
  assert.equal(run.finished, true);
  return { results: run.results, outcomes };
}

const ask = (at, size, to) => ({
  op: 'hypercall',
  number: g.HypercallNumber.MAP_GPA_RANGE,
  args: [at, size / page, to === 'private' ? 16 : 0],
});

const states = (memory, options = { resident: false }) =>
  memory
    .map(options)
    .segments.filter(({ slot }) => slot > 0)
    .map(({ gpa: at, size, state }) => [at, size, state]);

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new assert.AssertionError({ message: 'it should have been refused' });
}

const cachedBytes = () => 1024 * Number(/^Cached: +(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))[1]);
const agreed = (memory) =>
  assert.deepEqual(
    memory.map().segments.filter(({ disagreement }) => disagreement),
    [],
  );

export const checks = [
  test('the model of a VM is found by trying', (kvm) => {
    const { vm } = convertibleVm(kvm, 1);
    assert.equal(vm.memory.conversion.model, inPlace ? 'in-place' : 'two-pool');
    assert.equal(g.capabilities(vm).conversion.model, inPlace ? 'in-place' : 'two-pool');
    assert.equal(kvm.createVm().memory.conversion.model, 'none');
    assert.equal(vm.memory, g.memoryOf(vm));
  }),
  test('512 conversions in a checkerboard, asked for by the guest', async (kvm, check) => {
    const [blocks, blockPages] = [1024, 16];
    const block = blockPages * page;
    const { vm, memory, mapping, size, model } = convertibleVm(kvm, blocks * blockPages);
    const agent = g.GuestAgent.create(vm);
    mapping.fill(0x11);
    const before = cachedBytes() - (model === 'in-place' ? size : 0);
    const wanted = [];
    for (let i = 0; i < blocks; i++) if ((i + Math.floor(i / 64)) % 2) wanted.push(i);
    assert.equal(wanted.length, 512);
    for (let i = 0; i < wanted.length; i += 128) {
      const list = wanted.slice(i, i + 128).map((at) => ask(gpa + at * block, block, 'private'));
      const { results } = await serveList(memory, agent, list);
      assert.deepEqual(new Set(results), new Set([0n]));
    }
    // The guest writes what is private and reads both sides.
    for (let i = 0; i < wanted.length; i += 64) {
      const list = wanted
        .slice(i, i + 64)
        .map((at) => ({ op: 'fill', gpa: gpa + at * block, length: block, value: 0x22 }));
      agent.execute(list, { timeout: 60_000 });
    }
    const isPrivate = new Set(wanted);
    for (let i = 0; i < blocks; i += 64) {
      const list = Array.from({ length: 64 }, (_, j) => i + j).map((at) => ({
        op: 'compare',
        gpa: gpa + at * block,
        length: block,
        value: isPrivate.has(at) ? 0x22 : 0x11,
      }));
      for (const result of agent.execute(list, { timeout: 60_000 })) assert.equal(result, BigInt(block));
    }
    // A row of the board ends as the next one begins, so that two blocks of a kind meet there.
    const expected = [];
    for (let i = 0; i < blocks; i++) {
      const state = isPrivate.has(i) ? 'private' : 'shared';
      const last = expected.at(-1);
      if (last?.[2] === state) last[1] += block;
      else expected.push([gpa + i * block, block, state]);
    }
    assert.deepEqual(states(memory), expected);
    agreed(memory);
    const resident = mapping.residency(0, size).filter(Boolean).length * page;
    const used = cachedBytes() - before + (model === 'in-place' ? 0 : resident);
    check.note(`${(used / size).toFixed(3)} copies of ${size >> 20} MiB in memory`);
    assert.ok(used <= size * 1.05, `${used} bytes for ${size}`);
    assert.ok(used >= size * 0.95, `${used} bytes for ${size}`);
  }),
  test('contents stay in place, and go where there are two pools', async (kvm) => {
    const { memory, vm, mapping, size, model } = convertibleVm(kvm, 4);
    const agent = g.GuestAgent.create(vm);
    mapping.fill(0x11);
    await memory.convert(gpa + page, 2 * page, 'private');
    assert.deepEqual(states(memory), [
      [gpa, page, 'shared'],
      [gpa + page, 2 * page, 'private'],
      [gpa + 3 * page, page, 'shared'],
    ]);
    assert.equal(memory.stateAt(gpa + page), 'private');
    assert.equal(memory.stateAt(0x7_0000_0000), 'unbacked');
    assert.equal(agent.load(gpa + page, 1), model === 'in-place' ? 0x11n : 0n);
    agent.fill(gpa + page, 2 * page, 0x22);
    await memory.convert(gpa, size, 'shared');
    assert.equal(agent.load(gpa + page, 1), model === 'in-place' ? 0x22n : 0n);
    assert.equal(mapping.read(page, 1)[0], model === 'in-place' ? 0x22 : 0);
    assert.equal(mapping.read(0, 1)[0], 0x11);
    agreed(memory);
  }),
  test('what the guest has left is given back, unless that is not wanted', async (kvm) => {
    const { memory, vm, mapping, model, size } = convertibleVm(kvm, 4);
    const agent = g.GuestAgent.create(vm);
    const events = [];
    memory.listen(({ kind, state, gpa: at, size: bytes }) => events.push([kind, state, at, bytes]));
    mapping.fill(0x11);
    await memory.convert(gpa, 2 * page, 'private');
    // A page that is private already is told of once.
    await memory.convert(gpa, 4 * page, 'private');
    const told = [
      ['converting', 'private', gpa, 2 * page],
      ['converted', 'private', gpa, 2 * page],
      ['discarded', 'shared', gpa, 2 * page],
      ['converting', 'private', gpa, 4 * page],
      ['converted', 'private', gpa + 2 * page, 2 * page],
      ['discarded', 'shared', gpa + 2 * page, 2 * page],
    ];
    assert.deepEqual(events, model === 'in-place' ? told.filter(([kind]) => kind !== 'discarded') : told);
    if (model === 'two-pool') {
      assert.deepEqual(mapping.residency(0, size), [false, false, false, false]);
      agent.fill(gpa, size, 0x22);
      await memory.convert(gpa, size, 'shared', { discard: false });
      await memory.convert(gpa, size, 'private', { discard: false });
      assert.equal(agent.load(gpa, 1), 0x22n);
      await memory.convert(gpa, size, 'shared');
      await memory.convert(gpa, size, 'private');
      assert.equal(agent.load(gpa, 1), 0n);
      await memory.convert(gpa, size, 'shared', { discard: false });
      mapping.fill(1);
      await memory.convert(gpa, size, 'private', { discard: false });
      assert.equal(memory.map().segments.find(({ gpa: at }) => at === gpa).stale, size);
    }
    agent.fill(gpa, size, 0x33);
    memory.discard(gpa + page, page);
    assert.equal(agent.load(gpa + page, 1), 0n);
    assert.equal(agent.load(gpa, 1), 0x33n);
    assert.equal(memory.stateAt(gpa + page), 'private');
  }),
  test('a conversion across memslots reaches each guest_memfd', async (kvm) => {
    const { memory, vm, mappings } = convertibleVm(kvm, 8, 4);
    const agent = g.GuestAgent.create(vm);
    for (const mapping of mappings) mapping.fill(0x11);
    await memory.convert(gpa + page, 6 * page, 'private');
    agent.fill(gpa + page, 6 * page, 0x44);
    assert.deepEqual(
      Array.from({ length: 8 }, (_, i) => memory.stateAt(gpa + i * page)),
      ['shared', ...Array(6).fill('private'), 'shared'],
    );
    assert.equal(agent.load(gpa, 1), 0x11n);
    assert.equal(agent.load(gpa + 7 * page, 1), 0x11n);
    agreed(memory);
    await memory.convertAll([
      { gpa, size: 4 * page, to: 'private' },
      { gpa: gpa + 2 * page, size: 4 * page, to: 'shared' },
      { gpa: gpa + 3 * page, size: page, to: 'private' },
    ]);
    assert.deepEqual(
      Array.from({ length: 8 }, (_, i) => memory.stateAt(gpa + i * page)[0]).join(''),
      'pp' + 'sp' + 'ss' + 'ps',
    );
    agreed(memory);
  }),
  test('bad ranges are refused with one clear error, and nothing is converted', async (kvm) => {
    const { memory, vm, size } = convertibleVm(kvm, 4);
    const plain = g.mapAnonymous({ size: 2 * page });
    vm.setUserMemoryRegion({ slot: 30, guestPhysAddr: gpa + size, size: 2 * page, mapping: plain });
    const before = states(memory);
    for (const [at, bytes, code, words] of [
      [gpa + 1, page, 'ERR_CONVERSION_RANGE', /address is no multiple of the page size/],
      [gpa, page + 1, 'ERR_CONVERSION_RANGE', /size is no multiple of the page size/],
      [gpa, 0, 'ERR_CONVERSION_RANGE', /empty/],
      [2 ** 53 - page, 2 * page, 'ERR_CONVERSION_RANGE', /highest address/],
      [2n ** 64n - 4096n, 8192n, 'ERR_CONVERSION_RANGE', /highest address/],
      [gpa + 2 * page, 2 ** 40, 'ERR_CONVERSION_UNBACKED', /no memslot lies at 0x100006000/],
      [gpa - page, 2 * page, 'ERR_CONVERSION_UNBACKED', /no memslot lies at 0xfffff000/],
      [gpa + 3 * page, 2 * page, 'ERR_CONVERSION_BACKING', /memslot 30 at 0x100004000 has no guest_memfd/],
    ]) {
      const error = await failure(memory.convert(at, bytes, 'private'));
      assert.equal(error.code, code, `${error.stack}`);
      assert.ok(error instanceof g.ConversionError);
      assert.match(error.message, words);
      assert.deepEqual(error.converted, []);
    }
    // All are checked before the first is done.
    const error = await failure(
      memory.convertAll([
        { gpa, size: page, to: 'private' },
        { gpa: 0x7_0000_0000, size: page, to: 'private' },
      ]),
    );
    assert.equal(error.code, 'ERR_CONVERSION_UNBACKED');
    assert.equal((await failure(memory.convert(gpa, page, 'secret'))).code, 'ERR_INVALID_ARG_TYPE');
    assert.equal((await failure(memory.convert(gpa, page, 'private', { deadline: -1 }))).code, 'ERR_OUT_OF_RANGE');
    assert.deepEqual(states(memory), before);
    agreed(memory);
    const other = kvm.createVm();
    other.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size: page, mapping: plain });
    assert.equal((await failure(other.memory.convert(gpa, page, 'private'))).code, 'ERR_CONVERSION_UNSUPPORTED');
    vm.close();
    assert.equal((await failure(memory.convert(gpa, page, 'private'))).code, 'ERR_CLOSED');
  }),
  test('a policy allows, refuses with a number, and leaves the rest to the default', async (kvm) => {
    const { memory, vm, size } = convertibleVm(kvm, 4);
    const agent = g.GuestAgent.create(vm);
    const asked = [];
    const policy = (request) => {
      asked.push([request.gpa, request.size, request.to, request.by]);
      return request.gpa === gpa ? { refuse: g.GuestErrno.EPERM } : 'allow';
    };
    const commands = [ask(gpa, page, 'private'), ask(gpa + page, page, 'private'), ask(gpa + size, page, 'private')];
    const { results, outcomes } = await serveList(memory, agent, commands, policy);
    assert.deepEqual(
      results.map((result) => BigInt.asIntN(64, result)),
      [-1n, 0n, -22n],
    );
    assert.deepEqual(asked[0], [gpa, page, 'private', 'hypercall']);
    assert.deepEqual(
      outcomes.map(({ error }) => error?.code),
      ['ERR_CONVERSION_REFUSED', undefined, 'ERR_CONVERSION_UNBACKED'],
    );
    assert.equal(memory.stateAt(gpa), 'shared');
    assert.equal(memory.stateAt(gpa + page), 'private');
    // Devices' memory may be called shared; bits without a meaning are refused.
    const more = await serveList(memory, agent, [
      ask(0x7_0000_0000, page, 'shared'),
      { op: 'hypercall', number: 12, args: [gpa, 1, 32] },
      { op: 'hypercall', number: 12, args: [gpa, 1, 3] },
    ]);
    assert.deepEqual(
      more.results.map((result) => BigInt.asIntN(64, result)),
      [0n, -22n, -22n],
    );
    agreed(memory);
  }),
  test('serve runs the guest to its next exit of another kind', async (kvm) => {
    const { memory, vm } = convertibleVm(kvm, 4);
    const agent = g.GuestAgent.create(vm);
    // run() leaves at the first request; serve goes on from there.
    const { exit } = agent.run([ask(gpa, page, 'private'), ask(gpa + page, page, 'private'), { op: 'halt' }]);
    await memory.answer(agent.vcpu, exit);
    const outcomes = [];
    const next = await memory.serve(agent.vcpu, undefined, { onRequest: (outcome) => outcomes.push(outcome.result) });
    assert.equal(next.reason, 'HLT');
    assert.deepEqual(outcomes, [0]);
    assert.equal(memory.stateAt(gpa + page), 'private');
  }),
  test('a fault that no conversion would mend is left to the caller', async (kvm) => {
    const { memory, vm, gmem, model } = convertibleVm(kvm, 2);
    const agent = g.GuestAgent.create(vm);
    await memory.convert(gpa, page, 'private');
    gmem.close();
    if (model === 'in-place') vm.slots.get(10).mapping.close();
    const { exit } = agent.run([{ op: 'load', gpa }]);
    assert.equal(exit.reason, 'MEMORY_FAULT');
    assert.equal(await memory.answer(agent.vcpu, exit), undefined);
    assert.equal((await failure(memory.convert(gpa, page, 'shared'))).code, 'ERR_CLOSED');
  }),
  test('the map shows what has been touched, and draws it', async (kvm) => {
    const { memory, vm, mapping, model } = convertibleVm(kvm, 8);
    const agent = g.GuestAgent.create(vm);
    mapping.fill(1, page, page);
    agent.store(gpa + 2 * page, 1);
    await memory.convert(gpa + 4 * page, 2 * page, 'private');
    agent.store(gpa + 4 * page, 1);
    const map = memory.map({ gpa: gpa - page, size: 10 * page });
    const seen = map.segments.map(
      ({ state, size, resident }) => `${state[0]}${size / page}${resident === undefined ? '?' : resident ? '+' : '-'}`,
    );
    const unknown = model === 'in-place' ? ['p1+', 'p1-'] : ['p2?'];
    assert.deepEqual(seen, ['u1?', 's1-', 's2+', 's1-', ...unknown, 's2-', 'u1?']);
    const text = g.textMap(map);
    assert.match(text, model === 'in-place' ? /\.sSSsPpss\./ : /\.sSSsPPss\./);
    assert.match(g.svgMap(map), /^<svg [\s\S]*<\/svg>\n$/);
    assert.equal(JSON.parse(g.jsonMap(map)).segments.length, map.segments.length);
  }),
  test('gmem map draws a VM in each format', async () => {
    const { mapCommand } = await import('/gmem/dist/cli/map.js');
    const drawn = async (...argv) => {
      const written = { stdout: '', stderr: '' };
      const to = (name) => ({
        write: (text) => {
          written[name] += text;
        },
      });
      const status = await mapCommand(argv, { stdout: to('stdout'), stderr: to('stderr') });
      assert.equal(status, 0, written.stderr);
      return written.stdout;
    };
    const text = await drawn();
    assert.match(text, inPlace ? /^conversion: in-place/ : /^conversion: two-pool/);
    // A checkerboard: every row is the one before the other way round.
    assert.match(text, / {2}(PS){32}\n.* {2}(SP){32}\n/);
    assert.match(await drawn('--format', 'svg'), /^<svg /);
    const { segments } = JSON.parse(await drawn('--format', 'json'));
    assert.ok(segments.length > 250);
    await assert.rejects(drawn('--format', 'png'), { message: /one of text, svg, json/ });
  }),
  test('the map tells where the kernel disagrees', async (kvm) => {
    if (!inPlace) return;
    const { memory, mapping, gmem } = convertibleVm(kvm, 4);
    mapping.fill(1);
    // Behind the library's back.
    const outcome = new BigUint64Array(1);
    assert.equal(native.guestMemfdSetMemoryAttributes(gmem.handle, page, page, privateAttribute, 0, outcome), 0);
    await memory.convert(gpa + 3 * page, page, 'private');
    assert.equal(native.guestMemfdSetMemoryAttributes(gmem.handle, 3 * page, page, 0, 0, outcome), 0);
    const map = memory.map();
    assert.deepEqual(
      map.segments.filter(({ disagreement }) => disagreement).map(({ gpa: at, size, state }) => [at, size, state]),
      [
        [gpa + page, page, 'shared'],
        [gpa + 3 * page, page, 'private'],
      ],
    );
    assert.match(g.textMap(map), /S!S!/);
  }),
  test('a page in use is waited for, and then named with who may hold it', async (kvm) => {
    if (!inPlace) return;
    const { memory, mapping, mappings, vm } = convertibleVm(kvm, 8, 2);
    for (const each of mappings) each.fill(0x5a);
    const view = mapping.view(2 * page, page);
    const pin = mapping.pin(2 * page, page);
    const error = await failure(memory.convert(gpa + page, 4 * page, 'private', { deadline: 50 }));
    assert.equal(error.code, 'ERR_CONVERSION_BUSY');
    assert.equal(error.offset, 2 * page);
    assert.equal(error.at, gpa + 2 * page);
    assert.equal(error.cause.code, 'EAGAIN');
    assert.match(error.holders[0], /a pin of 0x2000\+0x1000 of the guest_memfd \((io_uring|vmsplice)\)/);
    assert.match(error.holders[1], /a view over 0x2000\+0x1000/);
    assert.equal(view.byteLength, 0);
    assert.deepEqual(states(memory), [
      [gpa, 4 * page, 'shared'],
      [gpa + 4 * page, 4 * page, 'shared'],
    ]);
    // The second guest_memfd's page is in use: the first is converted, and that is said.
    pin.close();
    const second = mappings[1].pin(0, page);
    const partly = await failure(memory.convert(gpa + 2 * page, 4 * page, 'private', { deadline: 0 }));
    assert.deepEqual(partly.converted, [{ gpa: gpa + 2 * page, size: 2 * page }]);
    assert.match(partly.message, /Converted before and staying so: 0x100002000\+0x2000/);
    assert.deepEqual(
      states(memory).map(([, , state]) => state),
      ['shared', 'private', 'shared'],
    );
    agreed(memory);
    // Let go while it is waited for.
    setTimeout(() => second.close(), 30);
    await memory.convert(gpa + 2 * page, 4 * page, 'private', { deadline: 5000 });
    assert.deepEqual(
      states(memory).map(([, , state]) => state),
      ['shared', 'private', 'private', 'shared'],
    );
    // Or by a listener, which is told before.
    await memory.convert(gpa, 8 * page, 'shared');
    const held = mapping.pin(0, page);
    memory.listen(({ kind }) => kind === 'converting' && held.close());
    await memory.convert(gpa, page, 'private', { deadline: 0 });
    assert.throws(() => mapping.read(0, 1), { name: 'MemoryAccessError' });
    // Closed while it is waited for.
    await memory.convert(gpa, 8 * page, 'shared');
    const last = mapping.pin(page, page);
    setTimeout(() => vm.close(), 30);
    assert.equal((await failure(memory.convert(gpa, 2 * page, 'private', { deadline: 5000 }))).code, 'ERR_CLOSED');
    last.close();
  }),
  test('a tebibyte in one range', async (kvm) => {
    if (!inPlace) return;
    const vm = kvm.createVm({ type: g.VmType.SW_PROTECTED });
    // From address 0: the emulated processor has 40 bits of physical address.
    const size = 2 ** 40;
    const gpa = 0;
    const gmem = vm.createGuestMemfd({ size, flags: bothStates });
    const mapping = gmem.map();
    vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
    await vm.memory.convert(gpa, size, 'private');
    assert.deepEqual(states(vm.memory), [[gpa, size, 'private']]);
    await vm.memory.convert(gpa + size / 2, page, 'shared');
    assert.equal(states(vm.memory).length, 3);
    mapping.fill(1, size / 2, page);
    assert.throws(() => mapping.read(size / 2 + page, 1), { name: 'MemoryAccessError' });
  }),
];
