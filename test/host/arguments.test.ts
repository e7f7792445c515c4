import { expect, test } from 'vitest';
import { Attachment } from '../../lib/backends/attachment.ts';
import { memoryOf } from '../../lib/conversion/memory.ts';
import { GuestAgent } from '../../lib/guest/agent.ts';
import { capabilities } from '../../lib/kvm/capabilities.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { type Kind, outOfRange, refuses, thrown, wrongType } from '../helpers/thrown.ts';
import { bound, describeKvm, gpa, nowhere } from './kvm.ts';

const page = pageSize;
type Case = [kind: Kind, name: string, call: (value: never) => unknown];

/** All that a bad argument could have changed. */
function state({ vm, gmem, mapping }: ReturnType<typeof bound>, agent: GuestAgent) {
  return {
    slots: [...vm.slots.values()],
    memory: mapping.read(0, mapping.length),
    stat: gmem.stat(),
    policy: mapping.policy(),
    residency: mapping.residency(),
    registers: agent.vcpu.registers(),
    special: agent.vcpu.specialRegisters(),
  };
}

/** Bad arguments of every kind for the object, then: nothing changed, and all of it still works. */
function refusesAndStays(cases: (all: ReturnType<typeof bound>, agent: GuestAgent) => Case[]): void {
  using all = bound();
  using agent = GuestAgent.create(all.vm);
  all.mapping.fill(0x5a);
  agent.load(gpa);
  const before = state(all, agent);
  for (const one of cases(all, agent)) refuses(...one);
  expect(state(all, agent)).toEqual(before);
  expect(agent.load(gpa)).toBe(0x5a5a5a5a5a5a5a5an);
}

