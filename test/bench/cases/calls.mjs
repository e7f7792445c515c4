// Kernel calls of a VM and its guest_memfds, against the same calls in C.
import { Capability, GuestMemfdFlag, Kvm, MemoryAttribute, mapAnonymous, VmType } from 'guest-memfd';
import koffi from 'koffi';
import { newVm, noKvm, noMapping, noPrivateMemory, notX86 } from './needs.mjs';

const page = 4096;
const size = 16 * page;
const gpa = 0x1_0000_0000;
const flags = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;

function mappable() {
  return newVm().createGuestMemfd({ size, flags });
}

/** A VM with private memory of so many bytes. */
function privateVm(bytes) {
  const vm = newVm(VmType.SW_PROTECTED);
  const guestMemfd = vm.createGuestMemfd({ size: bytes });
  const mapping = mapAnonymous({ size: bytes });
  vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size: bytes, mapping, guestMemfd });
  return vm;
}

const checkExtension = {
  name: 'check-extension',
  title: 'KVM_CHECK_EXTENSION',
  bars: [
    { against: 'C', most: 1.65 },
    { against: 'koffi', most: 1 },
  ],
  unmet: noKvm,
  open({ baseline }) {
    const kvm = Kvm.open();
    const { fd } = kvm;
    const ioctl = koffi.load(null).func('int ioctl(int fd, unsigned long request, long argument)');
    return {
      contestants: {
        ours(operations) {
          for (let i = 0; i < operations; i++) kvm.checkExtension(Capability.GUEST_MEMFD);
        },
        C: baseline.contestant('check-extension'),
        koffi(operations) {
          for (let i = 0; i < operations; i++)
            if (ioctl(fd, 0xae03, Capability.GUEST_MEMFD) < 0) throw new Error('KVM_CHECK_EXTENSION failed');
        },
      },
      close: () => kvm.close(),
    };
  },
};

const createClose = {
  name: 'create-close',
  title: 'createGuestMemfd + close',
  bars: [{ against: 'C', most: 1.25 }],
  unmet: noMapping,
  open({ baseline }) {
    const vm = newVm();
    return {
      contestants: {
        ours(operations) {
          for (let i = 0; i < operations; i++) vm.createGuestMemfd({ size, flags }).close();
        },
        C: baseline.contestant('create-close', size),
      },
      close: () => vm.close(),
    };
  },
};

const mapClose = {
  name: 'map-close',
  title: 'map + close of 64 KiB',
  bars: [{ against: 'C', most: 1.25 }],
  unmet: noMapping,
  open({ baseline }) {
    const file = mappable();
    return {
      contestants: {
        ours(operations) {
          for (let i = 0; i < operations; i++) file.map().close();
        },
        C: baseline.contestant('map-close', size),
      },
      close: () => file.close(),
    };
  },
};

const punchTouch = {
  name: 'punch-touch',
  title: 'punch 1 page + touch it',
  bars: [{ against: 'C', most: 1.25 }],
  unmet: noMapping,
  open({ baseline }) {
    const file = mappable();
    const mapping = file.map();
    const view = new Uint8Array(mapping.view(0, page));
    return {
      contestants: {
        ours(operations) {
          for (let i = 0; i < operations; i++) {
            file.punchHole(0, page);
            view[0] = 1;
          }
        },
        C: baseline.contestant('punch-touch'),
      },
      close() {
        mapping.close();
        file.close();
      },
    };
  },
};

const attributes = {
  name: 'attributes',
  title: 'setMemoryAttributes of 1 page',
  bars: [{ against: 'C', most: 1.15 }],
  unmet: noPrivateMemory,
  open({ baseline }) {
    const vm = privateVm(size);
    return {
      contestants: {
        ours(operations) {
          for (let i = 0; i < operations; i++)
            vm.setMemoryAttributes({ address: gpa, size: page, attributes: i & 1 ? 0 : MemoryAttribute.PRIVATE });
          vm.setMemoryAttributes({ address: gpa, size: page, attributes: 0 });
        },
        C: baseline.contestant('attributes', size),
      },
      close: () => vm.close(),
    };
  },
};

const attributesBatch = {
  name: 'attributes-batch',
  title: 'setMemoryAttributesOf 100,000 ranges',
  bars: [{ against: 'C', most: 1.03 }],
  unmet: noPrivateMemory,
  open({ baseline, quick }) {
    const ranges = quick ? 1000 : 100_000;
    const vm = privateVm(2 * page * ranges);
    const list = Array.from({ length: ranges }, (_, i) => ({
      address: gpa + 2 * page * i,
      size: page,
      attributes: MemoryAttribute.PRIVATE,
    }));
    const wishes = list.map(({ address, size }) => ({ gpa: address, size, to: 'private' }));
    /** One that measures itself: the way back to shared is not part of it. */
    const contestant = (convert) => async (operations) => {
      let took = 0;
      for (let i = 0; i < operations; i++) {
        const start = performance.now();
        await convert();
        took += performance.now() - start;
        vm.setMemoryAttributes({ address: gpa, size: 2 * page * ranges, attributes: 0 });
      }
      return took * 1e6;
    };
    return {
      contestants: {
        ours: contestant(() => vm.setMemoryAttributesOf(list)),
        C: baseline.contestant('attributes-batch', ranges),
        // No bar: it finds the memslots of each range, what changes there, and tells listeners.
        'memory.convertAll()': contestant(() => vm.memory.convertAll(wishes, { discard: false })),
      },
      operations: 1,
      close: () => vm.close(),
    };
  },
};

/** A vCPU in real mode that leaves with an I/O exit each time: out %al, (%dx); jmp back to it. */
function exitingVcpu() {
  const vm = newVm();
  const ram = mapAnonymous({ size: page });
  ram.write(0, Uint8Array.of(0xee, 0xeb, 0xfd));
  vm.reservePlatformPages(0xfffb_c000);
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, size: page, mapping: ram });
  const vcpu = vm.createVcpu();
  const { cs } = vcpu.specialRegisters();
  vcpu.setSpecialRegisters({ cs: { ...cs, base: 0n, selector: 0 } });
  vcpu.setRegisters({ rip: 0n, rflags: 2n, rdx: 0x10n });
  return vcpu;
}

function mustBeIo({ reason }) {
  if (reason !== 'IO') throw new Error(`the guest left with ${reason}`);
}

const run = {
  name: 'run',
  title: 'guest exit round trip, run()',
  bars: [{ against: 'C', most: 1.15 }],
  unmet: () => notX86() ?? noKvm(),
  open({ baseline }) {
    const vcpu = exitingVcpu();
    return {
      contestants: {
        ours(operations) {
          for (let i = 0; i < operations; i++) mustBeIo(vcpu.run());
        },
        C: baseline.contestant('run'),
      },
      close: () => vcpu.close(),
    };
  },
};

const runAsync = {
  name: 'run-async',
  title: 'the same, runAsync()',
  bars: [{ against: 'run()', as: 'over', most: 40_000 }],
  unmet: () => notX86() ?? noKvm(),
  open() {
    const vcpu = exitingVcpu();
    return {
      contestants: {
        async ours(operations) {
          for (let i = 0; i < operations; i++) mustBeIo(await vcpu.runAsync());
        },
        'run()'(operations) {
          for (let i = 0; i < operations; i++) mustBeIo(vcpu.run());
        },
      },
      close: () => vcpu.close(),
    };
  },
};

export const cases = [checkExtension, createClose, mapClose, punchTouch, attributes, attributesBatch, run, runAsync];
