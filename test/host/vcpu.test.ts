import { expect, test } from 'vitest';
import { GuestAgent, GuestExitError } from '../../lib/guest/agent.ts';
import { checksum } from '../../lib/guest/commands.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { mapAnonymous } from '../../lib/kvm/mapping.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { bound, describeKvm, gpa } from './kvm.ts';

const page = pageSize;
const nowhere = 0x8_0000_0000;

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
});

describeKvm('Vcpu', () => {
  const spin = [{ op: 'spin', gpa, value: 1 }] as const;

  test('comes back when its time is over', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const before = performance.now();
    expect(agent.run(spin, { timeout: 50 }).exit).toEqual({ reason: 'INTR', cause: 'timeout' });
    expect(performance.now() - before).toBeGreaterThanOrEqual(49);
    all.mapping.write(0, BigUint64Array.of(1n));
    expect(agent.resume().finished).toBe(true);
  });

  test('runs on its own thread and can be stopped', async () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const { vcpu } = agent;
    expect((await agent.runAsync(spin, { timeout: 20 })).exit).toMatchObject({ reason: 'INTR', cause: 'timeout' });
    const stopped = { reason: 'INTR', cause: 'stopped' };
    const abort = new AbortController();
    const running = vcpu.runAsync({ signal: abort.signal, timeout: Infinity });
    expect(vcpu.running).toBe(true);
    expect(() => vcpu.run()).toThrow(/is running/);
    expect(() => vcpu.registers()).toThrow(/is running/);
    await expect(vcpu.runAsync()).rejects.toMatchObject({ code: 'ERR_INVALID_STATE' });
    setTimeout(() => abort.abort(), 10);
    expect(await running).toEqual(stopped);
    expect(await vcpu.runAsync({ signal: abort.signal })).toEqual(stopped);
    for (let i = 0; i < 200; i++) {
      const again = vcpu.runAsync();
      vcpu.stop();
      expect(await again).toEqual(stopped);
    }
    vcpu.stop();
    all.mapping.write(0, BigUint64Array.of(1n));
    expect(agent.resume().finished).toBe(true);
  });

  test('rejects a run whose vCPU is closed meanwhile', async () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const running = agent.runAsync(spin, { timeout: Infinity });
    agent.vcpu.close();
    await expect(running).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });

  test('has registers that can be read and set', () => {
    using all = bound();
    using vcpu = all.vm.createVcpu();
    vcpu.setRegisters({ rax: 1n, r15: (1n << 64n) - 1n });
    expect(vcpu.registers()).toMatchObject({ rax: 1n, r15: (1n << 64n) - 1n, rbx: 0n });
    expect(vcpu.specialRegisters()).toMatchObject({ cs: { selector: 0xf000, base: 0xffff0000n } });
    vcpu.setSpecialRegisters({ cs: { base: 0n, selector: 0 } });
    expect(vcpu.specialRegisters()).toMatchObject({ cs: { selector: 0, base: 0n, limit: 0xffff } });
    expect(() => vcpu.setRegisters({ rax: 1 as never })).toThrow(TypeError);
    expect(() => vcpu.setRegisters({ rix: 1n } as never)).toThrow(RangeError);
    expect(() => all.vm.createVcpu({ id: 0 })).toThrow(/EEXIST/);
    expect(() => all.vm.createVcpu({ id: 1 << 30 })).toThrow(/EINVAL/);
  });

  test('runs a guest of the caller’s own, in real mode, and reports a triple fault', () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    using ram = mapAnonymous({ size: page });
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, size: page, mapping: ram });
    using vcpu = vm.createVcpu();
    ram.write(0, Uint8Array.of(0xb0, 0x2a, 0xe6, 0x10, 0xf4)); // mov al, 42; out 0x10, al; hlt
    vcpu.setSpecialRegisters({ cs: { base: 0n, selector: 0 } });
    vcpu.setRegisters({ rip: 0n, rflags: 2n });
    expect(vcpu.run()).toMatchObject({ reason: 'IO', port: 0x10, data: Uint8Array.of(42) });
    expect(vcpu.run()).toEqual({ reason: 'HLT' });
    using agent = GuestAgent.create(vm, { slot: 1, guestPhysAddr: 0x10_0000, vcpuId: 1 });
    agent.vcpu.setSpecialRegisters({ cr3: 0x8000_0000n });
    expect(agent.run([]).exit).toEqual({ reason: 'SHUTDOWN' });
  });

  test('a memory fault comes with errno and address', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    all.gmem.close();
    all.mapping.close();
    expect(agent.run([{ op: 'load', gpa: gpa + page }]).exit).toMatchObject({
      reason: 'MEMORY_FAULT',
      code: 'EFAULT',
      guestPhysAddr: BigInt(gpa + page),
      size: BigInt(page),
    });
  });

  test('pre-faulting is passed on to the kernel', () => {
    using all = bound();
    using vcpu = all.vm.createVcpu();
    if (all.vm.checkExtension(236)) expect(vcpu.preFault({ guestPhysAddr: gpa, size: page }).remaining).toBe(0n);
    else expect(() => vcpu.preFault({ guestPhysAddr: gpa, size: page })).toThrow(/ENOTTY|EOPNOTSUPP/);
  });

  test('an ordinary mapping closed under its slot is a fault for the guest, and never other memory', () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    const ram = mapAnonymous({ size: page });
    ram.fill(0x11);
    vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size: page, mapping: ram });
    using agent = GuestAgent.create(vm);
    expect(agent.load(gpa, 1)).toBe(0x11n);
    ram.close();
    // The address stays taken, so these cannot land there.
    const others = Array.from({ length: 64 }, () => mapAnonymous({ size: page }));
    for (const other of others) other.fill(0x22);
    let got: unknown;
    try {
      got = agent.run([{ op: 'load', gpa, width: 1 }]).results[0];
    } catch (error) {
      expect(error).toMatchObject({ code: 'EFAULT' });
    }
    expect(got).toBeUndefined();
    for (const other of others) {
      expect(other.address).not.toBe(ram.address);
      other.close();
    }
  });
});
