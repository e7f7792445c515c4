import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { GuestAgent } from '../../lib/guest/agent.ts';
import { capabilities } from '../../lib/kvm/capabilities.ts';
import { GuestMemfdFlag } from '../../lib/kvm/constants.ts';
import { MemoryAccessError } from '../../lib/kvm/errors.ts';
import { GuestMemfd } from '../../lib/kvm/guest-memfd.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { Mapping, mapAnonymous } from '../../lib/kvm/mapping.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { Vcpu } from '../../lib/kvm/vcpu.ts';
import { Vm } from '../../lib/kvm/vm.ts';
import { script } from '../helpers/process.ts';
import { slowness } from '../helpers/slowness.ts';
import { bound, collect, describeKvm, gmemMappings, gpa, shared } from './kvm.ts';

const page = pageSize;
/** Not to be called on something closed, or called there in another way. */
const elsewhere = [
  ...['constructor', 'beforeClose', 'enterSlot', 'leaveSlot', 'runAsync', 'stop'],
  // Books of this package, which nobody has to ask the kernel for.
  ...['attributes', 'attributesWereSet', 'usedMappings', 'openPins', 'openViews'],
];
const openDescriptors = () => readdirSync('/proc/self/fd').length;

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));
}

describeKvm('closing', () => {
  test('is fine in every order, and everything is given back', () => {
    const before = openDescriptors();
    const names = ['kvm', 'vm', 'gmem', 'mapping', 'agent'] as const;
    for (const order of permutations(names)) {
      using all = bound();
      const agent = GuestAgent.create(all.vm);
      agent.store(gpa, 1n);
      const objects = { ...all, agent };
      for (const [i, name] of order.entries()) {
        objects[name].close();
        const rest = order.slice(i + 1);
        // What is still open works, whatever was closed before it.
        if (rest.includes('gmem')) expect(all.gmem.stat().size).toBe(BigInt(all.size));
        if (rest.includes('mapping')) expect(all.mapping.read(0, 1)).toEqual(Uint8Array.of(1));
        if (rest.includes('vm')) expect(all.vm.checkExtension(3)).toBe(1);
        if (rest.includes('agent'))
          expect([undefined, 'MEMORY_FAULT']).toContain(agent.run([{ op: 'load', gpa }]).exit?.reason);
        if (rest.includes('agent')) agent.restart();
      }
      for (const name of order) objects[name].close();
    }
    expect(openDescriptors()).toBe(before);
    expect(gmemMappings()).toBe(0);
  });

  test('makes every use an error with code ERR_CLOSED', async () => {
    const all = bound();
    const agent = GuestAgent.create(all.vm);
    all[Symbol.dispose]();
    agent.close();
    const { kvm, vm, gmem, mapping } = all;
    const { vcpu } = agent;
    const uses: Record<string, () => unknown> = {
      apiVersion: () => kvm.apiVersion(),
      'kvm.checkExtension': () => kvm.checkExtension(1),
      createVm: () => kvm.createVm(),
      vcpuMmapSize: () => kvm.vcpuMmapSize(),
      supportedCpuid: () => kvm.supportedCpuid(),
      fd: () => kvm.fd,
      'vm.checkExtension': () => vm.checkExtension(1),
      createGuestMemfd: () => vm.createGuestMemfd({ size: page }),
      setUserMemoryRegion: () => vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0, size: page }),
      setMemoryAttributes: () => vm.setMemoryAttributes({ address: 0, size: page, attributes: 0 }),
      setMemoryAttributesOf: () => vm.setMemoryAttributesOf([{ address: 0, size: page, attributes: 0 }]),
      enableCapability: () => vm.enableCapability(1),
      createVcpu: () => vm.createVcpu(),
      map: () => gmem.map(),
      allocate: () => gmem.allocate(0, page),
      punchHole: () => gmem.punchHole(0, page),
      stat: () => gmem.stat(),
      'gmem.setMemoryAttributes': () => gmem.setMemoryAttributes({ offset: 0, size: page, attributes: 0 }),
      supportsInPlaceConversion: () => gmem.supportsInPlaceConversion(),
      read: () => mapping.read(0, 1),
      write: () => mapping.write(0, new Uint8Array(1)),
      fill: () => mapping.fill(0),
      compare: () => mapping.compare(0, new Uint8Array(1)),
      view: () => mapping.view(),
      detachViews: () => mapping.detachViews(),
      advise: () => mapping.advise(4),
      protect: () => mapping.protect(3),
      bind: () => mapping.bind({ mode: 0 }),
      policy: () => mapping.policy(),
      residency: () => mapping.residency(),
      pin: () => mapping.pin(),
      forkChild: () => mapping.forkChild(),
      nodes: () => mapping.nodes(),
      run: () => vcpu.run(),
      registers: () => vcpu.registers(),
      setRegisters: () => vcpu.setRegisters({}),
      specialRegisters: () => vcpu.specialRegisters(),
      'vm.fd': () => vm.fd,
      'gmem.fd': () => gmem.fd,
      'vcpu.fd': () => vcpu.fd,
      capabilities: () => capabilities(vm),
      deleteUserMemoryRegion: () => vm.deleteUserMemoryRegion(1),
      reservePlatformPages: () => vm.reservePlatformPages(0xfffb_c000),
      fallocate: () => gmem.fallocate(1, 0, page),
      setSpecialRegisters: () => vcpu.setSpecialRegisters({}),
      setCpuid: () => vcpu.setCpuid(new Uint8Array()),
      completeMmio: () => vcpu.completeMmio(new Uint8Array(1)),
      completeHypercall: () => vcpu.completeHypercall(0),
      finishExit: () => vcpu.finishExit(),
      'an agent on it': () => GuestAgent.create(vm),
      'agent.run': () => agent.run([]),
      'agent.load': () => agent.load(0),
      'agent.restart': () => agent.restart(),
      'a slot with its guest_memfd': () => {
        using other = Kvm.open();
        using otherVm = other.createVm();
        otherVm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0, size: page, guestMemfd: gmem });
      },
      completeIo: () => vcpu.completeIo(new Uint8Array(1)),
      preFault: () => vcpu.preFault({ guestPhysAddr: 0, size: page }),
      'a slot on it': () => {
        using other = Kvm.open();
        using otherVm = other.createVm();
        otherVm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0, size: page, mapping });
      },
    };
    for (const [name, use] of Object.entries(uses))
      expect(use, name).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
    // Nothing that the classes have is left out.
    const tested = Object.values(uses).map(String).join();
    for (const { prototype } of [Kvm, Vm, GuestMemfd, Mapping, Vcpu])
      for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype)))
        if (typeof value === 'function' && !elsewhere.includes(name)) expect(tested).toContain(`.${name}(`);
    await expect(vcpu.runAsync()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await expect(agent.runAsync([])).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    expect([kvm, vm, gmem, mapping, vcpu].map((one) => one.closed)).toEqual([true, true, true, true, true]);
    vcpu.stop();
  });

  test('1,000 rounds leave no file descriptor and no mapping behind', () => {
    const round = () => {
      using all = bound();
      using agent = GuestAgent.create(all.vm);
      agent.store(gpa + page, 5n);
      if (all.mapping.read(page, 1)[0] !== 5) throw new Error('the guest did not write');
    };
    round();
    const before = openDescriptors();
    for (let i = 0; i < 1000; i++) round();
    expect(openDescriptors()).toBe(before);
    expect(gmemMappings()).toBe(0);
  });
});

