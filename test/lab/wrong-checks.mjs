// Checks that assert what no kernel does, or what only later ones do, so that each fails for certain: their reproducers are
// what is tested. They run inside a lab machine, where the package lies in /gmem.
const g = await import('/gmem/dist/index.js');
const { fileTruncate } = await import('/gmem/dist/kvm/file-calls.js');
const { bindingChecks } = await import('/gmem/dist/smoke/checks/binding.js');
const { allBytes, equal, inaccessible, refused } = await import('/gmem/dist/smoke/expect.js');

const page = 4096;
const size = 4 * page;
const gpa = 0x1_0000_0000;
const shared = g.GuestMemfdFlag.MMAP | g.GuestMemfdFlag.INIT_SHARED;
const timeout = 5000;

const check = (name, title, run, more = {}) => ({ name: `wrong/${name}`, title, since: '', run, ...more });

/** A default VM with shared memory at gpa. */
function sharedVm(context) {
  const vm = context.vm();
  const gmem = context.use(vm.createGuestMemfd({ size, flags: shared }));
  const mapping = context.use(gmem.map());
  vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
  return { vm, gmem, mapping };
}

const onEveryKernel = [
  check('refused', 'A guest_memfd of a whole page is refused', (context) => {
    const vm = context.vm();
    refused('EINVAL', 'a whole page', () => vm.createGuestMemfd({ size }));
  }),
  check('accepted', 'A guest_memfd of a part of a page is accepted', (context) => {
    context.vm().createGuestMemfd({ size: 1 });
  }),
  check('faults', 'Shared memory cannot be read', (context) => {
    const { mapping } = sharedVm(context);
    inaccessible('shared memory', () => mapping.read(0, 8));
  }),
  check('accessible', 'Private memory can be written', (context) => {
    const vm = context.vm();
    const mapping = context.use(context.use(vm.createGuestMemfd({ size, flags: g.GuestMemfdFlag.MMAP })).map());
    mapping.fill(1);
  }),
  check('bytes', 'A punched page keeps its bytes', (context) => {
    const { gmem, mapping } = sharedVm(context);
    mapping.fill(0xaa);
    gmem.punchHole(page, page);
    allBytes(mapping, 0, size, 0xaa, 'the memory');
  }),
  check('pattern', 'Written words are others when they are read', (context) => {
    const { mapping } = sharedVm(context);
    mapping.write(16, BigUint64Array.of(0x1122_3344_5566_7788n, 7n));
    equal(mapping.compare(16, BigUint64Array.of(0x1122_3344_5566_7788n, 8n)), -1, 'the words');
  }),
  check('guest-value', 'The guest reads what nobody wrote', (context) => {
    const { vm, mapping } = sharedVm(context);
    mapping.fill(0x22);
    const agent = context.use(g.GuestAgent.create(vm));
    equal(agent.load(gpa + page, 4), 0x33333333n, 'what the guest loads');
  }),
  check('guest-exit', 'The guest reaches memory where no memslot is', (context) => {
    const { vm } = sharedVm(context);
    const agent = context.use(g.GuestAgent.create(vm));
    agent.store(2 * gpa, 1);
  }),
  check('guest-conversation', 'Ports and memory give the guest what they do not', (context) => {
    const { vm, mapping } = sharedVm(context);
    const agent = context.use(g.GuestAgent.create(vm));
    const asked = agent.run([
      { op: 'portIn', port: 0x123, width: 4 },
      { op: 'store', gpa, value: 0x55, width: 1 },
    ]);
    equal(asked.exit.reason, 'IO', 'exit');
    agent.vcpu.completeIo(Uint32Array.of(0x1234_5678));
    equal(agent.resume().results[0], 0x1234_5678n, 'what the port gave');
    equal(mapping.read(0, 1)[0], 0x56, 'what the guest wrote');
  }),
  check('threads', 'Two guests that wait for each other end with other numbers', async (context) => {
    const { vm, mapping } = sharedVm(context);
    const first = context.use(g.GuestAgent.create(vm));
    const second = context.use(g.GuestAgent.create(vm, { slot: 2, vcpuId: 1, guestPhysAddr: 0x10_0000 }));
    await Promise.all([
      first.runAsync(
        [
          { op: 'spin', gpa: gpa + 8, value: 2 },
          { op: 'store', gpa, value: 1 },
        ],
        { timeout },
      ),
      second.runAsync(
        [
          { op: 'store', gpa: gpa + 8, value: 2 },
          { op: 'spin', gpa, value: 1 },
        ],
        { timeout },
      ),
    ]);
    allBytes(mapping, 16, page - 16, 0, 'the rest of the page');
    equal(mapping.read(8, 1)[0], 3, 'what the second wrote');
  }),
  check('hangs', 'A guest that waits for nothing comes back', (context) => {
    const { vm } = sharedVm(context);
    const agent = context.use(g.GuestAgent.create(vm));
    agent.execute([{ op: 'spin', gpa, value: 1 }], { timeout: 300 });
  }),
  check('file-call', 'A guest_memfd is shortened with another errno than it is', (context) => {
    const { gmem } = sharedVm(context);
    refused('EBADF', 'ftruncate to a page', () => fileTruncate(gmem.fd, page));
  }),
  check('child', 'A forked child reads what nobody wrote', (context) => {
    const { mapping } = sharedVm(context);
    mapping.fill(0x22);
    const child = context.use(mapping.forkChild());
    child.store(1, 0x23);
    equal(child.load(page), 0x33, 'what the child loads');
  }),
  check('child-faults', 'Shared memory cannot be read by a forked child', (context) => {
    const { mapping } = sharedVm(context);
    const child = context.use(mapping.forkChild());
    inaccessible('shared memory', () => child.load(page));
  }),
  check('pinned', 'A pinned page keeps its bytes in a hole', (context) => {
    const { gmem, mapping } = sharedVm(context);
    mapping.fill(0xaa);
    context.use(mapping.pin(0, page));
    gmem.punchHole(0, page);
    allBytes(mapping, 0, size, 0xaa, 'the memory');
  }),
  // Right on later kernels: their reproducers must say so there.
  check('later-errno', 'A range that is bound twice is refused with EEXIST (7.x)', (context) => {
    const { vm, gmem, mapping } = sharedVm(context);
    refused('EEXIST', 'binding again', () =>
      vm.setUserMemoryRegion({ slot: 2, guestPhysAddr: 2 * gpa, size, mapping, guestMemfd: gmem }),
    );
  }),
  check('later-file-system', 'guest_memfd has a file system of its own (6.19)', (context) => {
    const { gmem } = sharedVm(context);
    equal(gmem.stat().fileSystem, g.FileSystemMagic.GUEST_MEMFD, 'f_type');
  }),
];

