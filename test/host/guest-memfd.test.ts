import { expect, test } from 'vitest';
import { Capability, MapFlag, Protection } from '../../lib/kvm/constants.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { thrown } from '../helpers/thrown.ts';
import { bound, describeKvm } from './kvm.ts';

const page = pageSize;

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

  test('takes the sizes that the kernel takes, and no others', () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    for (const size of [page, 3 * page, 1 << 30, 2 ** 40, 1n << 62n]) {
      using gmem = vm.createGuestMemfd({ size });
      expect(gmem.stat().size).toBe(BigInt(size));
      expect([gmem.size, gmem.mappable]).toEqual([size === 1n << 62n ? 1n << 62n : Number(size), false]);
    }
    for (const size of [0, 1, page - 1, page + 1, 1n << 63n, (1n << 64n) - BigInt(page)])
      expect(
        thrown(() => vm.createGuestMemfd({ size })),
        String(size),
      ).toMatchObject({
        code: 'EINVAL',
        syscall: 'ioctl(KVM_CREATE_GUEST_MEMFD)',
        reason: expect.stringMatching(/^the size/),
      });
  });

  test('takes just the flags that its capability tells', () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    const known = BigInt(vm.checkExtension(Capability.GUEST_MEMFD_FLAGS));
    for (let bit = 0n; bit < 64n; bit++) {
      const flags = 1n << bit;
      if ((known & flags) !== 0n) vm.createGuestMemfd({ size: page, flags }).close();
      else
        expect(
          thrown(() => vm.createGuestMemfd({ size: page, flags })),
          `bit ${bit}`,
        ).toMatchObject({ code: 'EINVAL' });
    }
  });

  test('each has a file of its own', () => {
    using all = bound();
    using other = all.vm.createGuestMemfd({ size: page });
    expect(other.stat().inode).not.toBe(all.gmem.stat().inode);
    expect(other.stat().mode & 0o170777n).toBe(0o100600n);
    expect(other.fd).not.toBe(all.gmem.fd);
    expect(other.vm).toBe(all.vm);
  });

  test('allocates without changing what is there, and punches holes that read as zero', () => {
    using all = bound();
    const { gmem, mapping, size } = all;
    mapping.fill(0x66);
    gmem.allocate(0, size);
    expect(mapping.compare(0, new Uint8Array(size).fill(0x66))).toBe(-1);
    gmem.punchHole(page, page);
    const holed = new Uint8Array(size).fill(0x66).fill(0, page, 2 * page);
    expect(mapping.compare(0, holed)).toBe(-1);
    gmem.punchHole(size, page); // beyond the file: nothing to do
    for (const [offset, length] of [
      [1, page],
      [0, 1],
      [0, 0],
    ] as const) {
      expect(thrown(() => gmem.punchHole(offset, length)).code).toBe('EINVAL');
      expect(thrown(() => gmem.allocate(offset, length)).code).toBe('EINVAL');
    }
    expect(thrown(() => gmem.allocate(size, page))).toMatchObject({ code: 'EINVAL', syscall: 'fallocate' });
    expect(mapping.compare(0, holed)).toBe(-1);
  });

  test('can be mapped in parts, and more than once', () => {
    using all = bound();
    using tail = all.gmem.map({ offset: 2 * page });
    using middle = all.gmem.map({ offset: page, length: page });
    expect([tail.length, tail.fileOffset, middle.length]).toEqual([2 * page, BigInt(2 * page), page]);
    all.mapping.write(3 * page, Uint8Array.of(3));
    tail.write(0, Uint8Array.of(2));
    middle.fill(1);
    expect(tail.read(page, 1)).toEqual(Uint8Array.of(3));
    expect(all.mapping.read(2 * page - 1, 2)).toEqual(Uint8Array.of(1, 2));
    using odd = all.gmem.map({ length: page + 1 });
    expect(odd.length).toBe(2 * page); // the kernel maps whole pages
    expect(thrown(() => all.gmem.map({ offset: 1 })).code).toBe('EINVAL');
    expect(thrown(() => all.gmem.map({ offset: all.size })).code).toBe('EINVAL'); // nothing is left
    expect(thrown(() => all.gmem.map({ protection: Protection.READ | Protection.EXEC }))).toMatchObject({
      code: 'EPERM',
      reason: expect.stringMatching(/executable/),
    });
  });
});
