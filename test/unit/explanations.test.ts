import { describe, expect, test } from 'vitest';
import { type CallArguments, KvmError } from '../../lib/kvm/errors.ts';
import { explain } from '../../lib/kvm/explanations.ts';

const region = { slot: 1, flags: 0, guestPhysAddr: 4096, size: 4096, userspaceAddr: 4096, guestMemfdOffset: 0 };
const attributes = { address: 4096, size: 4096, attributes: 8, flags: 0 };
const memfd = { size: 4096, flags: 0 };

type Row = [syscall: string, code: string, args: CallArguments, reason: RegExp, remedy?: RegExp];

// Every cause that lib/kvm/explanations.ts knows.
const rows: Row[] = [
  ['open(/dev/kvm)', 'ENOENT', {}, /no KVM device/, /kvm_intel or kvm_amd/],
  ['open(/dev/kvm)', 'EACCES', {}, /may not open/, /group \(usually kvm\)/],
  ['open(/dev/kvm)', 'EPERM', {}, /device policy/, /--device \/dev\/kvm/],
  ['open(/dev/kvm)', 'ENODEV', {}, /no KVM driver/, /Load/],
  ['open(/dev/kvm)', 'ENXIO', {}, /no KVM driver/, /Load/],
  ['ioctl(KVM_GET_API_VERSION)', 'ENOTTY', {}, /not a KVM device/],
  ['ioctl(KVM_CREATE_VM)', 'EINVAL', { type: 31 }, /not offer that VM type/, /VM_TYPES/],
  ['ioctl(KVM_CREATE_GUEST_MEMFD)', 'ENOTTY', memfd, /no guest_memfd/, /6\.8/],
  ['ioctl(KVM_CREATE_GUEST_MEMFD)', 'EINVAL', { ...memfd, size: 0 }, /above 0 and below 2\^63/],
  ['ioctl(KVM_CREATE_GUEST_MEMFD)', 'EINVAL', { ...memfd, size: 1n << 63n }, /above 0 and below 2\^63/],
  ['ioctl(KVM_CREATE_GUEST_MEMFD)', 'EINVAL', { ...memfd, size: 4097 }, /multiple of the page size/],
  ['ioctl(KVM_CREATE_GUEST_MEMFD)', 'EINVAL', { ...memfd, flags: 4 }, /flags 4 /, /GUEST_MEMFD_FLAGS/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION2)', 'ENOTTY', region, /no KVM_SET_USER_MEMORY_REGION2/, /6\.8/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION2)', 'EEXIST', region, /overlaps/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION2)', 'EBADF', region, /not an open file/],
  [
    'ioctl(KVM_SET_USER_MEMORY_REGION2)',
    'EINVAL',
    { ...region, guestPhysAddr: 1 },
    /guestPhysAddr is not page-aligned/,
  ],
  ['ioctl(KVM_SET_USER_MEMORY_REGION2)', 'EINVAL', { ...region, size: 4095 }, /size is not page-aligned/],
  [
    'ioctl(KVM_SET_USER_MEMORY_REGION2)',
    'EINVAL',
    { ...region, userspaceAddr: 5n },
    /userspaceAddr is not page-aligned/,
  ],
  ['ioctl(KVM_SET_USER_MEMORY_REGION2)', 'EINVAL', { ...region, guestMemfdOffset: 9 }, /guestMemfdOffset is not/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION2)', 'EINVAL', { ...region, flags: 8 }, /no kernel knows/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION2)', 'EINVAL', { ...region, flags: 5 }, /neither log dirty pages nor be read-only/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION2)', 'EINVAL', { ...region, flags: 6 }, /neither log dirty pages nor be read-only/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION2)', 'EINVAL', { ...region, size: 0 }, /no such slot/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION2)', 'EINVAL', { ...region, flags: 4 }, /not a guest_memfd of this VM/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION2)', 'EINVAL', region, /delete and create/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION)', 'EEXIST', region, /overlaps/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION)', 'EINVAL', { ...region, size: 1 }, /size is not page-aligned/],
  ['ioctl(KVM_SET_USER_MEMORY_REGION)', 'EINVAL', { ...region, flags: 4 }, /only LOG_DIRTY_PAGES and READONLY/],
  [
    'ioctl(KVM_SET_MEMORY_ATTRIBUTES)',
    'ENOTTY',
    attributes,
    /no per-VM memory attributes/,
    /CONFIG_KVM_SW_PROTECTED_VM/,
  ],
  ['ioctl(KVM_SET_MEMORY_ATTRIBUTES)', 'EINVAL', { ...attributes, address: 1 }, /address is not page-aligned/],
  ['ioctl(KVM_SET_MEMORY_ATTRIBUTES)', 'EINVAL', { ...attributes, size: 1 }, /size is not page-aligned/],
  ['ioctl(KVM_SET_MEMORY_ATTRIBUTES)', 'EINVAL', { ...attributes, size: 0 }, /size is 0/],
  ['ioctl(KVM_SET_MEMORY_ATTRIBUTES)', 'EINVAL', attributes, /does not support those/, /MEMORY_ATTRIBUTES/],
  ['ioctl(KVM_SET_MEMORY_ATTRIBUTES2)', 'ENOTTY', attributes, /in-place conversion/, /gmem_in_place_conversion/],
  ['ioctl(KVM_SET_MEMORY_ATTRIBUTES2)', 'EAGAIN', attributes, /pinned/],
  ['ioctl(KVM_PRE_FAULT_MEMORY)', 'ENOTTY', {}, /cannot pre-fault/, /6\.11/],
  ['ioctl(KVM_PRE_FAULT_MEMORY)', 'EOPNOTSUPP', {}, /nested paging/],
  ['ioctl(KVM_PRE_FAULT_MEMORY)', 'ENOENT', {}, /no memslot/],
  ['ioctl(KVM_PRE_FAULT_MEMORY)', 'EAGAIN', {}, /being changed/],
  ['ioctl(KVM_RUN)', 'EFAULT', {}, /did not say which/],
  ['ioctl(KVM_RUN)', 'EAGAIN', {}, /waiting to be started/],
  ['ioctl(KVM_RUN)', 'ENOEXEC', {}, /not been initialised/],
  ['mmap', 'ENODEV', {}, /without GuestMemfdFlag\.MMAP/],
  ['mmap', 'EPERM', {}, /executable/],
  ['mmap', 'EINVAL', {}, /MAP_SHARED/],
  ['mmap', 'ENOMEM', {}, /vm\.max_map_count/],
  ['fallocate', 'EOPNOTSUPP', {}, /KEEP_SIZE/],
  ['fallocate', 'EINVAL', {}, /not page-aligned/],
  ['fallocate', 'ENOMEM', {}, /cgroup/],
  ['madvise', 'EINVAL', {}, /does not take that advice/],
  ['mbind', 'EINVAL', {}, /unknown policy/],
  ['mbind', 'ENOSYS', {}, /without NUMA/],
  ['ioctl(KVM_CREATE_VCPU)', 'EIO', {}, /after fork/],
  ['ioctl(KVM_ENABLE_CAP)', 'EBADF', {}, /closed behind this object/],
  ['ioctl(KVM_RUN)', 'EPERM', {}, /security policy/],
];

