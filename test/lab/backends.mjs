// Memory backends on a real kernel. Runs inside a lab machine of two nodes, as test/lab/library.mjs does.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';

// The test itself reads the names, where that folder is not.
const g = existsSync('/gmem/dist/index.js') ? await import('/gmem/dist/index.js') : undefined;
const page = 4096;
const gpa = 0x1_0000_0000;

function test(name, run) {
  return { name: `backends/${name}`, title: name, since: '', run };
}

function backend(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['/gmem/dist/cli/main.js', 'backend', ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

/** One that needs a type of VM with private memory. */
const privateTest = (name, run) => ({ ...test(name, run), privateVm: true });

/** One that needs conversion in place. */
const inPlaceTest = (name, run) => ({ ...test(name, run), inPlace: true });

/** `gmem backend OBJECT --run --json`, as what it tells of the last object. */
function run(...objects) {
  const { status, stdout, stderr } = backend(...objects, '--run', '--json');
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout).objects.at(-1).run;
}

const [major, minor] = release().split('.').map(Number);
const keepsGuestMemfdPolicy = major > 6 || (major === 6 && minor >= 19);
const hugePages = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages';
/** What this process holds of the system's: file descriptors, mappings of files, names in /dev/shm. */
function held() {
  const maps = readFileSync('/proc/self/maps', 'latin1').split('\n');
  return {
    fds: readdirSync('/proc/self/fd').length,
    maps: maps.filter((line) => /kvm-gmem|guest_memfd:|\/memfd:|\/dev\/shm|\/tmp\/|SYSV/.test(line)).length,
    shm: readdirSync('/dev/shm'),
    tmp: readdirSync('/tmp'),
  };
}

const types = [
  ['memory-backend-guest-memfd,id=ram0,size=64M,prealloc=on', 'guest-memfd-bound'],
  ['memory-backend-memfd,id=ram0,size=64M,prealloc=on,guest-memfd=on', 'guest-memfd-as-hva'],
  ['memory-backend-ram,id=ram0,size=64M,prealloc=on', 'hva'],
  ['memory-backend-memfd,id=ram0,size=64M,prealloc=on', 'hva'],
  ['memory-backend-shm,id=ram0,size=64M,prealloc=on', 'hva'],
  ['memory-backend-file,id=ram0,size=64M,prealloc=on,mem-path=/tmp/ram0,share=on', 'hva'],
];

/** Makes a backend in this process; what is opened goes with the process where a check does not close it. */
const make = (text, options) => g.createMemoryBackend(g.parseObjectOption(text), options);

/** Where the pages of a backend lie: node → bytes. */
const nodesOf = (one) => Object.fromEntries(one.placement());

const size = 4 << 20;

export const checks = [
  ...types.map(([object, mode]) =>
    test(`the guest uses all of ${object}`, () => {
      const result = run(object);
      assert.equal(result.mode, mode);
      assert.equal(result.read, 16384);
      assert.equal(result.written, 16384);
      assert.equal(result.differ + result.differOnHost, 0);
      assert.equal(result.residentBefore, 64 << 20);
      assert.equal(result.state['resident-bytes'], 64 << 20);
    }),
  ),
  test('what only the guest touched is resident too', async () => {
    const vm = g.Kvm.open().createVm();
    const agent = g.GuestAgent.create(vm);
    for (const [i, type] of ['guest-memfd', 'ram', 'memfd', 'shm'].entries()) {
      const one = await make(`memory-backend-${type},id=a,size=64K`, { vm });
      const at = gpa + i * (1 << 20);
      one.attach(vm, { slot: i + 1, guestPhysAddr: at });
      assert.equal(one.query()['resident-bytes'], 0, type);
      agent.store(at + page, 1n);
      assert.equal(one.query()['resident-bytes'], page, type);
    }
  }),
  test('a policy places pages, or is reported as ignored', async () => {
    const vm = g.Kvm.open().createVm();
    const wish = `size=4M,policy=bind,host-nodes=1,prealloc=on`;
    for (const type of ['ram', 'ram,share=on', 'memfd', 'memfd,share=off', 'shm', 'file,mem-path=/dev/shm,share=on']) {
      const one = await make(`memory-backend-${type},id=a,${wish}`);
      assert.deepEqual(nodesOf(one), { 1: size }, type);
      assert.equal(one.query()['policy-honoured'], true, type);
      assert.deepEqual(one.preallocated.cpus.length > 0, true, type);
      one.close();
    }
    for (const type of ['guest-memfd', 'memfd,x-guest-memfd=on']) {
      const one = await make(`memory-backend-${type},id=a,${wish}`, { vm });
      const state = one.query();
      assert.equal(state['policy-honoured'], keepsGuestMemfdPolicy, type);
      assert.equal(
        state.notes.some(({ kind, property }) => kind === 'ignored' && property === 'policy'),
        !keepsGuestMemfdPolicy,
      );
      if (keepsGuestMemfdPolicy) assert.deepEqual(nodesOf(one), { 1: size }, type);
      one.close();
    }
  }),
  test('interleave spreads, preferred prefers', async () => {
    const spread = await make('memory-backend-ram,id=a,size=4M,policy=interleave,host-nodes=0-1,prealloc=on,share=on');
    assert.deepEqual(nodesOf(spread), { 0: size / 2, 1: size / 2 });
    const preferred = await make('memory-backend-memfd,id=a,size=4M,policy=preferred,host-nodes=1,prealloc=on');
    assert.deepEqual(nodesOf(preferred), { 1: size });
  }),
  test('the command tells where pages landed', () => {
    const { status, stdout } = backend(
      'memory-backend-guest-memfd,id=a,size=1M,host-nodes=1,policy=bind,prealloc=on',
      '--run',
    );
    assert.equal(status, 0);
    assert.match(stdout, keepsGuestMemfdPolicy ? /policy +bind honoured/ : /policy +bind ignored/);
    if (keepsGuestMemfdPolicy) assert.match(stdout, /nodes +1M on node 1$/m);
  }),
  test('huge pages: allocated, counted, and refused when there are not enough', async () => {
    writeFileSync(hugePages, '4');
    const one = await make('memory-backend-memfd,id=a,size=8M,hugetlb=on,hugetlbsize=2M,prealloc=on');
    const state = one.query();
    assert.equal(state['page-size'], 2 << 20);
    assert.equal(state['resident-bytes'], 8 << 20);
    const vm = g.Kvm.open().createVm();
    one.attach(vm, { slot: 1, guestPhysAddr: gpa });
    g.GuestAgent.create(vm).store(gpa + (6 << 20), 5n);
    assert.equal(one.mapping.read(6 << 20, 1)[0], 5);
    await assert.rejects(make('memory-backend-memfd,id=b,size=2M,hugetlb=on'), {
      name: 'BackendError',
      property: 'hugetlb',
      message: /0 are free/,
    });
    await assert.rejects(
      make('memory-backend-memfd,id=b,size=2M,hugetlb=on,reserve=off').then((b) => b.change('prealloc', true)),
      {
        property: 'reserve',
      },
    );
    one.close();
    await assert.rejects(make('memory-backend-memfd,id=b,size=3M,hugetlb=on,reserve=off'), { property: 'size' });
    assert.match(readFileSync('/proc/meminfo', 'utf8'), /HugePages_Free: +4\b/);
  }),
  test('a thread-context says where threads run, and must be able to', async () => {
    const context = g.createThreadContext(g.parseObjectOption('thread-context,id=tc,node-affinity=1'));
    assert.ok(context.cpus.length > 0);
    const one = await make('memory-backend-ram,id=a,size=4M,prealloc=on,prealloc-context=tc', { contexts: [context] });
    assert.deepEqual(one.preallocated.cpus, context.cpus);
    // Memory goes where the thread runs, when nothing else is said.
    assert.deepEqual(nodesOf(one), { 1: size });
    assert.throws(() => g.createThreadContext(g.parseObjectOption('thread-context,id=t,cpu-affinity=99')), {
      property: 'cpu-affinity',
    });
  }),
  test('each mode does what it is for', async () => {
    const vm = g.Kvm.open().createVm();
    const agent = g.GuestAgent.create(vm);
    const gmem = await make('memory-backend-guest-memfd,id=a,size=1M', { vm });
    // The same pages by their host address in two slots, with a dirty log; bound, in one slot only and without.
    const flags = g.MemoryRegionFlag.LOG_DIRTY_PAGES;
    const first = gmem.attach(vm, { slot: 1, guestPhysAddr: gpa, mode: 'guest-memfd-as-hva', flags });
    const second = gmem.attach(vm, { slot: 2, guestPhysAddr: gpa * 2, mode: 'guest-memfd-as-hva' });
    agent.store(gpa, 7n);
    assert.equal(agent.load(gpa * 2), 7n);
    first.close();
    second.close();
    const bound = gmem.attach(vm, { slot: 1, guestPhysAddr: gpa });
    assert.equal(bound.mode, 'guest-memfd-bound');
    assert.equal(agent.load(gpa), 7n);
    assert.throws(() => gmem.attach(vm, { slot: 2, guestPhysAddr: gpa * 2 }), { name: 'BackendError' });
    assert.throws(() => gmem.attach(vm, { slot: 2, guestPhysAddr: gpa * 2, flags }), { name: 'BackendError' });
    bound.close();
    // A part of it.
    gmem.attach(vm, { slot: 1, guestPhysAddr: gpa, offset: page, size: page });
    agent.store(gpa, 9n);
    assert.equal(gmem.mapping.read(page, 1)[0], 9);
    const ram = await make('memory-backend-ram,id=b,size=1M');
    assert.throws(() => ram.attach(vm, { slot: 3, guestPhysAddr: gpa * 3, mode: 'guest-memfd-bound' }), {
      property: 'mode',
    });
    gmem.close();
    assert.deepEqual([...vm.slots.keys()], [0]);
  }),
  test('discard gives pages back, to guest and host', async () => {
    const vm = g.Kvm.open().createVm();
    const agent = g.GuestAgent.create(vm);
    for (const [i, type] of ['guest-memfd', 'ram', 'ram,share=on', 'memfd', 'memfd,share=off', 'shm'].entries()) {
      const one = await make(`memory-backend-${type},id=a,size=64K`, { vm });
      const at = gpa + i * (1 << 20);
      one.attach(vm, { slot: i + 1, guestPhysAddr: at });
      agent.store(at + page, 5n);
      agent.store(at, 6n);
      one.discard(page, page);
      assert.equal(agent.load(at), 6n, type);
      assert.equal(agent.load(at + page), 0n, type);
    }
  }),
  test('read-only memory is kept from the guest', async () => {
    writeFileSync('/tmp/rom', Buffer.alloc(1 << 16, 3));
    const result = run('memory-backend-file,id=rom,size=64K,mem-path=/tmp/rom,readonly=on');
    assert.equal(result.written, 0);
    assert.equal(result.read, 16);
    const vm = g.Kvm.open().createVm();
    const agent = g.GuestAgent.create(vm);
    const template = await make('memory-backend-file,id=t,size=64K,mem-path=/tmp/rom,readonly=on,rom=off');
    template.attach(vm, { slot: 1, guestPhysAddr: gpa });
    agent.store(gpa, 0n);
    assert.equal(readFileSync('/tmp/rom')[0], 3);
    assert.throws(() => template.discard(0, page), { property: 'share' });
    const rom = await make('memory-backend-file,id=r,size=64K,mem-path=/tmp/rom,readonly=on');
    rom.attach(vm, { slot: 2, guestPhysAddr: gpa * 2 });
    assert.equal(agent.run([{ op: 'store', gpa: gpa * 2, value: 1n }]).exit.reason, 'MMIO');
  }),
  test('nothing is left behind, whatever fails', async () => {
    const kvm = g.Kvm.open();
    const vm = kvm.createVm();
    const before = held();
    for (const text of [
      'memory-backend-ram,id=a,size=4M,policy=bind,host-nodes=5',
      'memory-backend-memfd,id=a,size=4M,policy=bind,host-nodes=5',
      'memory-backend-shm,id=a,size=4M,policy=bind,host-nodes=5',
      'memory-backend-guest-memfd,id=a,size=4M,policy=bind,host-nodes=5',
      'memory-backend-file,id=a,size=4M,mem-path=/tmp/new,policy=bind,host-nodes=5',
      'memory-backend-file,id=a,size=4M,mem-path=/tmp,policy=bind,host-nodes=5',
      'memory-backend-guest-memfd,id=a,size=4097',
      'memory-backend-epc,id=a,size=4M',
      'memory-backend-memfd,id=a,size=1G,hugetlb=on',
    ])
      await assert.rejects(make(text, { vm }), { name: 'BackendError' }, text);
    const controller = new AbortController();
    const aborted = make('memory-backend-guest-memfd,id=a,size=512M,prealloc=on', { vm, signal: controller.signal });
    controller.abort();
    await assert.rejects(aborted, { name: 'AbortError' });
    assert.deepEqual(held(), before);
    const { status, stderr } = backend('memory-backend-guest-memfd,id=a,size=4M,policy=bind,host-nodes=5', '--run');
    assert.equal(status, 2);
    assert.match(stderr, /^gmem: backend: host-nodes=5: .*\n$/);
  }),
  privateTest('HVA and private guest_memfd: the attribute chooses, and both keep their contents', async () => {
    const vm = g.Kvm.open().createVm({ type: g.VmType.SW_PROTECTED });
    const agent = g.GuestAgent.create(vm);
    for (const [i, type] of ['ram', 'memfd', 'shm', 'file,mem-path=/tmp,share=on'].entries()) {
      const one = await make(`memory-backend-${type},id=a,size=64K,prealloc=on`);
      const at = gpa + i * (1 << 20);
      const { mode, guestMemfd } = one.attach(vm, { slot: i + 1, guestPhysAddr: at, preallocPrivate: i > 0 });
      assert.equal(mode, 'hva-with-private-guest-memfd');
      assert.equal(one.query()['private-bytes'], i > 0 ? 65536 : 0);
      const attribute = (attributes) => vm.setMemoryAttributes({ address: at, size: 65536, attributes });
      agent.store(at, 0x5aedn);
      assert.equal(one.mapping.read(0, 2)[0], 0xed);
      attribute(g.MemoryAttribute.PRIVATE);
      assert.equal(agent.load(at), 0n);
      agent.store(at, 0x9187n);
      assert.equal(one.mapping.read(0, 2)[0], 0xed, 'the host sees what is shared');
      attribute(0);
      assert.equal(agent.load(at), 0x5aedn, 'and the guest sees it again');
      attribute(g.MemoryAttribute.PRIVATE);
      assert.equal(agent.load(at), 0x9187n, 'and back to what is private');
      // Discarding the shared side leaves the private one.
      one.discard(0, 65536);
      assert.equal(agent.load(at), 0x9187n);
      attribute(0);
      assert.equal(agent.load(at), 0n);
      assert.equal(guestMemfd.closed, false);
      one.close();
      assert.equal(guestMemfd.closed, true);
    }
  }),
  privateTest('a guest_memfd backend says why it cannot be shared memory of such a VM', async () => {
    const vm = g.Kvm.open().createVm({ type: g.VmType.SW_PROTECTED });
    const gmem = await make('memory-backend-guest-memfd,id=a,size=64K', { vm }).catch((error) => error);
    if (gmem instanceof Error) assert.match(gmem.message, /no conversion in place.*memory-backend-memfd/);
    // Nor does auto choose it where nothing converts in place.
    const memfd = await make('memory-backend-memfd,id=a,size=64K,x-guest-memfd=auto', { vm });
    if (gmem instanceof Error) assert.equal(memfd.guestMemfd, undefined);
  }),
  inPlaceTest('a guest_memfd backend is shared and private memory in turn, at the same addresses', async () => {
    const vm = g.Kvm.open().createVm({ type: g.VmType.SW_PROTECTED });
    const agent = g.GuestAgent.create(vm);
    const one = await make('memory-backend-guest-memfd,id=a,size=64K,prealloc=on', { vm });
    const { mode } = one.attach(vm, { slot: 1, guestPhysAddr: gpa });
    assert.equal(mode, 'guest-memfd-bound');
    agent.store(gpa, 0x5aedn);
    assert.equal(one.mapping.read(0, 2)[0], 0xed);
    const convert = (attributes) => one.guestMemfd.setMemoryAttributes({ offset: 0, size: 65536, attributes });
    convert(g.MemoryAttribute.PRIVATE);
    assert.equal(agent.load(gpa), 0x5aedn, 'the same page, now private');
    assert.throws(() => one.mapping.read(0, 2), { name: 'MemoryAccessError' });
    agent.store(gpa, 0x9187n);
    convert(0);
    assert.equal(one.mapping.read(0, 2)[0], 0x87, 'and shared again');
    const auto = await make('memory-backend-memfd,id=b,size=64K,x-guest-memfd=auto', { vm });
    assert.ok(auto.guestMemfd, 'auto chooses it where pages are converted in place');
  }),
];