describeKvm('garbage collection', () => {
  test('closes what nobody closed', async () => {
    const before = openDescriptors();
    (() => {
      for (let i = 0; i < 20; i++) {
        const kvm = Kvm.open();
        const vm = kvm.createVm();
        const gmem = vm.createGuestMemfd({ size: page, flags: shared });
        gmem.map().view();
        vm.createVcpu();
      }
    })();
    expect(openDescriptors()).toBeGreaterThan(before);
    expect(await collect(() => openDescriptors() === before && gmemMappings() === 0)).toBe(true);
  });

  test('leaves a mapping alone while a view of it or a slot on it is in use', async () => {
    using all = bound();
    all.mapping.fill(0x42);
    const view = new Uint8Array(all.gmem.map().view());
    (() => {
      const ram = mapAnonymous({ size: page });
      ram.fill(0x43);
      all.vm.setUserMemoryRegion({ slot: 7, guestPhysAddr: 2 * gpa, size: page, mapping: ram });
    })();
    await collect(() => false);
    expect(view[0]).toBe(0x42);
    using agent = GuestAgent.create(all.vm);
    expect(agent.load(2 * gpa, 1)).toBe(0x43n);
  });
});

describeKvm('garbage collection of one and the other', () => {
  test('a vCPU that runs is not collected, whoever forgot it', async () => {
    using all = bound();
    let ended: unknown;
    (() => {
      const agent = GuestAgent.create(all.vm);
      void agent.runAsync([{ op: 'spin', gpa, value: 1 }], { timeout: 5000 * slowness }).then((run) => {
        ended = run;
      });
    })();
    await collect(() => false);
    expect(ended).toBeUndefined();
    all.mapping.write(0, BigUint64Array.of(1n));
    await expect.poll(() => ended).toMatchObject({ finished: true });
  });

  test('a child keeps what it was made from', async () => {
    const gmem = (() => Kvm.open().createVm().createGuestMemfd({ size: page, flags: shared }))();
    const vcpu = (() => Kvm.open().createVm().createVcpu())();
    await collect(() => false);
    expect(gmem.stat().size).toBe(BigInt(page));
    expect(gmem.vm.closed || vcpu.vm.closed).toBe(false);
    vcpu.vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, size: page, mapping: mapAnonymous({ size: page }) });
    expect(vcpu.registers().rip).toBe(0xfff0n);
    for (const one of [gmem, gmem.vm, vcpu, vcpu.vm]) one.close();
  });

  test('views alone leave nothing behind once they are forgotten', async () => {
    using all = bound();
    const mappings = gmemMappings();
    (() => {
      for (let i = 0; i < 50; i++) new Uint8Array(all.gmem.map().view())[0] = i;
    })();
    expect(gmemMappings()).toBeGreaterThan(mappings);
    expect(await collect(() => gmemMappings() === mappings)).toBe(true);
  });
});

