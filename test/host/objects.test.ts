import { expect, test } from 'vitest';
import { capabilities } from '../../lib/kvm/capabilities.ts';
import { Advice, Capability, GuestMemfdFlag, MapFlag, MemoryPolicy, Protection } from '../../lib/kvm/constants.ts';
import { type KvmError, MemoryAccessError } from '../../lib/kvm/errors.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { mapAnonymous } from '../../lib/kvm/mapping.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { bound, describeKvm, gpa, shared } from './kvm.ts';

const page = pageSize;

function thrown(call: () => unknown): KvmError & MemoryAccessError {
  try {
    call();
  } catch (error) {
    return error as KvmError & MemoryAccessError;
  }
  throw new Error('nothing was thrown');
}

describeKvm('Kvm', () => {
  test('tells why a path is not a KVM device', () => {
    expect(thrown(() => Kvm.open({ path: '/nowhere/kvm' }))).toMatchObject({ code: 'ENOENT', errno: -2 });
    expect(thrown(() => Kvm.open({ path: '/dev/null' }))).toMatchObject({
      code: 'ENOTTY',
      reason: expect.stringMatching(/not a KVM device/),
    });
    expect(thrown(() => Kvm.open({ path: '/' }))).toMatchObject({ code: 'EISDIR' });
  });

  test('answers what the device can do', () => {
    using kvm = Kvm.open();
    expect(kvm.apiVersion()).toBe(12);
    expect(kvm.vcpuMmapSize()).toBeGreaterThanOrEqual(page);
    expect(kvm.checkExtension(Capability.GUEST_MEMFD)).toBe(1);
    expect(kvm.checkExtension(0xffff_ffff)).toBe(0);
    expect(thrown(() => kvm.createVm({ type: 31 }))).toMatchObject({ code: 'EINVAL', syscall: 'ioctl(KVM_CREATE_VM)' });
  });

  test('reports capabilities of device and VM', () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    expect(capabilities(kvm)).toMatchObject({ of: 'device', guestMemfd: true });
    const answer = capabilities(vm);
    expect(answer).toMatchObject({ of: 'vm', guestMemfd: true, guestMemfdFlags: ['MMAP', 'INIT_SHARED'] });
    expect(answer.maxMemslots).toBe(vm.checkExtension(Capability.NR_MEMSLOTS));
  });
});

describeKvm('Vm', () => {
  test('creates, changes, moves and deletes an ordinary memslot, by either ioctl', () => {
    using kvm = Kvm.open();
    for (const legacy of [false, true]) {
      using vm = kvm.createVm();
      using mapping = mapAnonymous({ size: 2 * page });
      const region = { slot: 3, guestPhysAddr: gpa, size: page, mapping, legacy };
      vm.setUserMemoryRegion(region);
      vm.setUserMemoryRegion({ ...region, flags: 1 });
      vm.setUserMemoryRegion({ ...region, flags: 0, guestPhysAddr: 2 * gpa });
      expect(vm.slots.get(3)).toMatchObject({ guestPhysAddr: 2 * gpa, size: page, mapping });
      vm.setUserMemoryRegion({ ...region, size: 0 });
      expect(vm.slots.size).toBe(0);
      expect(thrown(() => vm.deleteUserMemoryRegion(3))).toMatchObject({
        code: 'EINVAL',
        reason: expect.stringMatching(/no such slot/),
      });
    }
  });

  test('a failed change leaves the slots as they were', () => {
    using all = bound();
    const { vm, mapping, gmem, size } = all;
    const before = vm.slots.get(1);
    const again = { slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem };
    expect(thrown(() => vm.setUserMemoryRegion(again)).code).toBe('EINVAL');
    expect(thrown(() => vm.setUserMemoryRegion({ ...again, slot: 2 })).code).toBe('EEXIST');
    expect(thrown(() => vm.setUserMemoryRegion({ ...again, slot: 2, guestPhysAddr: gpa + 1 }))).toMatchObject({
      code: 'EINVAL',
      reason: expect.stringMatching(/guestPhysAddr is not page-aligned/),
    });
    expect([...vm.slots.values()]).toEqual([before]);
  });

  test('refuses a slot that reaches beyond its mapping, which the kernel could not know', () => {
    using all = bound();
    const region = { slot: 5, guestPhysAddr: 2 * gpa, size: page, mapping: all.mapping };
    expect(thrown(() => all.vm.setUserMemoryRegion({ ...region, mappingOffset: all.size }))).toBeInstanceOf(RangeError);
    expect(all.vm.slots.has(5)).toBe(false);
  });

  test('passes on what the kernel says to capabilities and attributes it does not have', () => {
    using all = bound();
    const { vm } = all;
    expect(thrown(() => vm.enableCapability(0xffff)).code).toBe('EINVAL');
    vm.enableCapability(Capability.EXIT_HYPERCALL, [0x1000]);
    if (vm.checkExtension(Capability.MEMORY_ATTRIBUTES) === 0)
      expect(['ENOTTY', 'EINVAL']).toContain(
        thrown(() => vm.setMemoryAttributes({ address: gpa, size: page, attributes: 8 })).code,
      );
    vm.reservePlatformPages(0xfffb_c000);
  });
});

