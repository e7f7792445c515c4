import { Capability, GuestMemfdFlag, VmType } from '../kvm/constants.ts';
import { conversionModel } from '../kvm/conversion-model.ts';
import { KvmError } from '../kvm/errors.ts';
import type { Kvm } from '../kvm/kvm.ts';
import { mapAnonymous } from '../kvm/mapping.ts';
import { pageSize } from '../kvm/native.ts';
import type { Vm } from '../kvm/vm.ts';
import type { MemoryMap } from './map.ts';
import { memoryOf } from './memory.ts';

const gpa = 0x1_0000_0000;
const pages = 512;

/** A VM whose memory can be converted, or else the plainest one. */
function bestVm(kvm: Kvm): Vm {
  try {
    return kvm.createVm({ type: VmType.SW_PROTECTED });
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    return kvm.createVm();
  }
}

/**
 * Makes a VM with 512 pages under a memslot with guest_memfd, 64 without, and a gap between; converts a checkerboard, a block
 * and single pages where it can; touches some of it; and gives the map.
 *
 * @throws {KvmError} where no VM with guest_memfd can be made
 */
export async function demoMap(kvm: Kvm): Promise<MemoryMap> {
  using vm = bestVm(kvm);
  const { model } = conversionModel(vm);
  const size = pages * pageSize;
  const bothStates = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;
  // A guest_memfd that can be mapped would be the only pool there is.
  const flags = model === 'two-pool' ? 0 : vm.checkExtension(Capability.GUEST_MEMFD_FLAGS) & bothStates;
  using gmem = vm.createGuestMemfd({ size, flags });
  using shared = flags === bothStates ? gmem.map() : mapAnonymous({ size });
  vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping: shared, guestMemfd: gmem });
  using plain = mapAnonymous({ size: 64 * pageSize });
  vm.setUserMemoryRegion({ slot: 2, guestPhysAddr: gpa + size + 64 * pageSize, size: 64 * pageSize, mapping: plain });
  const memory = memoryOf(vm);
  plain.fill(1, 0, 32 * pageSize);
  shared.fill(1, 0, 448 * pageSize);
  if (model !== 'none') {
    const checkerboard = Array.from({ length: 128 }, (_, i) => 2 * i + (Math.floor(i / 32) % 2));
    await memory.convertAll([
      ...checkerboard.map((page) => ({ gpa: gpa + page * pageSize, size: pageSize, to: 'private' as const })),
      { gpa: gpa + 320 * pageSize, size: 64 * pageSize, to: 'private' },
      ...[449, 460, 505].map((page) => ({ gpa: gpa + page * pageSize, size: pageSize, to: 'private' as const })),
    ]);
    memory.discard(gpa + 330 * pageSize, 16 * pageSize);
  }
  return memory.map();
}
