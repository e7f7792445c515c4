import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { GuestAgent, GuestExitError } from '../../lib/guest/agent.ts';
import { checksum } from '../../lib/guest/commands.ts';
import { Capability, HypercallNumber } from '../../lib/kvm/constants.ts';
import { mapAnonymous } from '../../lib/kvm/mapping.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { bound, describeKvm, gpa, nowhere } from './kvm.ts';

const page = pageSize;

describeKvm('GuestAgent', () => {
  test('executes every command', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const { mapping, size } = all;
    for (const width of [1, 2, 4, 8] as const) {
      agent.store(gpa + 8, 0x8877665544332211n, width);
      expect(agent.load(gpa + 8, width)).toBe(BigInt.asUintN(width * 8, 0x8877665544332211n));
    }
    agent.fill(gpa, size, 0x5a);
    expect(mapping.compare(0, new Uint8Array(size).fill(0x5a))).toBe(-1);
    mapping.fill(0, 5000, 1);
    expect(agent.compare(gpa, size, 0x5a)).toBe(5000);
    expect(agent.compare(gpa, 5000, 0x5a)).toBe(-1);
    expect(agent.checksum(gpa, size)).toBe(checksum(mapping.read(0, size)));
    agent.execute([{ op: 'copy', to: gpa + 2 * page, from: gpa + 4900, length: 200 }]);
    expect(mapping.compare(2 * page, mapping.read(4900, 200))).toBe(-1);
    expect(agent.execute([{ op: 'spin', gpa, value: 0x5a5a5a5a5a5a5a5an }])).toEqual([1n]);
  });

  test('leaves for ports, devices and halt, and goes on where it was', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const out = agent.run([
      { op: 'portOut', port: 0x80, value: 0x1234, width: 2 },
      { op: 'portIn', port: 0x81, width: 4 },
      { op: 'load', gpa: nowhere, width: 4 },
      { op: 'store', gpa: nowhere, value: 7, width: 1 },
    ]);
    expect(out).toMatchObject({ finished: false, exit: { reason: 'IO', direction: 'out', port: 0x80, size: 2 } });
    expect(out.exit).toMatchObject({ data: Uint8Array.of(0x34, 0x12) });
    expect(agent.resume().exit).toMatchObject({ reason: 'IO', direction: 'in', port: 0x81, size: 4 });
    agent.vcpu.completeIo(Uint32Array.of(0xcafe));
    const read = agent.resume();
    expect(read.exit).toMatchObject({ reason: 'MMIO', isWrite: false, length: 4, guestPhysAddr: BigInt(nowhere) });
    expect(() => agent.vcpu.completeIo(new Uint8Array(1))).toThrow(/IO exit/);
    agent.vcpu.completeMmio(Uint32Array.of(0xbeef));
    expect(agent.resume().exit).toMatchObject({ reason: 'MMIO', isWrite: true, data: Uint8Array.of(7) });
    expect(agent.resume()).toMatchObject({ finished: true, results: [0n, 0xcafen, 0xbeefn, 0n] });
    expect(agent.run([{ op: 'halt' }]).exit).toEqual({ reason: 'HLT' });
    expect(agent.resume().finished).toBe(true);
    expect(agent.load(gpa)).toBe(0n);
  });

  test('must be told what becomes of an interrupted list', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    expect(() => agent.load(nowhere)).toThrow(GuestExitError);
    expect(agent.load(gpa)).toBe(0n);
    agent.run([{ op: 'spin', gpa, value: 1 }], { timeout: 20 });
    expect(() => agent.run([])).toThrow(/resume\(\) it, or restart/);
    agent.restart();
    expect(agent.run([]).finished).toBe(true);
  });

  test('names the command at which the guest left', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const commands = [{ op: 'load', gpa } as const, { op: 'load', gpa: nowhere } as const];
    expect(() => agent.execute(commands)).toThrow(/MMIO .*0x800000000.* at command 1, load/);
    expect(() => agent.run([{ op: 'dance' } as never])).toThrow(/one of load, store/);
    expect(() => agent.run([{ op: 'load', gpa: 1n << 50n }])).toThrow(/64 GiB/);
  });

  test('two guests of one VM run at once and see each other', async () => {
    using all = bound();
    using first = GuestAgent.create(all.vm);
    using second = GuestAgent.create(all.vm, { slot: 2, guestPhysAddr: 0x100_0000, vcpuId: 1 });
    const ping = first.runAsync([
      { op: 'store', gpa, value: 1 },
      { op: 'spin', gpa: gpa + 8, value: 2 },
    ]);
    const pong = second.runAsync([
      { op: 'spin', gpa, value: 1 },
      { op: 'store', gpa: gpa + 8, value: 2 },
    ]);
    expect((await ping).finished).toBe(true);
    expect((await pong).finished).toBe(true);
  });

  // KVM finishes a load from a device at the next run, and then sets RIP itself.
  test.each([
    { op: 'load', gpa: nowhere },
    { op: 'store', gpa: nowhere, value: 1 },
    { op: 'portIn', port: 0x80 },
    { op: 'portOut', port: 0x80, value: 1 },
    { op: 'halt' },
    { op: 'spin', gpa: gpa + 8, value: 1 },
  ] as const)('executes every command of the next list when $op was given up', (command) => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    for (let i = 1; i < 4; i++) {
      expect(agent.run([{ op: 'load', gpa }, command], { timeout: 20 }).finished).toBe(false);
      agent.restart();
      agent.store(gpa, i);
      expect(all.mapping.read(0, 1)).toEqual(Uint8Array.of(i));
      expect(() => agent.execute([command], { timeout: 20 })).toThrow(GuestExitError);
      expect(agent.load(gpa)).toBe(BigInt(i));
    }
  });

  test('resumes only what was interrupted', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    expect(() => agent.resume()).toThrow(expect.objectContaining({ code: 'ERR_INVALID_STATE' }));
    agent.store(gpa, 1);
    all.mapping.fill(0);
    // The list is through; going on would execute it once more.
    expect(() => agent.resume()).toThrow(/no list was interrupted/);
    expect(agent.load(gpa)).toBe(0n);
  });

  test('keeps the results that came before an interruption, and gives them all at the end', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    all.mapping.fill(0x11);
    const interrupted = agent.run([
      { op: 'load', gpa, width: 1 },
      { op: 'load', gpa, width: 2 },
      { op: 'portOut', port: 0x80, value: 1 },
      { op: 'load', gpa, width: 4 },
    ]);
    expect(interrupted).toMatchObject({ finished: false, results: [0x11n, 0x1111n] });
    expect(agent.resume()).toEqual({ finished: true, results: [0x11n, 0x1111n, 0n, 0x11111111n], exit: undefined });
    expect(agent.run([])).toEqual({ finished: true, results: [], exit: undefined });
  });

  test('reaches memory anywhere in its 64 GiB, and over the edge of a GiB', () => {
    using all = bound();
    using ram = mapAnonymous({ size: 2 * page });
    using agent = GuestAgent.create(all.vm);
    for (const [i, at] of [0x4000_0000 - page, 2 ** 36 - 2 * page].entries()) {
      all.vm.setUserMemoryRegion({ slot: 10 + i, guestPhysAddr: at, size: 2 * page, mapping: ram });
      ram.fill(i);
      agent.fill(at, 2 * page, 0x40 + i);
      expect(agent.compare(at, 2 * page, 0x40 + i)).toBe(-1);
      expect(ram.compare(0, new Uint8Array(2 * page).fill(0x40 + i))).toBe(-1);
      expect(agent.checksum(at, 2 * page)).toBe(checksum(ram.read(0, 2 * page)));
    }
  });

  test('that cannot be made leaves neither slot nor vCPU behind', () => {
    using all = bound();
    using taken = all.vm.createVcpu({ id: 7 });
    const place = { slot: 3, guestPhysAddr: 0x100_0000 };
    expect(() => GuestAgent.create(all.vm, { ...place, vcpuId: taken.id })).toThrow(/EEXIST/);
    expect([...all.vm.slots.keys()]).toEqual([1]);
    using agent = GuestAgent.create(all.vm, { ...place, vcpuId: 8 });
    expect(agent.load(gpa)).toBe(0n);
    // Over memory that is there already: that memory stays what it was.
    expect(() => GuestAgent.create(all.vm, { slot: 5, guestPhysAddr: gpa, vcpuId: 9 })).toThrow(/EEXIST/);
    expect([...all.vm.slots.keys()]).toEqual([1, 3]);
  });

  test('cannot be given a list while it runs', async () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const running = agent.runAsync([{ op: 'spin', gpa, value: 1 }], { timeout: Number.POSITIVE_INFINITY });
    const busy = expect.objectContaining({ code: 'ERR_INVALID_STATE', message: expect.stringMatching(/is running/) });
    expect(() => agent.run([{ op: 'store', gpa: gpa + 8, value: 9 }])).toThrow(busy);
    expect(() => agent.resume()).toThrow(busy);
    expect(() => agent.restart()).toThrow(busy);
    await expect(agent.runAsync([])).rejects.toEqual(busy);
    all.mapping.write(0, BigUint64Array.of(1n));
    expect((await running).finished).toBe(true);
    expect(agent.load(gpa + 8)).toBe(0n);
  });

  test('a bad option to a list leaves the agent as it was', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    expect(() => agent.run([{ op: 'store', gpa, value: 1 }], { timeout: -1 })).toThrow(RangeError);
    expect(() => agent.execute([{ op: 'store', gpa, value: 1 }], { timeout: '1' as never })).toThrow(TypeError);
    expect(agent.load(gpa)).toBe(0n);
  });

  test('eight vCPUs of one VM run at once, each on a thread', async () => {
    using all = bound();
    const agents = Array.from({ length: 8 }, (_, i) =>
      GuestAgent.create(all.vm, { slot: 2 + i, guestPhysAddr: (i + 1) * 0x100_0000, vcpuId: i }),
    );
    const running = agents.map((agent, i) =>
      agent.runAsync([
        { op: 'spin', gpa: gpa + 8 * i, value: i + 1 },
        { op: 'store', gpa: gpa + 8 * (i + 1), value: i + 2 },
      ]),
    );
    expect(agents.every((agent) => agent.vcpu.running)).toBe(true);
    all.mapping.write(0, BigUint64Array.of(1n)); // the first wakes the second, and so on
    for (const run of await Promise.all(running)) expect(run.finished).toBe(true);
    expect(agents[0]?.load(gpa + 64)).toBe(9n);
    for (const agent of agents) agent.close();
  });

  // kvm_pvm runs ring 0 in its emulator, which answers a hypercall by patching the instruction and starting it again.
  test.skipIf(existsSync('/sys/module/kvm_pvm'))('a hypercall exits where it was enabled, and takes an answer', () => {
    using all = bound();
    if ((all.vm.checkExtension(Capability.EXIT_HYPERCALL) & 0x1000) === 0) return;
    all.vm.enableCapability(Capability.EXIT_HYPERCALL, [0x1000]);
    using agent = GuestAgent.create(all.vm);
    const number = HypercallNumber.MAP_GPA_RANGE;
    const { exit } = agent.run([{ op: 'hypercall', number, args: [gpa, 1, 0x10] }]);
    expect(exit).toMatchObject({ reason: 'HYPERCALL', number: BigInt(number), longMode: true });
    expect(exit?.reason === 'HYPERCALL' && exit.args.slice(0, 3)).toEqual([BigInt(gpa), 1n, 0x10n]);
    agent.vcpu.completeHypercall(77);
    expect(agent.resume()).toMatchObject({ finished: true, results: [77n] });
  });
});