describeKvm('GuestMemfd', () => {
  test('has the size, inode and close-on-exec that stat tells', () => {
    using all = bound();
    expect(all.gmem.stat()).toMatchObject({ size: BigInt(all.size), blockSize: BigInt(page), closeOnExec: true });
    expect(all.gmem.mappable).toBe(true);
  });

  test('explains what the kernel refuses', () => {
    using all = bound();
    const { vm, gmem } = all;
    expect(thrown(() => vm.createGuestMemfd({ size: 5 }))).toMatchObject({
      reason: expect.stringMatching(/multiple of the page size/),
    });
    expect(thrown(() => vm.createGuestMemfd({ size: 1n << 63n }))).toMatchObject({
      reason: expect.stringMatching(/below 2\^63/),
    });
    expect(thrown(() => vm.createGuestMemfd({ size: page, flags: 1n << 63n }))).toMatchObject({
      reason: expect.stringMatching(/flags/),
    });
    expect(thrown(() => gmem.fallocate(0, 0, page)).code).toBe('EOPNOTSUPP');
    expect(thrown(() => gmem.map({ flags: MapFlag.PRIVATE })).code).toBe('EINVAL');
    expect(thrown(() => gmem.map({ length: 0 })).code).toBe('EINVAL');
    using plain = vm.createGuestMemfd({ size: page });
    expect(thrown(() => plain.map())).toMatchObject({
      code: 'ENODEV',
      syscall: 'mmap',
      reason: expect.stringMatching(/MMAP/),
    });
  });

  test('asks for in-place conversion without changing anything', () => {
    using all = bound();
    all.mapping.fill(7);
    if (!all.gmem.supportsInPlaceConversion())
      expect(thrown(() => all.gmem.setMemoryAttributes({ offset: 0, size: page, attributes: 8 }))).toMatchObject({
        code: 'ENOTTY',
        reason: expect.stringMatching(/in-place conversion/),
      });
    expect(all.mapping.compare(0, new Uint8Array(all.size).fill(7))).toBe(-1);
  });
});

