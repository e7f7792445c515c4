import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { GuestAgent } from '../../lib/guest/agent.ts';
import { Capability, MemoryRegionFlag } from '../../lib/kvm/constants.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { mapAnonymous } from '../../lib/kvm/mapping.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { thrown } from '../helpers/thrown.ts';
import { bound, describeKvm, gpa } from './kvm.ts';

const page = pageSize;

/** Whether something of this process lies at an address. */
function isMapped(address: bigint): boolean {
  return readFileSync('/proc/self/maps', 'latin1')
    .split('\n')
    .map((line) => /^([0-9a-f]+)-([0-9a-f]+) /.exec(line))
    .some((found) => found && BigInt(`0x${found[1]}`) <= address && address < BigInt(`0x${found[2]}`));
}

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

  test('refuses what no memslot may be, and says which rule it breaks', () => {
    using all = bound();
    const { vm, mapping, gmem } = all;
    using other = bound();
    using readOnly = vm.createGuestMemfd({ size: page });
    const region = { slot: 2, guestPhysAddr: 2 * gpa, size: page, mapping };
    const withMemfd = { ...region, guestMemfd: readOnly, size: page };
    const before = [...vm.slots.values()];
    const rules: [object, code: string, reason: RegExp][] = [
      [{ ...region, guestPhysAddr: 2 * gpa + 1 }, 'EINVAL', /guestPhysAddr is not page-aligned/],
      [{ ...region, size: page - 1 }, 'EINVAL', /size is not page-aligned/],
      [{ ...region, mappingOffset: 1 }, 'EINVAL', /userspaceAddr is not page-aligned/],
      [{ ...region, flags: 1 << 20 }, 'EINVAL', /a flag that no kernel knows/],
      [{ ...region, size: 0 }, 'EINVAL', /no such slot/],
      [{ ...region, slot: 0xffff }, 'EINVAL', /slot number/],
      [{ ...region, slot: 0xffff_ffff }, 'EINVAL', /slot number/],
      [{ ...region, guestPhysAddr: (1n << 64n) - BigInt(page) }, 'EINVAL', /out of range/],
      [{ ...region, guestPhysAddr: gpa + page }, 'EEXIST', /overlaps/],
      [{ ...region, guestPhysAddr: gpa - page, size: 2 * page }, 'EEXIST', /overlaps/],
      [{ ...withMemfd, flags: MemoryRegionFlag.LOG_DIRTY_PAGES }, 'EINVAL', /neither log dirty pages/],
      [{ ...withMemfd, flags: MemoryRegionFlag.READONLY }, 'EINVAL', /nor be read-only/],
      [{ ...withMemfd, guestMemfdOffset: 1 }, 'EINVAL', /guestMemfdOffset is not page-aligned/],
      [{ ...withMemfd, guestMemfdOffset: page }, 'EINVAL', /ends beyond its size/],
      [{ ...withMemfd, guestMemfd: other.gmem }, 'EINVAL', /not a guest_memfd of this VM/],
      [{ ...withMemfd, guestMemfd: vm.fd }, 'EINVAL', /not a guest_memfd/],
      [{ ...withMemfd, guestMemfd: -1 }, 'EBADF', /not an open file descriptor/],
      [{ ...withMemfd, guestMemfd: 0x7fff_ffff }, 'EBADF', /not an open file descriptor/],
      [{ ...withMemfd, legacy: true }, 'EINVAL', /older ioctl/],
      [{ ...region, flags: 1 << 20, legacy: true }, 'EINVAL', /older ioctl/],
    ];
    for (const [change, code, reason] of rules) {
      const error = thrown(() => vm.setUserMemoryRegion(change as typeof region));
      const { legacy = false } = change as { legacy?: boolean };
      const told = `${error.code} ${error.reason}`;
      expect(error, told).toMatchObject({ name: 'KvmError', code, reason: expect.stringMatching(reason) });
      expect(error.syscall).toBe(`ioctl(KVM_SET_USER_MEMORY_REGION${legacy ? '' : '2'})`);
    }
    const again = thrown(() => vm.setUserMemoryRegion({ ...region, guestMemfd: gmem }));
    expect(['EINVAL', 'EEXIST']).toContain(again.code); // EEXIST since 7.x
    expect([...vm.slots.values()]).toEqual(before);
  });

  test('moves and changes a slot under a guest that runs', () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    using ram = mapAnonymous({ size: 2 * page });
    using agent = GuestAgent.create(vm);
    const region = { slot: 3, guestPhysAddr: gpa, size: page, mapping: ram };
    vm.setUserMemoryRegion(region);
    agent.store(gpa, 0x77);
    vm.setUserMemoryRegion({ ...region, guestPhysAddr: gpa + page });
    expect(agent.load(gpa + page)).toBe(0x77n);
    expect(() => agent.load(gpa)).toThrow(/MMIO/);
    vm.setUserMemoryRegion({ ...region, guestPhysAddr: gpa + page, flags: MemoryRegionFlag.LOG_DIRTY_PAGES });
    agent.store(gpa + page, 0x78);
    expect(ram.read(0, 1)).toEqual(Uint8Array.of(0x78));
    vm.deleteUserMemoryRegion(3);
    expect(() => agent.load(gpa + page)).toThrow(/MMIO/);
    // Another place in the mapping needs a slot of its own.
    vm.setUserMemoryRegion({ ...region, mappingOffset: page });
    agent.store(gpa, 0x79);
    expect(ram.read(page, 1)).toEqual(Uint8Array.of(0x79));
    expect(thrown(() => vm.setUserMemoryRegion({ ...region, mappingOffset: 0 }))).toMatchObject({
      code: 'EINVAL',
      reason: expect.stringMatching(/delete and create/),
    });
  });

  test('a read-only slot is a device to stores', () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    using ram = mapAnonymous({ size: page });
    ram.fill(0x31);
    vm.setUserMemoryRegion({ slot: 3, guestPhysAddr: gpa, size: page, mapping: ram, flags: MemoryRegionFlag.READONLY });
    using agent = GuestAgent.create(vm);
    expect(agent.load(gpa, 1)).toBe(0x31n);
    const { exit } = agent.run([{ op: 'store', gpa, value: 1, width: 1 }]);
    expect(exit).toMatchObject({ reason: 'MMIO', isWrite: true, guestPhysAddr: BigInt(gpa) });
    expect(ram.read(0, 1)).toEqual(Uint8Array.of(0x31));
  });

  test('holds the addresses behind a slot until the slot, and the last vCPU, is gone', () => {
    using kvm = Kvm.open();
    const vm = kvm.createVm();
    const ram = mapAnonymous({ size: page });
    const { address } = ram;
    vm.setUserMemoryRegion({ slot: 3, guestPhysAddr: gpa, size: page, mapping: ram });
    using agent = GuestAgent.create(vm);
    agent.store(gpa, 5);
    ram.close();
    expect(isMapped(address)).toBe(true);
    vm.close();
    expect(isMapped(address)).toBe(true); // the vCPU can still run
    agent.close();
    expect(isMapped(address)).toBe(false);

    using second = kvm.createVm();
    const first = mapAnonymous({ size: page });
    second.setUserMemoryRegion({ slot: 3, guestPhysAddr: gpa, size: page, mapping: first });
    first.close();
    expect(isMapped(first.address)).toBe(true);
    second.deleteUserMemoryRegion(3);
    expect(isMapped(first.address)).toBe(false);
  });

  test('a bare host address serves as well as a mapping', () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    using ram = mapAnonymous({ size: page });
    vm.setUserMemoryRegion({ slot: 3, guestPhysAddr: gpa, size: page, userspaceAddr: ram.address });
    using agent = GuestAgent.create(vm);
    agent.store(gpa, 0x41, 1);
    expect(ram.read(0, 1)).toEqual(Uint8Array.of(0x41));
    expect(vm.slots.get(3)?.mapping).toBeUndefined();
  });
});
