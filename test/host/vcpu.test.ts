import { expect, test } from 'vitest';
import { GuestAgent } from '../../lib/guest/agent.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { mapAnonymous } from '../../lib/kvm/mapping.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { bound, describeKvm, gpa, nowhere } from './kvm.ts';

const page = pageSize;

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
    // With an end: were run() below to get through to the kernel, it would wait there for this one.
    const running = vcpu.runAsync({ signal: abort.signal, timeout: 5000 });
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

  test('runs a guest of the caller’s own, in real mode', () => {
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

  test('takes the timeouts that can be meant, the longest and the shortest too', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    // In nanoseconds the longer ones do not fit in 64 bits, or only without the clock's present time added.
    for (const timeout of [1e12, 1.8446e13, 1e13, Number.MAX_SAFE_INTEGER, Number.MAX_VALUE, Number.POSITIVE_INFINITY])
      expect(agent.run([{ op: 'store', gpa, value: 1 }], { timeout }).finished, String(timeout)).toBe(true);
    agent.store(gpa, 0);
    for (const timeout of [Number.MIN_VALUE, 1e-9, 0.5]) {
      expect(agent.run(spin, { timeout }).exit).toEqual({ reason: 'INTR', cause: 'timeout' });
      agent.restart();
    }
  });

  test('keeps its registers over an interruption, so that it can go on', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const commands = [...spin, { op: 'store', gpa: gpa + 8, value: 5 } as const];
    expect(agent.run(commands, { timeout: 5 }).exit?.reason).toBe('INTR');
    const registers = agent.vcpu.registers();
    agent.vcpu.setRegisters({});
    agent.vcpu.setSpecialRegisters(agent.vcpu.specialRegisters());
    expect(agent.vcpu.registers()).toEqual(registers);
    all.mapping.write(0, BigUint64Array.of(1n));
    expect(agent.resume().finished).toBe(true);
    expect(all.mapping.read(8, 1)).toEqual(Uint8Array.of(5));
  });

  test('takes an answer only to the exit that asked, and no longer than it asked for', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const { vcpu } = agent;
    const state = expect.objectContaining({ code: 'ERR_INVALID_STATE' });
    const range = expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' });
    for (const answer of [
      () => vcpu.completeIo(new Uint8Array(1)),
      () => vcpu.completeMmio(new Uint8Array(1)),
      () => vcpu.completeHypercall(0),
    ])
      expect(answer).toThrow(state);
    agent.run([
      { op: 'portIn', port: 0x80, width: 2 },
      { op: 'load', gpa: nowhere, width: 8 },
    ]);
    expect(() => vcpu.completeIo(new Uint8Array(3))).toThrow(range);
    expect(() => vcpu.completeMmio(new Uint8Array(1))).toThrow(state);
    expect(() => vcpu.completeHypercall(1)).toThrow(state);
    vcpu.completeIo(Uint8Array.of(0x34, 0x12));
    agent.resume();
    expect(() => vcpu.completeMmio(new Uint8Array(9))).toThrow(range);
    vcpu.completeMmio(BigUint64Array.of(0x1122334455667788n));
    expect(agent.resume().results).toEqual([0x1234n, 0x1122334455667788n]);
  });

  test('the AbortSignal of a run that is over has no hold on the next', async () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const abort = new AbortController();
    expect((await agent.runAsync([], { signal: abort.signal })).finished).toBe(true);
    const next = agent.runAsync(spin, { timeout: 40 });
    abort.abort();
    expect((await next).exit).toEqual({ reason: 'INTR', cause: 'timeout' });
    agent.restart();
    expect((await agent.runAsync(spin, { signal: abort.signal })).exit).toEqual({ reason: 'INTR', cause: 'stopped' });
  });

  test('an opcode that does not exist, and an address without page tables, are a triple fault', () => {
    for (const code of [
      [0x0f, 0x0b], // ud2
      [0x48, 0xa1, 0, 0, 0, 0, 0, 0x80, 0, 0], // mov rax, [0x800000000000]: not canonical
      [0x48, 0xa1, 0, 0, 0, 0, 0, 0x10, 0, 0], // mov rax, [0x100000000000]: no entry
    ]) {
      using all = bound();
      using agent = GuestAgent.create(all.vm);
      agent.load(gpa);
      all.mapping.write(0, Uint8Array.from(code));
      agent.vcpu.setRegisters({ rip: BigInt(gpa) });
      expect(agent.vcpu.run()).toEqual({ reason: 'SHUTDOWN' });
    }
  });

  test('a string instruction exits until all is said, and until all is answered', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const { vcpu } = agent;
    agent.load(gpa);
    all.mapping.write(0, Uint8Array.of(0xf3, 0x6e, 0xe6, 0x43)); // rep outsb; out 0x43, al
    all.mapping.write(16, Uint8Array.of(0xf3, 0x6c, 0xe6, 0x43)); // rep insb; out 0x43, al
    all.mapping.write(page, Buffer.from('guest memory'));
    const end = { reason: 'IO', direction: 'out', port: 0x43 };
    vcpu.setRegisters({ rip: BigInt(gpa), rsi: BigInt(gpa + page), rcx: 12n, rdx: 0x42n });
    const said: number[] = [];
    let exit = vcpu.run();
    for (; exit.reason === 'IO' && exit.port === 0x42; exit = vcpu.run()) {
      expect(exit).toMatchObject({ direction: 'out', size: 1, data: { length: exit.count } });
      said.push(...exit.data);
    }
    expect(exit).toMatchObject(end);
    expect(Buffer.from(said).toString()).toBe('guest memory');
    vcpu.finishExit();
    vcpu.setRegisters({ rip: BigInt(gpa + 16), rdi: BigInt(gpa + 2 * page), rcx: 4n, rdx: 0x42n });
    const answer = Buffer.from('done');
    let at = 0;
    for (exit = vcpu.run(); exit.reason === 'IO' && exit.port === 0x42; exit = vcpu.run()) {
      expect(exit.direction).toBe('in');
      vcpu.completeIo(answer.subarray(at, at + exit.count));
      at += exit.count;
    }
    expect(exit).toMatchObject(end);
    expect(Buffer.from(all.mapping.read(2 * page, 5)).toString('latin1')).toBe('done\0');
  });

  test('finishExit ends the instruction at hand and begins no other', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const { vcpu } = agent;
    agent.run([
      { op: 'load', gpa: nowhere },
      { op: 'store', gpa, value: 7 },
    ]);
    vcpu.completeMmio(BigUint64Array.of(0x1234n));
    const before = vcpu.registers();
    vcpu.finishExit();
    const after = vcpu.registers();
    expect(after.r8).toBe(0x1234n); // where the guest program loads to
    expect(after.rip).toBeGreaterThan(before.rip);
    expect(after.rip - before.rip).toBeLessThan(16n);
    expect(() => vcpu.completeMmio(new Uint8Array(8))).toThrow(/MMIO exit/);
    for (let i = 0; i < 100; i++) vcpu.finishExit();
    expect(vcpu.registers()).toEqual(after);
    expect(all.mapping.read(0, 1)).toEqual(Uint8Array.of(0));
    expect(agent.resume()).toMatchObject({ finished: true, results: [0x1234n, 0n] });
    expect(all.mapping.read(0, 1)).toEqual(Uint8Array.of(7));
  });
});