describeKvm('views', () => {
  test('are the memory itself, until the mapping closes', () => {
    using all = bound();
    using agent = GuestAgent.create(all.vm);
    const buffer = all.mapping.view(page, 16);
    const words = new BigUint64Array(buffer);
    words[0] = 77n;
    expect(agent.load(gpa + page)).toBe(77n);
    agent.store(gpa + page, 78n);
    expect(words[0]).toBe(78n);
    all.mapping.close();
    expect(buffer.byteLength).toBe(0);
    expect(words.length).toBe(0);
  });

  test('are refused where memory cannot be touched or written', () => {
    using all = bound();
    using longer = all.gmem.map({ length: 8 * page });
    expect(() => longer.view()).toThrow(MemoryAccessError);
    expect(longer.view(0, 4 * page).byteLength).toBe(4 * page);
    using readOnly = all.gmem.map({ protection: 1 });
    expect(() => readOnly.view()).toThrow(MemoryAccessError);
    using secret = all.vm.createGuestMemfd({ size: page, flags: GuestMemfdFlag.MMAP });
    using mapping = secret.map();
    expect(() => mapping.view()).toThrow(MemoryAccessError);
  });

  test('can be detached by range', () => {
    using all = bound();
    const first = all.mapping.view(0, page);
    const second = all.mapping.view(2 * page, page);
    all.mapping.detachViews(0, page);
    expect([first.byteLength, second.byteLength]).toEqual([0, page]);
    all.mapping.protect(1, 2 * page, page);
    expect(second.byteLength).toBe(0);
    all.mapping.fill(1, 0, page);
  });

  // Runs in a process of its own: what goes wrong here ends it by a signal.
  const survivors = {
    'marked as untransferable': `
      const { markAsUntransferable } = await import('node:worker_threads');
      markAsUntransferable(buffer);`,
    transferred: `
      if (!buffer.transfer) process.exit(77);
      buffer = buffer.transfer();`,
    'transferred and dropped': `
      if (!buffer.transfer) process.exit(77);
      buffer = buffer.transfer(); const keep = new Uint8Array(buffer); globalThis.keep = keep; gc();`,
    'cloned with transfer': `
      try { buffer = structuredClone(buffer, { transfer: [buffer] }); } catch {}`,
  };
  for (const [how, action] of Object.entries(survivors)) {
    test(`never crash once closed, even when ${how}`, async () => {
      const { code, signal, stderr } = await script(
        `const gmem = kvm.createVm().createGuestMemfd({ size: 4096, flags: shared });
         const mapping = gmem.map(); mapping.fill(9);
         let buffer = mapping.view();
         ${action}
         mapping.close(); gc();
         if (buffer.detached ?? buffer.byteLength === 0) process.exit(0);
         const bytes = new Uint8Array(buffer);
         let sum = 0; for (const byte of bytes) sum += byte;
         if (bytes.length > 0) bytes[0] = 1;
         // Not by the natural end: there Node 24 and 26 detach every such buffer themselves, and abort at a marked one.
         process.exit(sum !== 0 && how() !== 'copy' ? 3 : 0);
         function how() { return ${JSON.stringify(how)} === 'cloned with transfer' ? 'copy' : ''; }`,
        '--expose-gc',
      );
      expect({ signal, stderr }).toEqual({ signal: null, stderr: '' });
      expect([0, 77]).toContain(code);
    });
  }

  test('that cannot be detached show zeros, and guarded access to their pages fails', async () => {
    const { code, signal, stdout, stderr } = await script(
      `const { markAsUntransferable, isMarkedAsUntransferable } = await import('node:worker_threads');
       const gmem = kvm.createVm().createGuestMemfd({ size: 8192, flags: shared });
       const mapping = gmem.map(); mapping.fill(9);
       let buffer = mapping.view(0, 4096);
       if (buffer.transfer) buffer = buffer.transfer();
       else if (isMarkedAsUntransferable) markAsUntransferable(buffer);
       else process.exit(77);
       mapping.detachViews();
       let refused = false;
       try { mapping.read(4000, 200) } catch (error) { refused = error.offset === 4000 }
       console.log(new Uint8Array(buffer)[5], refused, mapping.read(4096, 1)[0]);`,
    );
    expect({ signal, stderr }).toEqual({ signal: null, stderr: '' });
    if (code !== 77) expect(stdout).toBe('0 true 9\n');
  });
});