/** A software-protected VM, whose guest asks for conversions, and a guest that has been told to write to its memory. */
function privateVm(context) {
  const vm = context.vm(g.VmType.SW_PROTECTED);
  const gmem = context.use(vm.createGuestMemfd({ size }));
  const mapping = context.use(g.mapAnonymous({ size }));
  vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
  vm.enableCapability(g.Capability.EXIT_HYPERCALL, [1 << g.HypercallNumber.MAP_GPA_RANGE]);
  return { vm, gmem, mapping, agent: context.use(g.GuestAgent.create(vm)) };
}

/** Those that need private memory. */
const onPrivateMemory = [
  check('conversion', 'Memory that the guest has made private is what the host sees', (context) => {
    const { vm, mapping, agent } = privateVm(context);
    mapping.fill(0x11);
    const asked = agent.run([{ op: 'hypercall', number: 12, args: [gpa + page, 1, 16] }], { timeout });
    equal(asked.exit.reason, 'HYPERCALL', 'exit');
    vm.setMemoryAttributes({ address: gpa + page, size: page, attributes: g.MemoryAttribute.PRIVATE });
    agent.vcpu.completeHypercall(0);
    equal(agent.resume({ timeout }).results[0], 0n, 'what the hypercall gave');
    agent.fill(gpa + page, page, 0x22);
    equal(agent.load(gpa, 1), 0x11n, 'the page before');
    allBytes(mapping, page, page, 0x22, 'the private page');
  }),
  check('pre-fault', 'More than a memslot is pre-faulted', (context) => {
    const { vm, agent } = privateVm(context);
    vm.setMemoryAttributes({ address: gpa, size, attributes: g.MemoryAttribute.PRIVATE });
    const { remaining } = agent.vcpu.preFault({ guestPhysAddr: gpa + size - page, size: 2 * page });
    equal(remaining, 0n, 'bytes left');
  }),
  check('attributes', 'Attributes of a part of a page are accepted', (context) => {
    const { vm } = privateVm(context);
    vm.setMemoryAttributes({ address: gpa + 1, size: page, attributes: g.MemoryAttribute.PRIVATE });
  }),
];
// The suite's own, which meets the bug B4.
const suite = bindingChecks.filter((one) => one.name === 'binding/offset-overflow');

export const checks = [...onEveryKernel, ...onPrivateMemory, ...suite];
