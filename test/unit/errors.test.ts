import { describe, expect, test } from 'vitest';
import { checked, errnoName, KvmError, MemoryAccessError } from '../../lib/kvm/errors.ts';

describe('KvmError', () => {
  test('looks like a system error of Node and tells the call, its arguments, the cause and the remedy', () => {
    const error = new KvmError(-22, 'ioctl(KVM_CREATE_GUEST_MEMFD)', { size: 4096, flags: 1n << 63n });
    expect(error).toMatchObject({
      name: 'KvmError',
      code: 'EINVAL',
      errno: -22,
      syscall: 'ioctl(KVM_CREATE_GUEST_MEMFD)',
    });
    expect(error.message).toBe(
      'ioctl(KVM_CREATE_GUEST_MEMFD): EINVAL (size=0x1000, flags=0x8000000000000000): flags 9223372036854775808 are not all supported for this VM. vm.checkExtension(Capability.GUEST_MEMFD_FLAGS) tells which are',
    );
    expect(error.arguments).toEqual({ size: 4096, flags: 1n << 63n });
  });

  test('guesses nothing where nothing is known', () => {
    const error = new KvmError(5, 'mincore', {});
    expect(error.message).toBe('mincore: EIO');
    expect([error.reason, error.remedy]).toEqual([undefined, undefined]);
  });

  test('explains by the arguments', () => {
    const region = {
      slot: 1,
      flags: 4,
      guestPhysAddr: 0,
      size: 4096,
      userspaceAddr: 0,
      guestMemfd: 7,
      guestMemfdOffset: 0,
    };
    const reason = (changes: object) =>
      new KvmError(22, 'ioctl(KVM_SET_USER_MEMORY_REGION2)', { ...region, ...changes }).reason;
    expect(reason({ guestMemfdOffset: 5 })).toMatch(/guestMemfdOffset is not page-aligned/);
    expect(reason({ flags: 8 })).toMatch(/no kernel knows/);
    expect(reason({ flags: 5 })).toMatch(/neither log dirty pages/);
    expect(reason({ size: 0 })).toMatch(/no such slot/);
    expect(reason({})).toMatch(/not a guest_memfd of this VM/);
    expect(reason({ flags: 0 })).toMatch(/delete and create/);
    expect(new KvmError(5, 'ioctl(KVM_SET_MEMORY_ATTRIBUTES)', region).reason).toMatch(/after fork/);
    expect(new KvmError(13, 'open(/dev/kvm)').remedy).toMatch(/group/);
  });

  test('errnos go by their Linux names', () => {
    expect([-22, 133, 95, 11, 8, -25].map(errnoName)).toEqual([
      'EINVAL',
      'EHWPOISON',
      'EOPNOTSUPP',
      'EAGAIN',
      'ENOEXEC',
      'ENOTTY',
    ]);
  });

  test('checked passes on what is no error', () => {
    expect(checked(0, 'x')).toBe(0);
    expect(checked(7, 'x')).toBe(7);
    expect(() => checked(-1, 'x')).toThrow(KvmError);
  });

  test('MemoryAccessError tells where', () => {
    const error = new MemoryAccessError('read', 4096, 10, 0x1_0000_1000n);
    expect(error).toMatchObject({
      name: 'MemoryAccessError',
      offset: 4096,
      bytesDone: 10,
      guestPhysAddr: 0x1_0000_1000n,
    });
    expect(error.message).toMatch(/cannot read at offset 0x1000 \(guest physical address 0x100001000\).*10 bytes/);
  });
});