/** Fewer where each takes longer. */
const rounds = (count: number) => Math.ceil(count / slowness);

describeKvm('the end of a process or worker', () => {
  const spinning = `
    const vm = kvm.createVm();
    const ram = g.mapAnonymous({ size: 4096 });
    vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0x100000000, size: 4096, mapping: ram });
    const agent = g.GuestAgent.create(vm);
    const endless = agent.runAsync([{ op: 'spin', gpa: 0x100000000, value: 1n }], { timeout: Infinity });`;

  const ends: Record<string, [code: string, status: number]> = {
    'by its natural end with everything open': [
      'const vm = kvm.createVm(); vm.createGuestMemfd({ size: 4096 }); vm.createVcpu();',
      0,
    ],
    'by process.exit() with a vCPU running': [`${spinning} setTimeout(() => process.exit(5), 20);`, 5],
    'by an unhandled rejection with a vCPU running': [
      `${spinning} setTimeout(() => Promise.reject(new Error('on purpose')), 20);`,
      1,
    ],
    'when the last run ends, with nothing closed': [`${spinning} setTimeout(() => agent.vcpu.stop(), 20);`, 0],
    'by process.exit() in the callback of a run': [
      `${spinning} endless.then(() => process.exit(6)); setTimeout(() => agent.vcpu.stop(), 20);`,
      6,
    ],
    'by process.exit() with a view over a mapping that is closed under a slot': [
      `${spinning} endless.catch(() => {}); const view = new Uint8Array(ram.view()); ram.close(); setTimeout(() => process.exit(view.length), 20);`,
      0,
    ],
    'by an uncaught error with a vCPU running': [
      `${spinning} setTimeout(() => { throw new Error('on purpose'); }, 20);`,
      1,
    ],
  };
  for (const [how, [code, status]] of Object.entries(ends)) {
    test(`is clean ${how}`, async () => {
      const ended = await script(code);
      expect({ code: ended.code, signal: ended.signal }).toEqual({ code: status, signal: null });
    });
  }

  // What a worker may be doing, over and over, when it is terminated. An exception that the addon throws just then must not
  // end the process (NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS).
  const loops = {
    'running a guest': 'second.load(0x1000000);',
    'copying memory': 'ram.write(0, ram.read(64, 64)); ram.fill(1); ram.compare(0, new Uint8Array(64));',
    'making and closing objects':
      'const one = kvm.createVm(); one.createGuestMemfd({ size: 4096 }).close(); one.createVcpu().close(); one.close();',
    'catching errors': 'try { secret.read(0, 1); } catch {} try { vm.createGuestMemfd({ size: 1 }); } catch {}',
    'making views': 'ram.view(0, 8); ram.detachViews();',
  };
  for (const [what, loop] of Object.entries(loops)) {
    test(`is clean when workers are terminated while ${what} without a pause`, async () => {
      const { code, signal, stderr, stdout } = await script(
        `const { Worker } = await import('node:worker_threads');
         const { readdirSync } = await import('node:fs');
         const url = ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
         const body = \`import('\${url}').then(async (g) => {
           const kvm = g.Kvm.open();
           ${spinning}
           const second = g.GuestAgent.create(vm, { slot: 2, guestPhysAddr: 0x1000000, vcpuId: 1 });
           const secret = vm.createGuestMemfd({ size: 4096, flags: g.GuestMemfdFlag.MMAP }).map();
           const { parentPort } = await import('node:worker_threads');
           parentPort.postMessage('up');
           for (;;) { ${loop} }
         });\`;
         const before = readdirSync('/proc/self/fd').length;
         for (let round = 0; round < ${rounds(20)}; round++) {
           const workers = Array.from({ length: 2 }, () => new Worker(body, { eval: true }));
           await Promise.all(workers.map((worker) => new Promise((up, down) => { worker.once('message', up); worker.once('error', down); })));
           await new Promise((go) => setTimeout(go, 3 + round));
           const codes = await Promise.all(workers.map((worker) => worker.terminate()));
           if (codes.some((code) => code !== 1)) throw new Error('not terminated: ' + codes);
         }
         await new Promise((go) => setTimeout(go, 50));
         console.log(readdirSync('/proc/self/fd').length - before);`,
      );
      expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
      expect(Number(stdout)).toBeLessThanOrEqual(1);
    });
  }

  test('is clean when workers are terminated with a vCPU running, a view open and a guest exiting in a loop', async () => {
    const { code, signal, stderr, stdout } = await script(
      `const { Worker } = await import('node:worker_threads');
       const { readdirSync } = await import('node:fs');
       const url = ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
       const body = \`import('\${url}').then(async (g) => {
         const shared = 3; const kvm = g.Kvm.open();
         ${spinning}
         const view = ram.view();
         globalThis.keep = [view, endless];
         const { parentPort } = await import('node:worker_threads');
         const second = g.GuestAgent.create(vm, { slot: 2, guestPhysAddr: 0x1000000, vcpuId: 1 });
         parentPort.postMessage('up');
         for (;;) { second.load(0x1000000); await new Promise(setImmediate); }
       });\`;
       const before = readdirSync('/proc/self/fd').length;
       for (let round = 0; round < ${rounds(5)}; round++) {
         const workers = Array.from({ length: 4 }, () => new Worker(body, { eval: true }));
         await Promise.all(workers.map((worker) => new Promise((up, down) => { worker.once('message', up); worker.once('error', down); })));
         await new Promise((go) => setTimeout(go, round * 3));
         await Promise.all(workers.map((worker) => worker.terminate()));
       }
       await new Promise((go) => setTimeout(go, 50));
       console.log(readdirSync('/proc/self/fd').length - before);`,
    );
    expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
    expect(Number(stdout)).toBeLessThanOrEqual(1);
  });
});