const numbers: Record<string, number> = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOTTY: 25,
  ENOEXEC: 8,
  ENOSYS: 38,
  EOPNOTSUPP: 95,
};

describe('explanations', () => {
  test.each(rows)('%s %s %o', (syscall, code, args, reason, remedy) => {
    const error = new KvmError(-(numbers[code] ?? 0), syscall, args);
    expect(error.code).toBe(code);
    expect(error.reason).toMatch(reason);
    if (remedy) expect(error.remedy).toMatch(remedy);
    else expect(error.remedy).toBeUndefined();
    expect(error.message.startsWith(`${syscall}: ${code}`)).toBe(true);
    expect(error.message).toContain(error.reason);
  });

  test('are not made up for what is not known', () => {
    for (const [syscall, code] of [
      ['ioctl(KVM_CREATE_VM)', 'EMFILE'],
      ['mincore', 'EINVAL'],
      ['fallocate', 'EIO'],
      ['mmap', 'EBADF'],
      ['', ''],
    ] as const)
      expect(explain(syscall, code, {}), `${syscall} ${code}`).toEqual({});
    expect(explain('ioctl(KVM_SET_USER_MEMORY_REGION)', 'EINVAL', region)).toEqual({});
  });

  test('an error made without arguments can be made', () => {
    for (const [syscall, code] of rows) {
      const error = new KvmError(numbers[code] ?? 0, syscall);
      expect(error.message.startsWith(`${syscall}: ${code}`)).toBe(true);
      expect(error.arguments).toEqual({});
    }
  });
});
