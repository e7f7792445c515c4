import { ExitReason } from './constants.ts';

/** Where the native side puts an exit: the head of kvm_run, then the data of an I/O exit (native/addon/vcpu.cpp). */
export const exitBlockLayout = { runHead: 256, ioDataMax: 1024, size: 256 + 1024 } as const;

/** The guest used an I/O port (x86). */
export interface IoExit {
  readonly reason: 'IO';
  readonly direction: 'in' | 'out';
  /** Bytes of one access: 1, 2 or 4. */
  readonly size: number;
  readonly port: number;
  /** Accesses in this exit; above 1 for string instructions. */
  readonly count: number;
  /** What the guest wrote, `size * count` bytes (at most 1024 are copied); for 'in', answer with `completeIo`. */
  readonly data: Uint8Array;
}

/** The guest accessed an address without memslot, or wrote to a read-only one. */
export interface MmioExit {
  readonly reason: 'MMIO';
  readonly guestPhysAddr: bigint;
  /** Bytes, 1 to 8. */
  readonly length: number;
  readonly isWrite: boolean;
  /** What the guest wrote, little-endian; for a read, answer with `completeMmio`. */
  readonly data: Uint8Array;
}

/** The guest executed HLT (x86, no interrupt controller in the kernel); on arm64 the guest agent's command 'halt'. */
export interface HltExit {
  readonly reason: 'HLT';
}

/** The guest made a hypercall that exits: KVM_HC_MAP_GPA_RANGE where enabled. Answer with `completeHypercall`. */
export interface HypercallExit {
  readonly reason: 'HYPERCALL';
  readonly number: bigint;
  /** Six arguments; those that the hypercall does not have are 0 or stale. */
  readonly args: readonly bigint[];
  readonly longMode: boolean;
}

/**
 * The guest touched memory that KVM cannot give it: private without guest_memfd, poisoned, or a guest_memfd that is gone
 * (6.8). The only exit that comes with an errno.
 */
export interface MemoryFaultExit {
  readonly reason: 'MEMORY_FAULT';
  /** 'EFAULT' or 'EHWPOISON'. */
  readonly code: string;
  readonly guestPhysAddr: bigint;
  readonly size: bigint;
  /** True for an access to memory in the private state. */
  readonly isPrivate: boolean;
  readonly flags: bigint;
}

/** A triple fault (x86). */
export interface ShutdownExit {
  readonly reason: 'SHUTDOWN';
}

/** The processor refused the vCPU's state. */
export interface FailEntryExit {
  readonly reason: 'FAIL_ENTRY';
  readonly hardwareReason: bigint;
  readonly cpu: number;
}

/** KVM gave up: suberror 1 is an instruction that it could not emulate. */
export interface InternalErrorExit {
  readonly reason: 'INTERNAL_ERROR';
  readonly suberror: number;
  readonly data: readonly bigint[];
}

/** The guest asked to be shut down or reset. */
export interface SystemEventExit {
  readonly reason: 'SYSTEM_EVENT';
  readonly type: number;
  readonly data: readonly bigint[];
}

/** A load or store that the processor did not describe, to an address without memslot (arm64). */
export interface ArmNisvExit {
  readonly reason: 'ARM_NISV';
  readonly syndrome: bigint;
  readonly guestPhysAddr: bigint;
}

/**
 * The guest program met an exception (arm64; on x86-64 that is a triple fault). The guest agent tells of it, not KVM, which
 * gives this exit for an access that it refuses too: an address beyond those that a vCPU has.
 */
export interface ExceptionExit {
  readonly reason: 'EXCEPTION';
  /** ESR_EL1: the class in bits 26 to 31. */
  readonly syndrome: bigint;
  /** FAR_EL1, where the class has an address. */
  readonly faultAddress: bigint;
  /** ELR_EL1: the address of the instruction. */
  readonly instruction: bigint;
}

