// Library tests that need memory attributes or several NUMA nodes. They run inside a lab machine, where the package lies in
// /gmem, as checks of the suite's runner: each is a name and a function that throws. What they open goes with the process.
import assert from 'node:assert/strict';

const g = await import('/gmem/dist/index.js');
const page = 4096;
const gpa = 0x1_0000_0000;
const shared = g.GuestMemfdFlag.MMAP | g.GuestMemfdFlag.INIT_SHARED;

function test(name, run) {
  return { name: `library/${name}`, title: name, since: '', run: async () => run(g.Kvm.open()) };
}

/** A software-protected VM with memory of both kinds. */
function privateVm(kvm, pages = 4) {
  const size = pages * page;
  const vm = kvm.createVm({ type: g.VmType.SW_PROTECTED });
  const gmem = vm.createGuestMemfd({ size });
  const mapping = g.mapAnonymous({ size });
  vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
  return { vm, gmem, mapping, size };
}

export const checks = [
  test('setMemoryAttributes takes numbers and bigints, and explains a refusal', (kvm) => {
    const { vm } = privateVm(kvm);
    vm.setMemoryAttributes({ address: gpa, size: page, attributes: g.MemoryAttribute.PRIVATE });
    vm.setMemoryAttributes({ address: BigInt(gpa), size: BigInt(page), attributes: 0n });
    assert.throws(() => vm.setMemoryAttributes({ address: gpa, size: page, attributes: 1 }), {
      name: 'KvmError',
      code: 'EINVAL',
      syscall: 'ioctl(KVM_SET_MEMORY_ATTRIBUTES)',
      message: /attributes=1/,
    });
    const plain = kvm.createVm();
    assert.throws(
      () => plain.setMemoryAttributes({ address: gpa, size: page, attributes: g.MemoryAttribute.PRIVATE }),
      { name: 'KvmError' },
    );
  }),
  test('setMemoryAttributesOf sets many ranges, and names the one that is refused', (kvm) => {
    const { vm } = privateVm(kvm);
    const range = (index, attributes, more = 0) => ({ address: gpa + index * page + more, size: page, attributes });
    const isPrivate = g.MemoryAttribute.PRIVATE;
    vm.setMemoryAttributesOf([]);
    vm.setMemoryAttributesOf([range(0, isPrivate), { ...range(2, isPrivate), address: BigInt(gpa + 2 * page) }]);
    const states = () => [0, 1, 2, 3].map((i) => vm.memory.stateAt(gpa + i * page));
    assert.deepEqual(states(), ['private', 'shared', 'private', 'shared']);
    assert.throws(() => vm.setMemoryAttributesOf([range(1, isPrivate), range(3, isPrivate, 1), range(3, isPrivate)]), {
      code: 'EINVAL',
      syscall: 'ioctl(KVM_SET_MEMORY_ATTRIBUTES)',
      arguments: { ...range(3, isPrivate, 1), index: 1 },
    });
    assert.deepEqual(states(), ['private', 'private', 'private', 'shared']);
    assert.throws(
      () => vm.setMemoryAttributesOf([range(0, 0), { address: -1, size: page, attributes: 0 }]),
      RangeError,
    );
    assert.equal(vm.memory.stateAt(gpa), 'private');
    const top = { address: 2n ** 64n - 4096n, size: 4096n, attributes: 0n };
    assert.throws(() => vm.setMemoryAttributesOf([top]), { code: 'EINVAL' });
    // The kernel agrees: the guest's access to the shared page leaves with a memory fault where it is private.
    const agent = g.GuestAgent.create(vm);
    agent.store(gpa, 7n);
    assert.equal(agent.load(gpa), 7n);
  }),
  test('a HYPERCALL exit is decoded and answered', (kvm) => {
    const { vm } = privateVm(kvm);
    vm.enableCapability(g.Capability.EXIT_HYPERCALL, [1 << g.HypercallNumber.MAP_GPA_RANGE]);
    const agent = g.GuestAgent.create(vm);
    const { exit, finished } = agent.run([
      { op: 'hypercall', number: g.HypercallNumber.MAP_GPA_RANGE, args: [gpa, 2, 16] },
    ]);
    assert.equal(finished, false);
    assert.equal(exit.reason, 'HYPERCALL');
    assert.equal(exit.number, 12n);
    assert.deepEqual(exit.args.slice(0, 3), [BigInt(gpa), 2n, 16n]);
    assert.equal(exit.longMode, true);
    agent.vcpu.completeHypercall(0x1234);
    assert.deepEqual(agent.resume().results, [0x1234n]);
  }),
  test('a MEMORY_FAULT exit tells of private memory, and the agent can be used again', (kvm) => {
    const vm = kvm.createVm({ type: g.VmType.SW_PROTECTED });
    const mapping = g.mapAnonymous({ size: page });
    vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size: page, mapping });
    vm.setMemoryAttributes({ address: gpa, size: page, attributes: g.MemoryAttribute.PRIVATE });
    const agent = g.GuestAgent.create(vm);
    assert.throws(() => agent.load(gpa), { code: 'ERR_GUEST_EXIT', message: /MEMORY_FAULT/ });
    const { exit } = agent.run([{ op: 'load', gpa }]);
    assert.equal(exit.isPrivate, true);
    assert.equal(exit.code, 'EFAULT');
    vm.setMemoryAttributes({ address: gpa, size: page, attributes: 0 });
    assert.equal(agent.resume().finished, true);
    assert.equal(agent.load(gpa), 0n);
  }),
  test('preFault says what is done and what is left', (kvm) => {
    const { vm, size } = privateVm(kvm);
    const agent = g.GuestAgent.create(vm);
    assert.deepEqual(agent.vcpu.preFault({ guestPhysAddr: gpa, size }), {
      done: BigInt(size),
      guestPhysAddr: BigInt(gpa + size),
      remaining: 0n,
    });
    assert.throws(() => agent.vcpu.preFault({ guestPhysAddr: gpa + size, size: page }), { code: 'ENOENT' });
  }),
  test('a policy binds pages to a node, and nodes() tells where they are', (kvm) => {
    const vm = kvm.createVm();
    const gmem = vm.createGuestMemfd({ size: 4 * page, flags: shared });
    const mapping = gmem.map();
    mapping.bind({ mode: g.MemoryPolicy.BIND, nodes: [1], length: 2 * page });
    mapping.bind({ mode: g.MemoryPolicy.BIND, nodes: [0], offset: 2 * page });
    mapping.fill(1);
    assert.deepEqual(mapping.nodes(), [1, 1, 0, 0]);
    assert.deepEqual(mapping.policy(0).nodes, [1]);
    assert.throws(() => mapping.bind({ mode: g.MemoryPolicy.BIND, nodes: [5] }), { code: 'EINVAL' });
  }),
  test('a run has its own time, whatever the time of the run before', (kvm) => {
    const { vm } = privateVm(kvm);
    const agent = g.GuestAgent.create(vm);
    const spin = (timeout) => {
      const start = performance.now();
      const { exit } = agent.run([{ op: 'spin', gpa, value: 1 }], { timeout });
      const took = performance.now() - start;
      assert.deepEqual(exit, { reason: 'INTR', cause: 'timeout' });
      agent.restart();
      return took;
    };
    // The timer of a run that came to its end is still on its way, and is later, then earlier than that of the next.
    agent.run([{ op: 'store', gpa: gpa + 8, value: 1 }], { timeout: 60_000 });
    assert.ok(spin(200) < 20_000);
    agent.run([{ op: 'store', gpa: gpa + 8, value: 1 }], { timeout: 300 });
    assert.ok(spin(1500) >= 1490);
    assert.ok(spin(10) < 1000);
  }),
  test('two vCPUs run at once', async (kvm) => {
    const { vm, size } = privateVm(kvm);
    const first = g.GuestAgent.create(vm);
    const second = g.GuestAgent.create(vm, { slot: 2, vcpuId: 1, guestPhysAddr: 0x10_0000 });
    // Each waits for what the other writes.
    const both = await Promise.all([
      first.runAsync([
        { op: 'spin', gpa: gpa + 8, value: 2 },
        { op: 'store', gpa, value: 1 },
      ]),
      second.runAsync([
        { op: 'store', gpa: gpa + 8, value: 2 },
        { op: 'spin', gpa, value: 1 },
      ]),
    ]);
    assert.deepEqual(
      both.map((run) => run.finished),
      [true, true],
    );
    assert.equal(size, 4 * page);
  }),
];
