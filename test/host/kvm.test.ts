import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { capabilities } from '../../lib/kvm/capabilities.ts';
import { Capability } from '../../lib/kvm/constants.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { thrown } from '../helpers/thrown.ts';
import { bound, describeKvm } from './kvm.ts';

const page = pageSize;

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

  test('of a directory, a file and a name with a null byte', () => {
    expect(thrown(() => Kvm.open({ path: '/proc' }))).toMatchObject({ name: 'KvmError', code: 'EISDIR', errno: -21 });
    expect(thrown(() => Kvm.open({ path: process.execPath })).code).toMatch(/^(ENOTTY|ETXTBSY|EACCES|EROFS)$/);
    expect(thrown(() => Kvm.open({ path: '' })).code).toBe('ENOENT');
    expect(thrown(() => Kvm.open({ path: '/dev/kvm/x' })).code).toBe('ENOTDIR');
    const { message, remedy } = thrown(() => Kvm.open({ path: '/nowhere/kvm' }));
    expect(message).toContain('path=/nowhere/kvm');
    expect(remedy).toMatch(/kvm_intel or kvm_amd/);
  });

  test('leaves no descriptor open when it fails', () => {
    const open = () => readdirSync('/proc/self/fd').length;
    const before = open();
    for (let i = 0; i < 10; i++) expect(() => Kvm.open({ path: '/dev/null' })).toThrow(/ENOTTY/);
    expect(open()).toBe(before);
  });

  test('every descriptor is close-on-exec', () => {
    using all = bound();
    using vcpu = all.vm.createVcpu();
    for (const { fd } of [all.kvm, all.vm, all.gmem, vcpu]) {
      const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '';
      expect(Number.parseInt(flags, 8) & 0o2000000).toBe(0o2000000);
    }
  });
});