describeKvm('Mapping', () => {
  test('copies, fills and compares any kind of bytes', () => {
    using all = bound();
    const { mapping } = all;
    mapping.write(10, BigUint64Array.of(0x0102030405060708n));
    expect([...mapping.read(10, 8)]).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
    expect(mapping.read(10, new Uint16Array(2))).toEqual(Uint16Array.of(0x0708, 0x0506));
    mapping.fill(0x61, page, 3);
    expect(Buffer.from(mapping.read(page, 4)).toString('latin1')).toBe('aaa\0');
    expect(mapping.compare(page, Buffer.from('aaab'))).toBe(3);
    expect(mapping.compare(page, Buffer.from('aaa'))).toBe(-1);
  });

  test('private memory gives MemoryAccessError and the process lives', () => {
    using all = bound();
    using secret = all.vm.createGuestMemfd({ size: 2 * page, flags: GuestMemfdFlag.MMAP });
    using mapping = secret.map();
    all.vm.setUserMemoryRegion({ slot: 2, guestPhysAddr: 2 * gpa, size: 2 * page, mapping, guestMemfd: secret });
    const bytes = new Uint8Array(16);
    for (const access of [
      () => mapping.read(page, 16),
      () => mapping.write(page, bytes),
      () => mapping.fill(1, page, 16),
      () => mapping.compare(page, bytes),
      () => mapping.view(page, 16),
    ]) {
      const error = thrown(access);
      expect(error).toBeInstanceOf(MemoryAccessError);
      expect(error).toMatchObject({ code: 'ERR_MEMORY_ACCESS', offset: page, bytesDone: 0 });
      expect(error.guestPhysAddr).toBe(BigInt(2 * gpa + page));
    }
  });

  test('stops at the very byte where the file ends', () => {
    using all = bound(1);
    using mapping = all.gmem.map({ length: 2 * page });
    const into = new Uint8Array(100);
    all.mapping.fill(9);
    for (const before of [0, 1, 7, 8, 15, 16, 17, 64, 99]) {
      expect(thrown(() => mapping.read(page - before, into))).toMatchObject({ offset: page, bytesDone: before });
      expect(thrown(() => mapping.fill(3, page - before, 100))).toMatchObject({ offset: page, bytesDone: before });
      expect(thrown(() => mapping.write(page - before, into))).toMatchObject({ offset: page, bytesDone: before });
    }
  });

  test('aligns, protects, advises and tells what is resident', () => {
    using all = bound();
    using mapping = all.gmem.map({ alignment: 1 << 21 });
    expect(mapping.address % BigInt(1 << 21)).toBe(0n);
    mapping.fill(1, page, 1);
    expect(mapping.residency()).toEqual([false, true, false, false]);
    mapping.advise(Advice.DONTNEED);
    expect(mapping.read(page, 1)[0]).toBe(1);
    expect(thrown(() => mapping.advise(9999)).code).toBe('EINVAL');
    expect(thrown(() => mapping.advise(Advice.COLLAPSE)).code).toBe('EINVAL');
    mapping.protect(Protection.READ, page, page);
    expect(thrown(() => mapping.fill(2, page, 1))).toBeInstanceOf(MemoryAccessError);
    expect(mapping.read(page, 1)[0]).toBe(1);
    expect(thrown(() => mapping.protect(Protection.READ | Protection.EXEC)).code).toMatch(/EACCES|EPERM/);
  });

  test('binds to NUMA nodes and says where pages are', () => {
    using all = bound();
    const { mapping } = all;
    mapping.bind({ mode: MemoryPolicy.BIND, nodes: [0] });
    expect(mapping.policy()).toEqual({ mode: MemoryPolicy.BIND, nodes: [0] });
    mapping.bind({ mode: MemoryPolicy.DEFAULT });
    expect(mapping.policy().mode).toBe(MemoryPolicy.DEFAULT);
    expect(thrown(() => mapping.bind({ mode: 999, nodes: [0] })).code).toBe('EINVAL');
    expect(thrown(() => mapping.bind({ mode: MemoryPolicy.BIND, nodes: [1023] })).code).toBe('EINVAL');
    mapping.fill(1, 0, page);
    expect(mapping.nodes(0, 2 * page)).toEqual([0, -2]);
  });

  test('refuses MAP_FIXED, which would map over whatever lies there', () => {
    using all = bound();
    expect(thrown(() => all.gmem.map({ flags: MapFlag.SHARED | 0x10 }))).toBeInstanceOf(RangeError);
    expect(thrown(() => mapAnonymous({ size: page, flags: 0x100002 }))).toBeInstanceOf(RangeError);
  });

  test('populates on request, and cannot map what memory does not suffice for', () => {
    using all = bound();
    using mapping = all.gmem.map({ populate: true });
    expect(mapping.residency()).toEqual([true, true, true, true]);
    expect(thrown(() => mapAnonymous({ size: 1n << 62n })).code).toBe('ENOMEM');
    expect(thrown(() => mapAnonymous({ size: 1n << 62n, alignment: 1 << 21 })).code).toBe('ENOMEM');
    expect(shared).toBe(3);
  });
});