describeKvm('arguments that cannot be meant', () => {
  test('Kvm', () => {
    refusesAndStays(({ kvm }) => [
      ['options', 'open', (v) => Kvm.open(v)],
      ['options', 'createVm', (v) => kvm.createVm(v)],
      ['u64', 'type', (type) => kvm.createVm({ type })],
      ['u32', 'checkExtension', (v) => kvm.checkExtension(v)],
      ['options', 'capabilities', (v) => capabilities(v)],
    ]);
    for (const path of [null, 5, {}, Buffer.from('/dev/kvm'), '/dev/kvm\0x'])
      expect(() => Kvm.open({ path: path as never })).toThrow(wrongType);
  });

  test('Vm', () => {
    refusesAndStays(({ vm, gmem, mapping }) => {
      const region = { slot: 9, guestPhysAddr: 2 * gpa, size: page, mapping };
      const set = (change: object) => vm.setUserMemoryRegion({ ...region, ...change });
      const bare = { ...region, mapping: undefined as never };
      return [
        ['u32', 'checkExtension', (v) => vm.checkExtension(v)],
        ['u32', 'capability', (v) => vm.enableCapability(v)],
        ['u64', 'args', (v) => vm.enableCapability(201, [v])],
        ['u64', 'last of args', (v) => vm.enableCapability(201, [0, 0, 0, v])],
        ['u32', 'flags of enableCapability', (v) => vm.enableCapability(201, [], v)],
        ['options', 'createGuestMemfd', (v) => vm.createGuestMemfd(v)],
        ['u64', 'size', (size) => vm.createGuestMemfd({ size })],
        ['u64', 'flags', (flags) => vm.createGuestMemfd({ size: page, flags })],
        ['options', 'setUserMemoryRegion', (v) => vm.setUserMemoryRegion(v)],
        ['u32', 'slot', (slot) => set({ slot })],
        ['u32', 'flags', (flags) => set({ flags })],
        ['u64', 'guestPhysAddr', (guestPhysAddr) => set({ guestPhysAddr })],
        ['u64', 'size of a region', (size) => set({ size })],
        ['u64', 'size of a bare region', (size) => vm.setUserMemoryRegion({ ...bare, size })],
        ['options', 'mapping', (mapping) => set({ mapping })],
        ['u64', 'mappingOffset', (mappingOffset) => set({ mappingOffset })],
        ['u64', 'userspaceAddr', (userspaceAddr) => vm.setUserMemoryRegion({ ...bare, userspaceAddr })],
        ['i32', 'guestMemfd', (guestMemfd) => set({ guestMemfd })],
        ['u64', 'guestMemfdOffset', (guestMemfdOffset) => set({ guestMemfd: gmem, guestMemfdOffset })],
        ['flag', 'legacy', (legacy) => set({ legacy })],
        ['u32', 'deleteUserMemoryRegion', (v) => vm.deleteUserMemoryRegion(v)],
        ['options', 'setMemoryAttributes', (v) => vm.setMemoryAttributes(v)],
        ['u64', 'address', (address) => vm.setMemoryAttributes({ address, size: page, attributes: 0 })],
        ['u64', 'size', (size) => vm.setMemoryAttributes({ address: gpa, size, attributes: 0 })],
        ['u64', 'attributes', (attributes) => vm.setMemoryAttributes({ address: gpa, size: page, attributes })],
        ['u64', 'flags', (flags) => vm.setMemoryAttributes({ address: gpa, size: page, attributes: 0, flags })],
        ['u64', 'reservePlatformPages', (v) => vm.reservePlatformPages(v)],
        ['options', 'createVcpu', (v) => vm.createVcpu(v)],
        ['u32', 'id', (id) => vm.createVcpu({ id })],
      ];
    });
  });

  test('Vm, where two do not go together or there is one too many', () => {
    using all = bound();
    const { vm, mapping, gmem } = all;
    const region = { slot: 9, guestPhysAddr: 2 * gpa, size: page, mapping };
    expect(thrown(() => vm.setUserMemoryRegion({ ...region, userspaceAddr: 0 })).code).toBe('ERR_INVALID_ARG_VALUE');
    // The number of an open descriptor plus 2^32 is the number of none, and not of that one.
    expect(() => vm.setUserMemoryRegion({ ...region, guestMemfd: 2 ** 32 + gmem.fd })).toThrow(outOfRange);
    expect(() => vm.enableCapability(201, [0, 0, 0, 0, 0])).toThrow(outOfRange);
    expect(() => vm.enableCapability(201, 0 as never)).toThrow(wrongType);
    expect([...vm.slots.keys()]).toEqual([1]);
  });

  test('GuestMemfd', () => {
    refusesAndStays(({ gmem }) => [
      ['options', 'map', (v) => gmem.map(v)],
      ['u64', 'offset of map', (offset) => gmem.map({ offset })],
      ['u64', 'length of map', (length) => gmem.map({ length })],
      ['u32', 'protection', (protection) => gmem.map({ protection })],
      ['u32', 'flags', (flags) => gmem.map({ flags })],
      ['flag', 'populate', (populate) => gmem.map({ populate })],
      ['u64', 'alignment', (alignment) => gmem.map({ alignment })],
      ['u32', 'mode', (v) => gmem.fallocate(v, 0, page)],
      ['u64', 'offset of allocate', (v) => gmem.allocate(v, page)],
      ['u64', 'length of allocate', (v) => gmem.allocate(0, v)],
      ['u64', 'offset of punchHole', (v) => gmem.punchHole(v, page)],
      ['u64', 'length of punchHole', (v) => gmem.punchHole(0, v)],
      ['options', 'setMemoryAttributes', (v) => gmem.setMemoryAttributes(v)],
      ['u64', 'offset', (offset) => gmem.setMemoryAttributes({ offset, size: page, attributes: 0 })],
      ['u64', 'size', (size) => gmem.setMemoryAttributes({ offset: 0, size, attributes: 0 })],
      ['u64', 'attributes', (attributes) => gmem.setMemoryAttributes({ offset: 0, size: page, attributes })],
      ['u64', 'flags', (flags) => gmem.setMemoryAttributes({ offset: 0, size: page, attributes: 0, flags })],
      ['u64', 'offset of detachViews', (v) => gmem.detachViews(v, page)],
      ['u64', 'size of detachViews', (v) => gmem.detachViews(0, v)],
    ]);
    using all = bound();
    for (const alignment of [3, page + 1, 6n]) expect(() => all.gmem.map({ alignment })).toThrow(outOfRange);
    for (const bits of [2 ** 31, 2 ** 32 - 1]) {
      expect(() => all.gmem.map({ protection: bits })).toThrow(outOfRange);
      expect(() => all.gmem.map({ flags: bits })).toThrow(outOfRange);
    }
  });

  test('Mapping', () => {
    const bytes = new Uint8Array(8);
    refusesAndStays(({ mapping }) => {
      const ranges: [string, (offset: never, length?: never) => unknown][] = [
        ['fill', (offset, length) => mapping.fill(1, offset, length)],
        ['view', (offset, length) => mapping.view(offset, length)],
        ['detachViews', (offset, length) => mapping.detachViews(offset, length)],
        ['advise', (offset, length) => mapping.advise(4, offset, length)],
        ['protect', (offset, length) => mapping.protect(1, offset, length)],
        ['bind', (offset, length) => mapping.bind({ mode: 2, nodes: [0], offset, length })],
        ['residency', (offset, length) => mapping.residency(offset, length)],
        ['nodes', (offset, length) => mapping.nodes(offset, length)],
        ['read', (offset, length) => mapping.read(offset, length ?? 8)],
      ];
      const outside = [mapping.length + 1, 2 ** 53 - 1, (1n << 64n) - 1n];
      for (const [name, call] of ranges)
        for (const value of outside) {
          expect(() => call(value as never), name).toThrow(outOfRange);
          expect(() => call(page as never, value as never), name).toThrow(outOfRange);
          expect(() => call(page as never, mapping.length as never), name).toThrow(outOfRange);
        }
      for (const value of outside) {
        expect(() => mapping.write(value, bytes)).toThrow(outOfRange);
        expect(() => mapping.compare(value, bytes)).toThrow(outOfRange);
        expect(() => mapping.policy(value)).toThrow(outOfRange);
      }
      expect(() => mapping.read(mapping.length - 4, bytes)).toThrow(outOfRange);
      expect(() => mapping.write(mapping.length - 4, bytes)).toThrow(outOfRange);
      return [
        ...ranges.map(([name, call]): Case => ['u64', `offset of ${name}`, (v) => call(v)]),
        ...ranges
          .filter(([name]) => name !== 'read')
          .map(([name, call]): Case => ['u64', `length of ${name}`, (v) => call(0 as never, v)]),
        ['u64', 'offset of write', (v) => mapping.write(v, bytes)],
        ['bytes', 'from', (v) => mapping.write(0, v)],
        ['u64', 'offset of compare', (v) => mapping.compare(v, bytes)],
        ['bytes', 'expected', (v) => mapping.compare(0, v)],
        ['byte', 'value', (v) => mapping.fill(v)],
        ['i32', 'advice', (v) => mapping.advise(v)],
        ['i32', 'protection', (v) => mapping.protect(v)],
        ['options', 'bind', (v) => mapping.bind(v)],
        ['i32', 'mode', (mode) => mapping.bind({ mode })],
        ['u32', 'flags', (flags) => mapping.bind({ mode: 0, flags })],
        ['u32', 'node', (node) => mapping.bind({ mode: 2, nodes: [0, node] })],
        ['u64', 'policy', (v) => mapping.policy(v)],
      ];
    });
    using all = bound();
    for (const into of [null, undefined, 'abc', {}, [1]])
      expect(() => all.mapping.read(0, into as never)).toThrow(wrongType);
    expect(() => all.mapping.bind({ mode: 2, nodes: [1024] })).toThrow(outOfRange);
    expect(() => all.mapping.bind({ mode: 2, nodes: 0 as never })).toThrow(wrongType);
  });

  test('Vcpu', () => {
    refusesAndStays((_all, { vcpu }) => {
      const segment = (change: object) => vcpu.setSpecialRegisters({ ds: change });
      return [
        ['options', 'run', (v) => vcpu.run(v)],
        ['timeout', 'timeout', (timeout) => vcpu.run({ timeout })],
        ['options', 'setRegisters', (v) => vcpu.setRegisters(v)],
        ['u64Bigint', 'rbx', (rbx) => vcpu.setRegisters({ rax: 99n, rbx })],
        ['options', 'setSpecialRegisters', (v) => vcpu.setSpecialRegisters(v)],
        ['u64Bigint', 'cr2', (cr2) => vcpu.setSpecialRegisters({ gdt: { limit: 99 }, cr2 })],
        ['u64Bigint', 'base', (base) => segment({ base, limit: 99 })],
        ['u32', 'limit', (limit) => segment({ base: 99n, limit })],
        ['u32', 'selector', (selector) => segment({ selector })],
        ['byte', 'dpl', (dpl) => segment({ dpl })],
        ['byte', 'unusable', (unusable) => segment({ unusable })],
        ['u64Bigint', 'idt.base', (base) => vcpu.setSpecialRegisters({ idt: { base } })],
        ['u32', 'idt.limit', (limit) => vcpu.setSpecialRegisters({ idt: { limit } })],
        ['options', 'a segment', (tr) => vcpu.setSpecialRegisters({ tr })],
        ['options', 'a table', (gdt) => vcpu.setSpecialRegisters({ gdt })],
        ['options', 'preFault', (v) => vcpu.preFault(v)],
        ['u64', 'guestPhysAddr', (guestPhysAddr) => vcpu.preFault({ guestPhysAddr, size: page })],
        ['u64', 'size', (size) => vcpu.preFault({ guestPhysAddr: gpa, size })],
        ['u64', 'flags', (flags) => vcpu.preFault({ guestPhysAddr: gpa, size: page, flags })],
        ['bytes', 'completeIo', (v) => vcpu.completeIo(v)],
        ['bytes', 'completeMmio', (v) => vcpu.completeMmio(v)],
        ['u64', 'completeHypercall', (v) => vcpu.completeHypercall(v)],
      ];
    });
    using all = bound();
    using vcpu = all.vm.createVcpu();
    for (const changes of [
      { cr9: 1n },
      { cs: { color: 1 } },
      { idt: { selector: 1 } },
      { idt: { limit: 65536 } },
      { ds: { selector: 65536 } },
    ])
      expect(() => vcpu.setSpecialRegisters(changes as never), JSON.stringify(Object.keys(changes))).toThrow(
        outOfRange,
      );
  });

  test('Vcpu.runAsync, by a rejection', async () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    for (const given of [null, 'x', { timeout: '5' }, { signal: 1 }, { signal: {} }])
      await expect(agent.vcpu.runAsync(given as never), String(given)).rejects.toEqual(wrongType);
    for (const timeout of [0, -1, Number.NaN])
      await expect(agent.vcpu.runAsync({ timeout })).rejects.toEqual(outOfRange);
    expect(agent.vcpu.running).toBe(false);
    await expect(agent.runAsync([], { timeout: -1 })).rejects.toEqual(outOfRange);
    await expect(agent.runAsync([], { signal: 1 as never })).rejects.toEqual(wrongType);
    expect((await agent.runAsync([])).finished).toBe(true);
  });

  test('Attachment', () => {
    using all = bound();
    const attach = (size: unknown) => new Attachment(all.vm, {} as never, size as never, {} as never);
    for (const size of [Number.NaN, -1]) expect(() => attach(size)).toThrow(outOfRange);
    expect(() => attach('x')).toThrow(wrongType);
  });

  test('convertAll, by a rejection', async () => {
    using all = bound();
    for (const given of [null, {}, new Array(1), [null], [{ gpa, size: '1', to: 'shared' }]])
      await expect(memoryOf(all.vm).convertAll(given as never)).rejects.toEqual(wrongType);
  });

  test('GuestAgent', () => {
    refusesAndStays((all, agent) => {
      const one = (command: object) => agent.run([command as never]);
      return [
        ['options', 'create', (v) => GuestAgent.create(all.vm, v)],
        ['options', 'vm', (v) => GuestAgent.create(v)],
        ['u32', 'slot', (slot) => GuestAgent.create(all.vm, { slot, vcpuId: 1 })],
        ['u64', 'guestPhysAddr', (guestPhysAddr) => GuestAgent.create(all.vm, { slot: 2, guestPhysAddr, vcpuId: 1 })],
        ['u32', 'vcpuId', (vcpuId) => GuestAgent.create(all.vm, { slot: 2, guestPhysAddr: 0x100_0000, vcpuId })],
        ['options', 'commands', (v) => agent.run(v)],
        ['options', 'a command', (v) => agent.run([v])],
        ['options', 'options', (v) => agent.run([], v)],
        ['timeout', 'timeout', (timeout) => agent.run([], { timeout })],
        ['timeout', 'timeout of execute', (timeout) => agent.execute([], { timeout })],
        ['u64', 'load', (v) => agent.load(v)],
        ['u64', 'gpa of store', (v) => agent.store(v, 1)],
        ['u64', 'value of store', (v) => agent.store(gpa, v)],
        ['u64', 'gpa of fill', (v) => agent.fill(v, 8, 1)],
        ['u64', 'length of fill', (v) => agent.fill(gpa, v, 1)],
        ['byte', 'value of fill', (v) => agent.fill(gpa, 8, v)],
        ['u64', 'length of compare', (v) => agent.compare(gpa, v, 1)],
        ['byte', 'value of compare', (v) => agent.compare(gpa, 8, v)],
        ['u64', 'checksum', (v) => agent.checksum(gpa, v)],
        ['u64', 'to', (to) => one({ op: 'copy', to, from: gpa, length: 8 })],
        ['u64', 'from', (from) => one({ op: 'copy', to: gpa, from, length: 8 })],
        ['u64', 'number', (number) => one({ op: 'hypercall', number })],
        ['u64', 'args', (v) => one({ op: 'hypercall', number: 12, args: [0, 0, v] })],
        ['u64', 'value of spin', (value) => one({ op: 'spin', gpa, value })],
        ['u32', 'port', (port) => one({ op: 'portIn', port })],
        ['u32', 'port of out', (port) => one({ op: 'portOut', port, value: 0 })],
      ];
    });
  });

  test('GuestAgent, where something is missing or does not exist', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const missing = [
      { op: 'load' },
      { op: 'store', gpa },
      { op: 'fill', gpa, length: 8 },
      { op: 'hypercall' },
      { op: 'portOut', port: 1 },
      { op: 'portIn' },
      {},
      { op: 'constructor' },
      { op: '__proto__' },
      { op: 'hypercall', number: 1, args: 5 },
    ];
    for (const command of missing) expect(() => agent.run([command as never]), command.op ?? '').toThrow(wrongType);
    const beyond = [
      { op: 'load', gpa, width: 3 },
      { op: 'portIn', port: 1, width: 8 },
      { op: 'portIn', port: 65536 },
      { op: 'hypercall', number: 1, args: [1, 2, 3, 4] },
      { op: 'load', gpa: 1n << 50n },
      { op: 'fill', gpa: (1n << 64n) - 8n, length: 64, value: 0 },
    ];
    for (const command of beyond)
      expect(() => agent.run([command as never]), JSON.stringify(command.op)).toThrow(outOfRange);
    expect(() => agent.run(Array(256).fill({ op: 'load', gpa }))).toThrow(outOfRange);
    expect(agent.run(Array(255).fill({ op: 'load', gpa })).results).toHaveLength(255);
    expect(() => agent.load(nowhere)).toThrow(/MMIO/);
  });
});
