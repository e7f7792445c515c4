import { expect, test } from 'vitest';
import { capabilities } from '../../lib/kvm/capabilities.ts';
import { Capability } from '../../lib/kvm/constants.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { describeKvm } from './kvm.ts';

describeKvm('capabilities', () => {
  test('of the device are those that it gives when asked one by one', () => {
    using kvm = Kvm.open();
    const report = capabilities(kvm);
    expect(report).toMatchObject({ of: 'device', apiVersion: 12, vcpuMmapSize: kvm.vcpuMmapSize() });
    for (const { name, number, value } of report.answers) {
      expect(number).toBe(Capability[name]);
      expect({ name, value }).toEqual({ name, value: kvm.checkExtension(number) });
      expect(report.raw[name]).toBe(value);
    }
    expect(report.answers).toHaveLength(Object.keys(Capability).length);
  });

  test('of a VM are its own', () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    const report = capabilities(vm);
    expect(report).toMatchObject({ of: 'vm', guestMemfd: true, memoryAttributes: [], apiVersion: undefined });
    for (const { number, value } of report.answers) expect(value).toBe(vm.checkExtension(number));
  });

  test('name every VM type that can be created', () => {
    using kvm = Kvm.open();
    const { vmTypes, raw } = capabilities(kvm);
    for (const { type } of vmTypes) {
      using vm = kvm.createVm({ type });
      expect(vm.type).toBe(type);
    }
    if (process.arch === 'x64') expect(vmTypes.map(({ type }) => type)).toContain(0);
    expect(vmTypes.reduce((mask, { type }) => mask | (1 << type), 0)).toBe(raw.VM_TYPES);
  });

  test('can be printed as JSON as they are', () => {
    using kvm = Kvm.open();
    const { of, answers } = JSON.parse(JSON.stringify(capabilities(kvm)));
    expect(of).toBe('device');
    expect(answers[0]).toEqual({ name: 'USER_MEMORY', number: 3, value: 1, meaning: 'available' });
  });
});
