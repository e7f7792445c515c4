// The cases that need /dev/kvm. Each has VMs of its own, made at its first round and kept.
#define _GNU_SOURCE
#include "baseline.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

// Newer than the kernel headers of some build machines.
#ifndef KVM_CREATE_GUEST_MEMFD
#define KVM_CAP_GUEST_MEMFD 234
struct kvm_create_guest_memfd {
    uint64_t size, flags, reserved[6];
};
#define KVM_CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, struct kvm_create_guest_memfd)
struct kvm_memory_attributes {
    uint64_t address, size, attributes, flags;
};
#define KVM_SET_MEMORY_ATTRIBUTES _IOW(KVMIO, 0xd2, struct kvm_memory_attributes)
#endif

enum { page = 4096, mmap_init_shared = 3, sw_protected = 1, attribute_private = 8 };

static int open_vm(int type) {
    const int kvm = (int)must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "open(/dev/kvm)");
    return (int)must(ioctl(kvm, KVM_CREATE_VM, type), "KVM_CREATE_VM");
}

static int plain_vm(void) {
    static int vm = -1;
    return vm < 0 ? vm = open_vm(0) : vm;
}

static int create(int vm, uint64_t size, uint64_t flags) {
    struct kvm_create_guest_memfd request = {.size = size, .flags = flags};
    const int fd = (int)must(ioctl(vm, KVM_CREATE_GUEST_MEMFD, &request), "KVM_CREATE_GUEST_MEMFD");
    return fd;
}

static uint64_t bench_check_extension(uint64_t operations, uint64_t unused) {
    (void)unused;
    static int kvm = -1;
    if (kvm < 0)
        kvm = (int)must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "open(/dev/kvm)");
    const uint64_t start = now();
    while (operations--)
        must(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD), "KVM_CHECK_EXTENSION");
    return now() - start;
}

/// With the FD_CLOEXEC that the kernel does not set, and that nobody should leave out.
static uint64_t bench_create_close(uint64_t operations, uint64_t size) {
    const int vm = plain_vm();
    const uint64_t start = now();
    while (operations--) {
        const int fd = create(vm, size, mmap_init_shared);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        close(fd);
    }
    return now() - start;
}

static uint64_t bench_map_close(uint64_t operations, uint64_t length) {
    const int fd = create(plain_vm(), length, mmap_init_shared);
    const uint64_t start = now();
    map_close(fd, operations, length);
    const uint64_t end = now();
    close(fd);
    return end - start;
}

static uint64_t bench_punch_touch(uint64_t operations, uint64_t unused) {
    (void)unused;
    const int fd = create(plain_vm(), page, mmap_init_shared);
    const uint64_t start = now();
    punch_touch(fd, operations);
    const uint64_t end = now();
    close(fd);
    return end - start;
}

static void set_attributes(int vm, uint64_t address, uint64_t attributes) {
    struct kvm_memory_attributes request = {.address = address, .size = page, .attributes = attributes};
    must(ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &request), "KVM_SET_MEMORY_ATTRIBUTES");
}

/// A VM of private memory with `size` bytes at `base`.
static int private_vm(uint64_t base, uint64_t size) {
    const int vm = open_vm(sw_protected);
    struct region2 {
        uint32_t slot, flags;
        uint64_t guest_phys_addr, memory_size, userspace_addr, guest_memfd_offset;
        uint32_t guest_memfd, pad1;
        uint64_t pad2[14];
    } region = {.slot = 1, .flags = 4, .guest_phys_addr = base, .memory_size = size};
    void* ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ram == MAP_FAILED)
        fail("mmap");
    region.userspace_addr = (uintptr_t)ram;
    region.guest_memfd = (uint32_t)create(vm, size, 0);
    must(ioctl(vm, _IOW(KVMIO, 0x49, struct region2), &region), "KVM_SET_USER_MEMORY_REGION2");
    return vm;
}

static const uint64_t base = (uint64_t)1 << 32;

static uint64_t bench_attributes(uint64_t operations, uint64_t size) {
    static int vm = -1;
    if (vm < 0)
        vm = private_vm(base, size);
    const uint64_t start = now();
    for (uint64_t i = 0; i < operations; i++)
        set_attributes(vm, base, i & 1 ? 0 : attribute_private);
    const uint64_t end = now();
    set_attributes(vm, base, 0);
    return end - start;
}

/// `ranges` pages, every other one, to private; back to shared untimed.
static uint64_t bench_attributes_batch(uint64_t operations, uint64_t ranges) {
    static int vm = -1;
    if (vm < 0)
        vm = private_vm(base, 2 * page * ranges);
    uint64_t took = 0;
    while (operations--) {
        const uint64_t start = now();
        for (uint64_t i = 0; i < ranges; i++)
            set_attributes(vm, base + 2 * page * i, attribute_private);
        took += now() - start;
        for (uint64_t i = 0; i < ranges; i++)
            set_attributes(vm, base + 2 * page * i, 0);
    }
    return took;
}

#ifdef __x86_64__
/// In real mode: out %al, (%dx); jmp back to it.
static uint64_t bench_run(uint64_t operations, uint64_t unused) {
    (void)unused;
    static int vcpu = -1;
    if (vcpu < 0) {
        static const unsigned char program[] = {0xee, 0xeb, 0xfd};
        const int vm = open_vm(0);
        unsigned char* ram = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (ram == MAP_FAILED)
            fail("mmap");
        for (size_t i = 0; i < sizeof program; i++)
            ram[i] = program[i];
        struct kvm_userspace_memory_region region = {.memory_size = page, .userspace_addr = (uintptr_t)ram};
        uint64_t identity_map = 0xfffbc000;
        must(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map), "KVM_SET_IDENTITY_MAP_ADDR");
        must(ioctl(vm, KVM_SET_TSS_ADDR, identity_map + page), "KVM_SET_TSS_ADDR");
        must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
        vcpu = (int)must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
        struct kvm_sregs special;
        must(ioctl(vcpu, KVM_GET_SREGS, &special), "KVM_GET_SREGS");
        special.cs.base = special.cs.selector = 0;
        must(ioctl(vcpu, KVM_SET_SREGS, &special), "KVM_SET_SREGS");
        struct kvm_regs general = {.rflags = 2, .rdx = 0x10};
        must(ioctl(vcpu, KVM_SET_REGS, &general), "KVM_SET_REGS");
    }
    const uint64_t start = now();
    while (operations--)
        must(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
    return now() - start;
}
#endif

const struct bench kvm_benches[] = {
    {"check-extension", bench_check_extension},
    {"create-close", bench_create_close},
    {"map-close", bench_map_close},
    {"punch-touch", bench_punch_touch},
    {"attributes", bench_attributes},
    {"attributes-batch", bench_attributes_batch},
#ifdef __x86_64__
    {"run", bench_run},
#endif
};
const size_t kvm_bench_count = sizeof kvm_benches / sizeof *kvm_benches;
