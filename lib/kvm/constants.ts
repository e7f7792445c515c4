/**
 * KVM's numbers, by the kernel's names. Source: include/uapi/linux/kvm.h and the architectures' asm/kvm.h; the native
 * side defines the same ones in native/uapi, where a script compares them with a kernel's own header.
 */

/** Capability numbers for `checkExtension` (KVM_CAP_*). The comment names the first kernel release. */
export const Capability = {
  USER_MEMORY: 3, // 2.6.25
  NR_VCPUS: 9, // 2.6.25
  NR_MEMSLOTS: 10, // 2.6.25
  SYNC_MMU: 16, // 2.6.28
  MAX_VCPUS: 66, // 3.2
  READONLY_MEM: 81, // 3.7
  MULTI_ADDRESS_SPACE: 118, // 4.2
  IMMEDIATE_EXIT: 136, // 4.12
  ARM_VM_IPA_SIZE: 165, // 4.20, arm64
  EXIT_HYPERCALL: 201, // 5.14, x86
  USER_MEMORY2: 231, // 6.8
  MEMORY_FAULT_INFO: 232, // 6.8, x86
  MEMORY_ATTRIBUTES: 233, // 6.8
  GUEST_MEMFD: 234, // 6.8
  VM_TYPES: 235, // 6.8, x86
  PRE_FAULT_MEMORY: 236, // 6.11
  GUEST_MEMFD_FLAGS: 244, // 6.18
} as const;

/** The `type` of `kvm.createVm` (KVM_X86_*_VM); on arm64 the low byte is the IPA size instead. */
export const VmType = {
  DEFAULT: 0,
  SW_PROTECTED: 1, // 6.8, needs CONFIG_KVM_SW_PROTECTED_VM and the TDP MMU
  SEV: 2, // 6.10
  SEV_ES: 3, // 6.10
  SNP: 4, // 6.11
  TDX: 5, // 6.16
} as const;

/** The `flags` of `vm.createGuestMemfd` (GUEST_MEMFD_FLAG_*), both since 6.18; ask `Capability.GUEST_MEMFD_FLAGS`. */
export const GuestMemfdFlag = {
  /** The file can be mapped into user space. */
  MMAP: 1,
  /** All memory starts shared, so that the host may touch it; without, it starts private. */
  INIT_SHARED: 2,
} as const;

/** The `flags` of a memslot (KVM_MEM_*). */
export const MemoryRegionFlag = {
  LOG_DIRTY_PAGES: 1,
  READONLY: 2, // 3.7
  /** Set by `setUserMemoryRegion` itself when `guestMemfd` is given. */
  GUEST_MEMFD: 4, // 6.8
} as const;

/** Memory attributes (KVM_MEMORY_ATTRIBUTE_*). */
export const MemoryAttribute = { PRIVATE: 8 } as const; // 6.8

/** Exit reasons of KVM_RUN that this package decodes (KVM_EXIT_*). */
export const ExitReason = {
  UNKNOWN: 0,
  IO: 2,
  HYPERCALL: 3,
  HLT: 5,
  MMIO: 6,
  SHUTDOWN: 8,
  FAIL_ENTRY: 9,
  INTR: 10,
  INTERNAL_ERROR: 17,
  SYSTEM_EVENT: 24,
  ARM_NISV: 28,
  MEMORY_FAULT: 39, // 6.8
} as const;

/** Protection of a mapping (PROT_*). */
export const Protection = { NONE: 0, READ: 1, WRITE: 2, EXEC: 4 } as const;

/** Flags of a mapping (MAP_*), with the numbers shared by x86-64 and arm64. */
export const MapFlag = {
  SHARED: 1,
  PRIVATE: 2,
  /** As SHARED, but flags that the kernel does not know are refused. */
  SHARED_VALIDATE: 3, // 4.15
  ANONYMOUS: 0x20,
  NORESERVE: 0x4000,
  POPULATE: 0x8000,
  /** With SHARED_VALIDATE, on a DAX file: what was stored is on the medium without fsync. */
  SYNC: 0x8_0000, // 4.15
} as const;

/** Flags of `MemoryFile.memfd` (MFD_*); the binary logarithm of a huge page's size goes to bit 26 and up. */
export const MemfdFlag = {
  ALLOW_SEALING: 2, // 3.17
  HUGETLB: 4, // 4.14
} as const;

/** Seals of a memfd (F_SEAL_*), which cannot be taken off again. */
export const FileSeal = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8 } as const;

/** How to open a `MemoryFile` (O_*), with the numbers shared by x86-64 and arm64. */
export const OpenFlag = { READ_ONLY: 0, READ_WRITE: 2, CREATE: 0o100, EXCLUSIVE: 0o200 } as const;

/** Modes of `guestMemfd.fallocate` (FALLOC_FL_*). */
export const FallocateMode = { KEEP_SIZE: 1, PUNCH_HOLE: 2 } as const;

/** Advice for `mapping.advise` (MADV_*). */
export const Advice = {
  NORMAL: 0,
  DONTNEED: 4,
  FREE: 8, // 4.5
  REMOVE: 9,
  DONTFORK: 10,
  MERGEABLE: 12,
  UNMERGEABLE: 13,
  HUGEPAGE: 14,
  NOHUGEPAGE: 15,
  DONTDUMP: 16,
  DODUMP: 17,
  COLD: 20, // 5.4
  PAGEOUT: 21, // 5.4
  POPULATE_READ: 22, // 5.14
  POPULATE_WRITE: 23, // 5.14
  COLLAPSE: 25, // 6.1
  HWPOISON: 100,
} as const;

/** NUMA policies for `mapping.bind` (MPOL_*). */
export const MemoryPolicy = { DEFAULT: 0, PREFERRED: 1, BIND: 2, INTERLEAVE: 3, LOCAL: 4, PREFERRED_MANY: 5 } as const;

/** Flags of `mapping.bind` (MPOL_MF_*). */
export const BindFlag = { STRICT: 1, MOVE: 2, MOVE_ALL: 4 } as const;

/** KVM_HC_MAP_GPA_RANGE: the hypercall with which an x86 guest asks for a conversion; exits since 5.14. */
export const HypercallNumber = { MAP_GPA_RANGE: 12 } as const;

/** f_type of statfs. A guest_memfd is of its own file system since 6.19, an anonymous inode before. */
export const FileSystemMagic = {
  GUEST_MEMFD: 0x474d454dn,
  ANON_INODE: 0x09041934n,
  HUGETLBFS: 0x958458f6n,
  TMPFS: 0x01021994n,
} as const;
