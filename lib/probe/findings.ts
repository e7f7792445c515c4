import { GuestAgent, GuestExitError } from '../guest/agent.ts';
import { Advice, Capability, FileSystemMagic, GuestMemfdFlag, MemoryPolicy, VmType } from '../kvm/constants.ts';
import { KvmError, MemoryAccessError } from '../kvm/errors.ts';
import type { Kvm } from '../kvm/kvm.ts';
import { pageSize } from '../kvm/native.ts';
import type { Vm } from '../kvm/vm.ts';

/** What was found out by trying. Each field is undefined where what it builds on is missing. */
export interface Findings {
  /** VM types that could be created. */
  readonly vmTypes: readonly number[];
  readonly guestMemfd: boolean;
  /** Mapped, written and read back. */
  readonly mmap: boolean | undefined;
  /** Private memory was refused to the host. */
  readonly privateRefused: boolean | undefined;
  /** A guest wrote and read guest_memfd memory. */
  readonly guestRuns: boolean | undefined;
  /** Why it did not. */
  readonly guestProblem: string | undefined;
  readonly memoryAttributes: boolean;
  /** The ioctl of in-place conversion is there. */
  readonly inPlaceConversion: boolean | undefined;
  readonly preFault: boolean;
  readonly memoryFaultInfo: boolean;
  /** A policy set through one mapping was there in the next. */
  readonly numaPolicy: 'honoured' | 'ignored' | 'refused' | undefined;
  /** MADV_COLLAPSE made a huge page. */
  readonly hugePages: boolean | undefined;
  /** guest_memfd has a file system of its own. */
  readonly ownFileSystem: boolean | undefined;
}

/** True, false when the kernel refuses; anything else passes through. */
function accepted(attempt: () => void): boolean {
  try {
    attempt();
    return true;
  } catch (error) {
    if (error instanceof KvmError || error instanceof MemoryAccessError) return false;
    throw error;
  }
}

const sharedFlags = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;

function numaPolicy(vm: Vm): Findings['numaPolicy'] {
  using gmem = vm.createGuestMemfd({ size: pageSize, flags: GuestMemfdFlag.MMAP });
  const first = gmem.map();
  try {
    if (!accepted(() => first.bind({ mode: MemoryPolicy.BIND, nodes: [0] }))) return 'refused';
  } finally {
    first.close();
  }
  using second = gmem.map();
  return second.policy().mode === MemoryPolicy.DEFAULT ? 'ignored' : 'honoured';
}

function hugePages(vm: Vm): boolean {
  const size = (pageSize / 8) * pageSize;
  using gmem = vm.createGuestMemfd({ size, flags: sharedFlags });
  using mapping = gmem.map({ alignment: size });
  mapping.fill(1, 0, 1);
  return accepted(() => mapping.advise(Advice.COLLAPSE));
}

function runGuest(kvm: Kvm): string | undefined {
  const gpa = 0x1_0000_0000;
  using vm = kvm.createVm();
  using gmem = vm.createGuestMemfd({ size: pageSize, flags: sharedFlags });
  using mapping = gmem.map();
  vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size: pageSize, mapping, guestMemfd: gmem });
  try {
    using agent = GuestAgent.create(vm);
    agent.execute([{ op: 'store', gpa, value: 0x5a5a5a5a5a5a5a5an }], { timeout: 1000 });
    return mapping.compare(0, new Uint8Array(8).fill(0x5a)) === -1
      ? undefined
      : 'what the guest wrote is not in the file';
  } catch (error) {
    if (error instanceof GuestExitError || error instanceof KvmError) return error.message;
    if ((error as NodeJS.ErrnoException).code === 'ERR_UNSUPPORTED_ARCHITECTURE') return (error as Error).message;
    throw error;
  }
}

/** Tries everything on throw-away VMs. */
export function findOut(kvm: Kvm): Findings {
  const vmTypes = (process.arch === 'x64' ? Object.values(VmType) : [VmType.DEFAULT]).filter((type) =>
    accepted(() => kvm.createVm({ type }).close()),
  );
  using vm = kvm.createVm();
  const flags = vm.checkExtension(Capability.GUEST_MEMFD_FLAGS);
  const guestMemfd = accepted(() => vm.createGuestMemfd({ size: pageSize }).close());
  const mappable = guestMemfd && (flags & GuestMemfdFlag.MMAP) !== 0;
  const shareable = guestMemfd && (flags & sharedFlags) === sharedFlags;

  // Conversion is a matter of VMs with private memory, where there are any.
  const attributesType = vmTypes.includes(VmType.SW_PROTECTED) ? VmType.SW_PROTECTED : VmType.DEFAULT;
  using attributesVm = kvm.createVm({ type: attributesType });
  let inPlaceConversion: boolean | undefined;
  let ownFileSystem: boolean | undefined;
  if (guestMemfd) {
    using gmem = attributesVm.createGuestMemfd({ size: pageSize });
    inPlaceConversion = gmem.supportsInPlaceConversion();
    ownFileSystem = gmem.stat().fileSystem === FileSystemMagic.GUEST_MEMFD;
  }
  const guestProblem = shareable ? runGuest(kvm) : undefined;
  return {
    vmTypes,
    guestMemfd,
    mmap: shareable
      ? accepted(() => {
          using gmem = vm.createGuestMemfd({ size: pageSize, flags: sharedFlags });
          using mapping = gmem.map();
          mapping.fill(0xa5);
        })
      : guestMemfd
        ? mappable
        : undefined,
    privateRefused: mappable
      ? !accepted(() => {
          using gmem = vm.createGuestMemfd({ size: pageSize, flags: GuestMemfdFlag.MMAP });
          using mapping = gmem.map();
          mapping.read(0, 1);
        })
      : undefined,
    guestRuns: shareable ? guestProblem === undefined : undefined,
    guestProblem,
    memoryAttributes: attributesVm.checkExtension(Capability.MEMORY_ATTRIBUTES) > 0,
    inPlaceConversion,
    preFault: vm.checkExtension(Capability.PRE_FAULT_MEMORY) > 0,
    memoryFaultInfo: vm.checkExtension(Capability.MEMORY_FAULT_INFO) > 0,
    numaPolicy: mappable ? numaPolicy(vm) : undefined,
    hugePages: shareable ? hugePages(vm) : undefined,
    ownFileSystem,
  };
}