/** The run was ended from outside. The guest can go on. */
export interface IntrExit {
  readonly reason: 'INTR';
  /** The time was over, or `stop()`, an AbortSignal or `close()` ended it. */
  readonly cause: 'timeout' | 'stopped';
}

/** An exit that this package does not decode, by its number. */
export interface OtherExit {
  readonly reason: 'OTHER';
  readonly exitReason: number;
}

/** Why a vCPU came back from KVM_RUN, told apart by `reason`. */
export type VcpuExit =
  | IoExit
  | MmioExit
  | HltExit
  | HypercallExit
  | MemoryFaultExit
  | ShutdownExit
  | FailEntryExit
  | InternalErrorExit
  | SystemEventExit
  | ArmNisvExit
  | ExceptionExit
  | IntrExit
  | OtherExit;

const memoryFaultPrivate = 8n;

function words(view: DataView, offset: number, count: number): bigint[] {
  return Array.from({ length: count }, (_, i) => view.getBigUint64(offset + 8 * i, true));
}

/** The exit reason's number in the exit block. */
export function exitReasonOf(view: DataView): number {
  return view.getUint32(8, true);
}

/** Decodes the exit block: struct kvm_run, whose union starts at byte 32. */
export function decodeExit(view: DataView): VcpuExit {
  const exitReason = exitReasonOf(view);
  switch (exitReason) {
    case ExitReason.IO: {
      const size = view.getUint8(33);
      const count = view.getUint32(36, true);
      const length = Math.min(size * count, exitBlockLayout.ioDataMax);
      return {
        reason: 'IO',
        direction: view.getUint8(32) === 1 ? 'out' : 'in',
        size,
        port: view.getUint16(34, true),
        count,
        data: new Uint8Array(view.buffer, exitBlockLayout.runHead, length).slice(),
      };
    }
    case ExitReason.MMIO: {
      const length = Math.min(view.getUint32(48, true), 8);
      return {
        reason: 'MMIO',
        guestPhysAddr: view.getBigUint64(32, true),
        length,
        isWrite: view.getUint8(52) !== 0,
        data: new Uint8Array(view.buffer, 40, length).slice(),
      };
    }
    case ExitReason.HLT:
      return { reason: 'HLT' };
    case ExitReason.HYPERCALL:
      return {
        reason: 'HYPERCALL',
        number: view.getBigUint64(32, true),
        args: words(view, 40, 6),
        longMode: (view.getBigUint64(96, true) & 1n) === 1n,
      };
    case ExitReason.SHUTDOWN:
      return { reason: 'SHUTDOWN' };
    case ExitReason.FAIL_ENTRY:
      return { reason: 'FAIL_ENTRY', hardwareReason: view.getBigUint64(32, true), cpu: view.getUint32(40, true) };
    case ExitReason.INTERNAL_ERROR: {
      const count = Math.min(view.getUint32(36, true), 16);
      return { reason: 'INTERNAL_ERROR', suberror: view.getUint32(32, true), data: words(view, 40, count) };
    }
    case ExitReason.SYSTEM_EVENT: {
      const count = Math.min(view.getUint32(36, true), 16);
      return { reason: 'SYSTEM_EVENT', type: view.getUint32(32, true), data: words(view, 40, count) };
    }
    case ExitReason.ARM_NISV:
      return {
        reason: 'ARM_NISV',
        syndrome: view.getBigUint64(32, true),
        guestPhysAddr: view.getBigUint64(40, true),
      };
    default:
      return { reason: 'OTHER', exitReason };
  }
}

/** Decodes the one exit that comes with an errno. */
export function decodeMemoryFault(view: DataView, code: string): MemoryFaultExit {
  const flags = view.getBigUint64(32, true);
  return {
    reason: 'MEMORY_FAULT',
    code,
    guestPhysAddr: view.getBigUint64(40, true),
    size: view.getBigUint64(48, true),
    isPrivate: (flags & memoryFaultPrivate) !== 0n,
    flags,
  };
}
