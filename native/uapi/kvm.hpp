#pragma once

// The part of the kernel's KVM ABI that this package uses. The header that is installed is usually older than the
// kernel features in question, so the definitions are our own; scripts/check-uapi.mjs compares every one of them with
// the newest header of the kernel's that it can get.
//
// Constants are typed and live in a namespace. They go by the kernel's names, so this header cannot be included after
// <linux/kvm.h>, whose macros would replace them.

#include <cstddef>
#include <cstdint>

namespace gm::uapi {

// How an ioctl number is made on x86-64 and arm64: direction, size, type, number.

enum class Direction : unsigned long { none = 0, write = 1, read = 2, read_write = 3 };

constexpr unsigned long ioctl_number(Direction direction, unsigned long number, std::size_t size) {
    constexpr unsigned long kvm_type = 0xae;
    return static_cast<unsigned long>(direction) << 30 | static_cast<unsigned long>(size) << 16 | kvm_type << 8 |
           number;
}

// ---- Structs ----

/// Since 2.6.24.
struct kvm_userspace_memory_region {
    std::uint32_t slot; ///< bits 16 and up: address space
    std::uint32_t flags;
    std::uint64_t guest_phys_addr;
    std::uint64_t memory_size; ///< 0 deletes the slot
    std::uint64_t userspace_addr;
};
static_assert(sizeof(kvm_userspace_memory_region) == 32);
static_assert(offsetof(kvm_userspace_memory_region, slot) == 0);
static_assert(offsetof(kvm_userspace_memory_region, flags) == 4);
static_assert(offsetof(kvm_userspace_memory_region, guest_phys_addr) == 8);
static_assert(offsetof(kvm_userspace_memory_region, memory_size) == 16);
static_assert(offsetof(kvm_userspace_memory_region, userspace_addr) == 24);

/// Since 6.8. Begins as the older struct does.
struct kvm_userspace_memory_region2 {
    std::uint32_t slot;
    std::uint32_t flags;
    std::uint64_t guest_phys_addr;
    std::uint64_t memory_size;
    std::uint64_t userspace_addr;
    std::uint64_t guest_memfd_offset;
    std::uint32_t guest_memfd;
    std::uint32_t pad1;
    std::uint64_t pad2[14];
};
static_assert(sizeof(kvm_userspace_memory_region2) == 160);
static_assert(offsetof(kvm_userspace_memory_region2, slot) == 0);
static_assert(offsetof(kvm_userspace_memory_region2, flags) == 4);
static_assert(offsetof(kvm_userspace_memory_region2, guest_phys_addr) == 8);
static_assert(offsetof(kvm_userspace_memory_region2, memory_size) == 16);
static_assert(offsetof(kvm_userspace_memory_region2, userspace_addr) == 24);
static_assert(offsetof(kvm_userspace_memory_region2, guest_memfd_offset) == 32);
static_assert(offsetof(kvm_userspace_memory_region2, guest_memfd) == 40);
static_assert(offsetof(kvm_userspace_memory_region2, pad1) == 44);
static_assert(offsetof(kvm_userspace_memory_region2, pad2) == 48);

/// Since 6.8.
struct kvm_memory_attributes {
    std::uint64_t address;
    std::uint64_t size;
    std::uint64_t attributes;
    std::uint64_t flags; ///< must be 0
};
static_assert(sizeof(kvm_memory_attributes) == 32);
static_assert(offsetof(kvm_memory_attributes, address) == 0);
static_assert(offsetof(kvm_memory_attributes, size) == 8);
static_assert(offsetof(kvm_memory_attributes, attributes) == 16);
static_assert(offsetof(kvm_memory_attributes, flags) == 24);

/// Pending (eighth posting, June 2026): in-place conversion, on the guest_memfd.
struct kvm_memory_attributes2 {
    std::uint64_t address; ///< an offset in the file
    std::uint64_t size;
    std::uint64_t attributes;
    std::uint64_t flags;        ///< must be 0
    std::uint64_t error_offset; ///< out: the page that stopped it
    std::uint64_t reserved[11];
};
static_assert(sizeof(kvm_memory_attributes2) == 128);
static_assert(offsetof(kvm_memory_attributes2, address) == 0);
static_assert(offsetof(kvm_memory_attributes2, size) == 8);
static_assert(offsetof(kvm_memory_attributes2, attributes) == 16);
static_assert(offsetof(kvm_memory_attributes2, flags) == 24);
static_assert(offsetof(kvm_memory_attributes2, error_offset) == 32);
static_assert(offsetof(kvm_memory_attributes2, reserved) == 40);

/// Since 6.8.
struct kvm_create_guest_memfd {
    std::uint64_t size;
    std::uint64_t flags;
    std::uint64_t reserved[6];
};
static_assert(sizeof(kvm_create_guest_memfd) == 64);
static_assert(offsetof(kvm_create_guest_memfd, size) == 0);
static_assert(offsetof(kvm_create_guest_memfd, flags) == 8);
static_assert(offsetof(kvm_create_guest_memfd, reserved) == 16);

/// Since 6.11. The kernel moves gpa and size on as it goes.
struct kvm_pre_fault_memory {
    std::uint64_t gpa;
    std::uint64_t size;
    std::uint64_t flags; ///< must be 0
    std::uint64_t padding[5];
};
static_assert(sizeof(kvm_pre_fault_memory) == 64);
static_assert(offsetof(kvm_pre_fault_memory, gpa) == 0);
static_assert(offsetof(kvm_pre_fault_memory, size) == 8);
static_assert(offsetof(kvm_pre_fault_memory, flags) == 16);
static_assert(offsetof(kvm_pre_fault_memory, padding) == 24);

/// Since 2.6.35; on the VM since 3.15.
struct kvm_enable_cap {
    std::uint32_t cap;
    std::uint32_t flags;
    std::uint64_t args[4];
    std::uint8_t pad[64];
};
static_assert(sizeof(kvm_enable_cap) == 104);
static_assert(offsetof(kvm_enable_cap, cap) == 0);
static_assert(offsetof(kvm_enable_cap, flags) == 4);
static_assert(offsetof(kvm_enable_cap, args) == 8);
static_assert(offsetof(kvm_enable_cap, pad) == 40);

/// Since 2.6.36; this package uses it on arm64, which has no kvm_regs to get.
struct kvm_one_reg {
    std::uint64_t id;
    std::uint64_t addr; ///< of the value, whose size is a part of the id
};
static_assert(sizeof(kvm_one_reg) == 16);
static_assert(offsetof(kvm_one_reg, id) == 0);
static_assert(offsetof(kvm_one_reg, addr) == 8);

/// arm64 only, since 3.9 (arm) and 3.11.
struct kvm_vcpu_init {
    std::uint32_t target;
    std::uint32_t features[7]; ///< a bit each
};
static_assert(sizeof(kvm_vcpu_init) == 32);
static_assert(offsetof(kvm_vcpu_init, target) == 0);
static_assert(offsetof(kvm_vcpu_init, features) == 4);

/// The head of the page that a vCPU shares with user space. The kernel's struct goes on behind it; how much to map,
/// KVM_GET_VCPU_MMAP_SIZE tells.
struct kvm_run {
    std::uint8_t request_interrupt_window;
    std::uint8_t immediate_exit; ///< since 4.12: KVM_RUN returns EINTR at once
    std::uint8_t padding1[6];
    std::uint32_t exit_reason;
    std::uint8_t ready_for_interrupt_injection;
    std::uint8_t if_flag;
    std::uint16_t flags;
    std::uint64_t cr8;
    std::uint64_t apic_base;
    union {
        struct {
            std::uint8_t direction; ///< 0 in, 1 out
            std::uint8_t size;
            std::uint16_t port;
            std::uint32_t count;
            std::uint64_t data_offset; ///< from the start of kvm_run
        } io;
        struct {
            std::uint64_t phys_addr;
            std::uint8_t data[8];
            std::uint32_t len;
            std::uint8_t is_write;
        } mmio;
        struct {
            std::uint64_t nr;
            std::uint64_t args[6];
            std::uint64_t ret;
            std::uint64_t flags; ///< bit 0: 64-bit mode
        } hypercall;
        struct {
            std::uint64_t hardware_entry_failure_reason;
            std::uint32_t cpu;
        } fail_entry;
        struct {
            std::uint32_t suberror;
            std::uint32_t ndata;
            std::uint64_t data[16];
        } internal;
        struct {
            std::uint32_t type;
            std::uint32_t ndata;
            std::uint64_t data[16];
        } system_event;
        struct {
            std::uint64_t esr_iss;
            std::uint64_t fault_ipa;
        } arm_nisv;
        struct {
            std::uint64_t flags;
            std::uint64_t gpa;
            std::uint64_t size;
        } memory_fault; ///< since 6.8
        char padding[256];
    };
};
static_assert(offsetof(kvm_run, request_interrupt_window) == 0);
static_assert(offsetof(kvm_run, immediate_exit) == 1);
static_assert(offsetof(kvm_run, padding1) == 2);
static_assert(offsetof(kvm_run, exit_reason) == 8);
static_assert(offsetof(kvm_run, ready_for_interrupt_injection) == 12);
static_assert(offsetof(kvm_run, if_flag) == 13);
static_assert(offsetof(kvm_run, flags) == 14);
static_assert(offsetof(kvm_run, cr8) == 16);
static_assert(offsetof(kvm_run, apic_base) == 24);
static_assert(offsetof(kvm_run, io.direction) == 32);
static_assert(offsetof(kvm_run, io.size) == 33);
static_assert(offsetof(kvm_run, io.port) == 34);
static_assert(offsetof(kvm_run, io.count) == 36);
static_assert(offsetof(kvm_run, io.data_offset) == 40);
static_assert(offsetof(kvm_run, mmio.phys_addr) == 32);
static_assert(offsetof(kvm_run, mmio.data) == 40);
static_assert(offsetof(kvm_run, mmio.len) == 48);
static_assert(offsetof(kvm_run, mmio.is_write) == 52);
static_assert(offsetof(kvm_run, hypercall.nr) == 32);
static_assert(offsetof(kvm_run, hypercall.args) == 40);
static_assert(offsetof(kvm_run, hypercall.ret) == 88);
static_assert(offsetof(kvm_run, hypercall.flags) == 96);
static_assert(offsetof(kvm_run, fail_entry.hardware_entry_failure_reason) == 32);
static_assert(offsetof(kvm_run, fail_entry.cpu) == 40);
static_assert(offsetof(kvm_run, internal.suberror) == 32);
static_assert(offsetof(kvm_run, internal.ndata) == 36);
static_assert(offsetof(kvm_run, internal.data) == 40);
static_assert(offsetof(kvm_run, system_event.type) == 32);
static_assert(offsetof(kvm_run, system_event.ndata) == 36);
static_assert(offsetof(kvm_run, system_event.data) == 40);
static_assert(offsetof(kvm_run, arm_nisv.esr_iss) == 32);
static_assert(offsetof(kvm_run, arm_nisv.fault_ipa) == 40);
static_assert(offsetof(kvm_run, memory_fault.flags) == 32);
static_assert(offsetof(kvm_run, memory_fault.gpa) == 40);
static_assert(offsetof(kvm_run, memory_fault.size) == 48);
static_assert(offsetof(kvm_run, padding) == 32);

#if defined(__x86_64__)

/// The head of a list of CPUID leaves, of 40 bytes each, which follow it.
struct kvm_cpuid2 {
    std::uint32_t nent;
    std::uint32_t padding;
};
static_assert(sizeof(kvm_cpuid2) == 8);

struct kvm_regs {
    std::uint64_t rax, rbx, rcx, rdx;
    std::uint64_t rsi, rdi, rsp, rbp;
    std::uint64_t r8, r9, r10, r11;
    std::uint64_t r12, r13, r14, r15;
    std::uint64_t rip, rflags;
};
static_assert(sizeof(kvm_regs) == 144);
static_assert(offsetof(kvm_regs, rax) == 0);
static_assert(offsetof(kvm_regs, rbx) == 8);
static_assert(offsetof(kvm_regs, rcx) == 16);
static_assert(offsetof(kvm_regs, rdx) == 24);
static_assert(offsetof(kvm_regs, rsi) == 32);
static_assert(offsetof(kvm_regs, rdi) == 40);
static_assert(offsetof(kvm_regs, rsp) == 48);
static_assert(offsetof(kvm_regs, rbp) == 56);
static_assert(offsetof(kvm_regs, r8) == 64);
static_assert(offsetof(kvm_regs, r9) == 72);
static_assert(offsetof(kvm_regs, r10) == 80);
static_assert(offsetof(kvm_regs, r11) == 88);
static_assert(offsetof(kvm_regs, r12) == 96);
static_assert(offsetof(kvm_regs, r13) == 104);
static_assert(offsetof(kvm_regs, r14) == 112);
static_assert(offsetof(kvm_regs, r15) == 120);
static_assert(offsetof(kvm_regs, rip) == 128);
static_assert(offsetof(kvm_regs, rflags) == 136);

struct kvm_segment {
    std::uint64_t base;
    std::uint32_t limit;
    std::uint16_t selector;
    std::uint8_t type;
    std::uint8_t present, dpl, db, s, l, g, avl;
    std::uint8_t unusable;
    std::uint8_t padding;
};
static_assert(sizeof(kvm_segment) == 24);
static_assert(offsetof(kvm_segment, base) == 0);
static_assert(offsetof(kvm_segment, limit) == 8);
static_assert(offsetof(kvm_segment, selector) == 12);
static_assert(offsetof(kvm_segment, type) == 14);
static_assert(offsetof(kvm_segment, present) == 15);
static_assert(offsetof(kvm_segment, dpl) == 16);
static_assert(offsetof(kvm_segment, db) == 17);
static_assert(offsetof(kvm_segment, s) == 18);
static_assert(offsetof(kvm_segment, l) == 19);
static_assert(offsetof(kvm_segment, g) == 20);
static_assert(offsetof(kvm_segment, avl) == 21);
static_assert(offsetof(kvm_segment, unusable) == 22);
static_assert(offsetof(kvm_segment, padding) == 23);

struct kvm_dtable {
    std::uint64_t base;
    std::uint16_t limit;
    std::uint16_t padding[3];
};
static_assert(sizeof(kvm_dtable) == 16);
static_assert(offsetof(kvm_dtable, base) == 0);
static_assert(offsetof(kvm_dtable, limit) == 8);
static_assert(offsetof(kvm_dtable, padding) == 10);

struct kvm_sregs {
    kvm_segment cs, ds, es, fs, gs, ss;
    kvm_segment tr, ldt;
    kvm_dtable gdt, idt;
    std::uint64_t cr0, cr2, cr3, cr4, cr8;
    std::uint64_t efer;
    std::uint64_t apic_base;
    std::uint64_t interrupt_bitmap[4];
};
static_assert(sizeof(kvm_sregs) == 312);
static_assert(offsetof(kvm_sregs, cs) == 0);
static_assert(offsetof(kvm_sregs, ds) == 24);
static_assert(offsetof(kvm_sregs, es) == 48);
static_assert(offsetof(kvm_sregs, fs) == 72);
static_assert(offsetof(kvm_sregs, gs) == 96);
static_assert(offsetof(kvm_sregs, ss) == 120);
static_assert(offsetof(kvm_sregs, tr) == 144);
static_assert(offsetof(kvm_sregs, ldt) == 168);
static_assert(offsetof(kvm_sregs, gdt) == 192);
static_assert(offsetof(kvm_sregs, idt) == 208);
static_assert(offsetof(kvm_sregs, cr0) == 224);
static_assert(offsetof(kvm_sregs, cr2) == 232);
static_assert(offsetof(kvm_sregs, cr3) == 240);
static_assert(offsetof(kvm_sregs, cr4) == 248);
static_assert(offsetof(kvm_sregs, cr8) == 256);
static_assert(offsetof(kvm_sregs, efer) == 264);
static_assert(offsetof(kvm_sregs, apic_base) == 272);
static_assert(offsetof(kvm_sregs, interrupt_bitmap) == 280);

#endif

// ---- ioctls, by the file descriptor they go to ----

// The device.
#if defined(__x86_64__)
constexpr unsigned long KVM_GET_SUPPORTED_CPUID = // 2.6.25
    ioctl_number(Direction::read_write, 0x05, sizeof(kvm_cpuid2));
static_assert(KVM_GET_SUPPORTED_CPUID == 0xc008ae05);
#endif
constexpr unsigned long KVM_GET_API_VERSION = ioctl_number(Direction::none, 0x00, 0);
constexpr unsigned long KVM_CREATE_VM = ioctl_number(Direction::none, 0x01, 0);
constexpr unsigned long KVM_GET_VCPU_MMAP_SIZE = ioctl_number(Direction::none, 0x04, 0);
// The device and the VM.
constexpr unsigned long KVM_CHECK_EXTENSION = ioctl_number(Direction::none, 0x03, 0);
// The VM.
constexpr unsigned long KVM_CREATE_VCPU = ioctl_number(Direction::none, 0x41, 0);
constexpr unsigned long KVM_SET_USER_MEMORY_REGION =
    ioctl_number(Direction::write, 0x46, sizeof(kvm_userspace_memory_region));
constexpr unsigned long KVM_SET_TSS_ADDR = ioctl_number(Direction::none, 0x47, 0);
constexpr unsigned long KVM_SET_IDENTITY_MAP_ADDR = ioctl_number(Direction::write, 0x48, sizeof(std::uint64_t));
constexpr unsigned long KVM_SET_USER_MEMORY_REGION2 = // 6.8
    ioctl_number(Direction::write, 0x49, sizeof(kvm_userspace_memory_region2));
constexpr unsigned long KVM_ENABLE_CAP = ioctl_number(Direction::write, 0xa3, sizeof(kvm_enable_cap));
constexpr unsigned long KVM_SET_MEMORY_ATTRIBUTES = // 6.8
    ioctl_number(Direction::write, 0xd2, sizeof(kvm_memory_attributes));
constexpr unsigned long KVM_CREATE_GUEST_MEMFD = // 6.8
    ioctl_number(Direction::read_write, 0xd4, sizeof(kvm_create_guest_memfd));
constexpr unsigned long KVM_ARM_PREFERRED_TARGET = // 3.13, arm64 only
    ioctl_number(Direction::read, 0xaf, sizeof(kvm_vcpu_init));
// The guest_memfd.
constexpr unsigned long KVM_SET_MEMORY_ATTRIBUTES2 = // pending
    ioctl_number(Direction::read_write, 0xd2, sizeof(kvm_memory_attributes2));
// The vCPU.
constexpr unsigned long KVM_RUN = ioctl_number(Direction::none, 0x80, 0);
constexpr unsigned long KVM_GET_ONE_REG = ioctl_number(Direction::write, 0xab, sizeof(kvm_one_reg));
constexpr unsigned long KVM_SET_ONE_REG = ioctl_number(Direction::write, 0xac, sizeof(kvm_one_reg));
constexpr unsigned long KVM_ARM_VCPU_INIT = // arm64 only
    ioctl_number(Direction::write, 0xae, sizeof(kvm_vcpu_init));
constexpr unsigned long KVM_PRE_FAULT_MEMORY = // 6.11
    ioctl_number(Direction::read_write, 0xd5, sizeof(kvm_pre_fault_memory));
#if defined(__x86_64__)
constexpr unsigned long KVM_GET_REGS = ioctl_number(Direction::read, 0x81, sizeof(kvm_regs));
constexpr unsigned long KVM_SET_REGS = ioctl_number(Direction::write, 0x82, sizeof(kvm_regs));
constexpr unsigned long KVM_GET_SREGS = ioctl_number(Direction::read, 0x83, sizeof(kvm_sregs));
constexpr unsigned long KVM_SET_SREGS = ioctl_number(Direction::write, 0x84, sizeof(kvm_sregs));
constexpr unsigned long KVM_SET_CPUID2 = ioctl_number(Direction::write, 0x90, sizeof(kvm_cpuid2)); // 2.6.25
static_assert(KVM_SET_CPUID2 == 0x4008ae90);
static_assert(KVM_GET_REGS == 0x8090ae81);
static_assert(KVM_SET_REGS == 0x4090ae82);
static_assert(KVM_GET_SREGS == 0x8138ae83);
static_assert(KVM_SET_SREGS == 0x4138ae84);
#endif
static_assert(KVM_GET_API_VERSION == 0xae00);
static_assert(KVM_CREATE_VM == 0xae01);
static_assert(KVM_CHECK_EXTENSION == 0xae03);
static_assert(KVM_GET_VCPU_MMAP_SIZE == 0xae04);
static_assert(KVM_CREATE_VCPU == 0xae41);
static_assert(KVM_SET_USER_MEMORY_REGION == 0x4020ae46);
static_assert(KVM_SET_TSS_ADDR == 0xae47);
static_assert(KVM_SET_IDENTITY_MAP_ADDR == 0x4008ae48);
static_assert(KVM_SET_USER_MEMORY_REGION2 == 0x40a0ae49);
static_assert(KVM_RUN == 0xae80);
static_assert(KVM_ENABLE_CAP == 0x4068aea3);
static_assert(KVM_GET_ONE_REG == 0x4010aeab);
static_assert(KVM_SET_ONE_REG == 0x4010aeac);
static_assert(KVM_ARM_VCPU_INIT == 0x4020aeae);
static_assert(KVM_ARM_PREFERRED_TARGET == 0x8020aeaf);
static_assert(KVM_SET_MEMORY_ATTRIBUTES == 0x4020aed2);
static_assert(KVM_SET_MEMORY_ATTRIBUTES2 == 0xc080aed2);
static_assert(KVM_CREATE_GUEST_MEMFD == 0xc040aed4);
static_assert(KVM_PRE_FAULT_MEMORY == 0xc040aed5);

// ---- Constants ----

// Those that only TypeScript needs stand in lib/kvm/constants.ts; the script checks both places.

constexpr std::uint32_t KVM_EXIT_UNKNOWN = 0;
constexpr std::uint32_t KVM_EXIT_IO = 2;
constexpr std::uint32_t KVM_EXIT_MEMORY_FAULT = 39; // 6.8

// How the id of a register is made: architecture, size, group, index in the group.
constexpr std::uint64_t KVM_REG_ARM64 = 0x6000000000000000;
constexpr std::uint64_t KVM_REG_SIZE_U64 = 0x0030000000000000;
// arm64 only.
constexpr std::uint64_t KVM_REG_ARM_CORE = 0x0010 << 16; ///< index: the offset in struct kvm_regs in 32-bit words
constexpr std::uint32_t KVM_ARM_VCPU_PSCI_0_2 = 2;       ///< a bit of kvm_vcpu_init::features, since 3.16

} // namespace gm::uapi
