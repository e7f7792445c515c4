import { expect, test } from 'vitest';
import { Advice, GuestMemfdFlag, MapFlag, MemoryPolicy, Protection } from '../../lib/kvm/constants.ts';
import { MemoryAccessError } from '../../lib/kvm/errors.ts';
import { mapAnonymous } from '../../lib/kvm/mapping.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { thrown } from '../helpers/thrown.ts';
import { bound, describeKvm, gpa, shared } from './kvm.ts';

const page = pageSize;

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
  });

  test.each([
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
    BigInt64Array,
    BigUint64Array,
  ] as const)('reads into, writes from and compares with the part that a $name covers', (Kind) => {
    using ram = mapAnonymous({ size: 2 * page });
    const buffer = new ArrayBuffer(64);
    new Uint8Array(buffer).forEach((_, i, all) => {
      all[i] = i;
    });
    const part = new Kind(buffer, 16, 16 / Kind.BYTES_PER_ELEMENT);
    ram.write(page - 8, part);
    const written = Uint8Array.from({ length: 16 }, (_, i) => 16 + i);
    expect(ram.read(page - 8, 16)).toEqual(written);
    expect(ram.read(page - 9, 1)).toEqual(Uint8Array.of(0));
    expect(ram.read(page + 8, 1)).toEqual(Uint8Array.of(0));
    expect(ram.compare(page - 8, part)).toBe(-1);
    ram.fill(0xee, page, 1);
    expect(ram.compare(page - 8, part)).toBe(8);
    expect(ram.read(page - 8, part)).toBe(part);
    expect(new Uint8Array(buffer)).toEqual(Uint8Array.from({ length: 64 }, (_, i) => (i === 24 ? 0xee : i)));
  });

  test('takes DataView, ArrayBuffer, SharedArrayBuffer and views of another mapping', () => {
    using ram = mapAnonymous({ size: page });
    using other = mapAnonymous({ size: page });
    other.fill(0x17);
    for (const [i, from] of [
      new DataView(new ArrayBuffer(8), 4),
      new ArrayBuffer(4),
      new SharedArrayBuffer(4),
      other.view(0, 4),
    ].entries()) {
      ram.fill(0xff);
      ram.write(8 * i, from);
      expect(ram.read(8 * i, 5)).toEqual(
        i === 3 ? Uint8Array.of(0x17, 0x17, 0x17, 0x17, 0xff) : Uint8Array.of(0, 0, 0, 0, 0xff),
      );
      expect(ram.compare(8 * i, from)).toBe(-1);
    }
    const view = new DataView(new SharedArrayBuffer(4));
    ram.fill(0x21);
    ram.read(0n, view);
    expect(view.getUint32(0)).toBe(0x21212121);
    expect(ram.read(0, 2n)).toEqual(Uint8Array.of(0x21, 0x21));
  });

  test('of no bytes is fine everywhere, the end included', () => {
    using all = bound();
    const { mapping, size } = all;
    const none = new Uint8Array(0);
    for (const at of [0, 1, size]) {
      expect(mapping.read(at, 0)).toEqual(none);
      mapping.write(at, none);
      mapping.fill(1, at, 0);
      expect(mapping.compare(at, none)).toBe(-1);
      const view = mapping.view(at, 0);
      expect(view.byteLength).toBe(0);
      mapping.detachViews(at, 0);
    }
    expect(mapping.residency(0, 0)).toEqual([]);
    expect(mapping.nodes(0, 0)).toEqual([]);
    expect(mapping.compare(0, new Uint8Array(size))).toBe(-1);
  });

  test('an error inside a slot names the guest physical address, one outside of it does not', () => {
    using all = bound();
    using longer = all.gmem.map({ length: 8 * page });
    using second = all.vm.createGuestMemfd({ size: 2 * page, flags: shared });
    all.vm.setUserMemoryRegion({
      slot: 4,
      guestPhysAddr: 3 * gpa,
      size: page,
      mapping: longer,
      mappingOffset: 5 * page,
    });
    expect(thrown(() => longer.read(5 * page + 12, 1))).toMatchObject({
      guestPhysAddr: BigInt(3 * gpa + 12),
      bytesDone: 0,
    });
    expect(thrown(() => longer.read(4 * page, 1)).guestPhysAddr).toBeUndefined();
    expect(thrown(() => longer.read(6 * page, 1)).guestPhysAddr).toBeUndefined();
    all.vm.deleteUserMemoryRegion(4);
    expect(thrown(() => longer.read(5 * page, 1)).guestPhysAddr).toBeUndefined();
    expect(second.closed).toBe(false);
  });

  test('what a failed access has done before stays done, and nothing after', () => {
    using all = bound(1);
    using mapping = all.gmem.map({ length: 2 * page });
    mapping.fill(1, 0, page);
    expect(thrown(() => mapping.fill(2, page - 3, 10))).toMatchObject({
      operation: 'fill',
      offset: page,
      bytesDone: 3,
    });
    expect(mapping.read(page - 4, 4)).toEqual(Uint8Array.of(1, 2, 2, 2));
    expect(thrown(() => mapping.write(page - 2, Uint8Array.of(8, 9, 10)))).toMatchObject({
      operation: 'write',
      bytesDone: 2,
    });
    expect(mapping.read(page - 4, 4)).toEqual(Uint8Array.of(1, 2, 8, 9));
    const into = new Uint8Array(6).fill(0xcc);
    expect(thrown(() => mapping.read(page - 4, into))).toMatchObject({ operation: 'read', offset: page, bytesDone: 4 });
    expect(into).toEqual(Uint8Array.of(1, 2, 8, 9, 0xcc, 0xcc));
    // A byte that differs is found before the page that cannot be read.
    expect(mapping.compare(page - 4, Uint8Array.of(1, 2, 7, 9, 0))).toBe(2);
    expect(thrown(() => mapping.compare(page - 4, Uint8Array.of(1, 2, 8, 9, 0)))).toMatchObject({
      operation: 'compare',
      offset: page,
      bytesDone: 4,
    });
    expect(thrown(() => mapping.view(0, page + 1))).toMatchObject({ operation: 'view', code: 'ERR_MEMORY_ACCESS' });
  });

  test('a protection is for the pages it was given for, and can be taken back', () => {
    using ram = mapAnonymous({ size: 3 * page });
    ram.protect(Protection.NONE, page, page);
    expect(thrown(() => ram.read(page - 1, 2))).toMatchObject({ offset: page, bytesDone: 1 });
    expect(thrown(() => ram.fill(1))).toMatchObject({ offset: page, bytesDone: page });
    ram.fill(1, 2 * page, page);
    ram.protect(Protection.READ | Protection.WRITE, page, page);
    ram.fill(1);
    expect(thrown(() => ram.protect(Protection.READ, 1, page))).toMatchObject({ code: 'EINVAL', syscall: 'mprotect' });
    expect(thrown(() => ram.residency(1, page))).toMatchObject({ code: 'EINVAL', syscall: 'mincore' });
    expect(thrown(() => ram.bind({ mode: MemoryPolicy.BIND, nodes: [0], offset: 1, length: page }))).toMatchObject({
      code: 'EINVAL',
      syscall: 'mbind',
    });
  });

  test('a policy is for the range it was given for', () => {
    using ram = mapAnonymous({ size: 3 * page });
    ram.bind({ mode: MemoryPolicy.BIND, nodes: [0], offset: page, length: page });
    expect([0, page, 2 * page - 1, 2 * page].map((at) => ram.policy(at).mode)).toEqual([
      MemoryPolicy.DEFAULT,
      MemoryPolicy.BIND,
      MemoryPolicy.BIND,
      MemoryPolicy.DEFAULT,
    ]);
    expect(ram.nodes()).toEqual([-2, -2, -2]);
    ram.fill(1, page, 1);
    expect(ram.nodes()).toEqual([-2, 0, -2]);
    expect(ram.residency(page)).toEqual([true, false]);
  });

  test('private memory becomes no more readable by asking the kernel to populate it', () => {
    using all = bound();
    using secret = all.vm.createGuestMemfd({ size: page, flags: GuestMemfdFlag.MMAP });
    using mapping = secret.map();
    expect(thrown(() => mapping.advise(Advice.POPULATE_READ))).toMatchObject({ code: 'EFAULT', syscall: 'madvise' });
    secret.allocate(0, page);
    expect(thrown(() => mapping.read(0, 1))).toBeInstanceOf(MemoryAccessError);
    for (let i = 0; i < 1000; i++) expect(() => mapping.fill(1)).toThrow(MemoryAccessError);
  });
});
