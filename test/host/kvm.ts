import { readFileSync } from 'node:fs';
import { describe } from 'vitest';
import { Capability, GuestMemfdFlag } from '../../lib/kvm/constants.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { pageSize } from '../../lib/kvm/native.ts';

export const shared = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;

function whyNot(): string | undefined {
  try {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    return (vm.checkExtension(Capability.GUEST_MEMFD_FLAGS) & shared) === shared
      ? undefined
      : 'this kernel has no guest_memfd that can be mapped (before 6.18)';
  } catch (error) {
    return (error as Error).message;
  }
}

/** Why tests cannot have VMs with guest_memfds that are mapped, or undefined where they can. */
export const withoutKvm = whyNot();
if (withoutKvm && process.env['GMEM_REQUIRE_KVM'] === '1') throw new Error(`GMEM_REQUIRE_KVM=1, but: ${withoutKvm}`);
if (withoutKvm) console.warn(`host tests are skipped: ${withoutKvm}`);

/** A group of tests that need a real KVM: skipped, with the reason in the name, where there is none. */
export function describeKvm(name: string, tests: () => void): void {
  describe.skipIf(withoutKvm)(withoutKvm ? `${name} (skipped: ${withoutKvm})` : name, tests);
}

export const gpa = 0x1_0000_0000;
/** An address that a guest can reach and no memslot covers. */
export const nowhere = 0x8_0000_0000;

/** A VM with shared guest_memfd memory of `pages` pages bound at 4 GiB. */
export function bound(pages = 4) {
  const size = pages * pageSize;
  const kvm = Kvm.open();
  const vm = kvm.createVm();
  const gmem = vm.createGuestMemfd({ size, flags: shared });
  const mapping = gmem.map();
  vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
  const all = { kvm, vm, gmem, mapping };
  return {
    ...all,
    size,
    [Symbol.dispose]() {
      for (const one of Object.values(all).reverse()) one.close();
    },
  };
}

/** Mappings of guest_memfds that this process has. */
export function gmemMappings(): number {
  return readFileSync('/proc/self/maps', 'latin1')
    .split('\n')
    .filter((line) => /kvm-gmem|guest_memfd(?!\.node)/.test(line)).length;
}

/** Waits for finalizers: collects until `done` or the tries are used up. */
export async function collect(done: () => boolean): Promise<boolean> {
  for (let i = 0; i < 50 && !done(); i++) {
    (globalThis as { gc?: () => void }).gc?.();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return done();
}
