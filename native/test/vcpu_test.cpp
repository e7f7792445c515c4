#include "core/vcpu.hpp"

#include "test/check.hpp"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;

const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
std::shared_ptr<gm::Kvm> kvm;

std::size_t entries_of(const char* path) {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path))
        count++;
    return count;
}

/// A guest in real mode that runs bytes of machine code from address 0.
struct Guest {
    std::shared_ptr<gm::Vm> vm;
    std::shared_ptr<gm::Mapping> memory;
    std::shared_ptr<gm::Vcpu> vcpu;

    explicit Guest(std::initializer_list<unsigned char> code) {
        auto made = kvm->create_vm(0);
        CHECK(made.ok());
        vm = *made;
        auto mapped = gm::Mapping::map({.fd = -1,
                                        .offset = 0,
                                        .length = page,
                                        .protection = PROT_READ | PROT_WRITE,
                                        .flags = MAP_PRIVATE | MAP_ANONYMOUS,
                                        .alignment = 0});
        CHECK(mapped.ok());
        memory = *mapped;
        CHECK_EQUAL(memory->write(0, code.begin(), code.size()).done, code.size());
        gm::uapi::kvm_userspace_memory_region2 region{};
        region.memory_size = page;
        region.userspace_addr = reinterpret_cast<std::uintptr_t>(memory->base());
        CHECK_EQUAL(vm->set_user_memory_region(region, false, memory->range()), 0);
        auto cpu = gm::Vcpu::create(vm, 0);
        CHECK(cpu.ok());
        vcpu = *cpu;
#if defined(__x86_64__)
        gm::uapi::kvm_sregs sregs;
        CHECK_EQUAL(vcpu->transfer(gm::VcpuState::get_sregs, &sregs, sizeof sregs), 0);
        sregs.cs.base = 0;
        sregs.cs.selector = 0;
        CHECK_EQUAL(vcpu->transfer(gm::VcpuState::set_sregs, &sregs, sizeof sregs), 0);
        gm::uapi::kvm_regs regs{};
        regs.rflags = 2;
        CHECK_EQUAL(vcpu->transfer(gm::VcpuState::set_regs, &regs, sizeof regs), 0);
        CHECK_EQUAL(vcpu->transfer(gm::VcpuState::set_regs, &regs, 1), -EINVAL);
#endif
    }
};

constexpr std::initializer_list<unsigned char> endless = {0xeb, 0xfe};               // jmp .
constexpr std::initializer_list<unsigned char> port_loop = {0xe6, 0x10, 0xeb, 0xfc}; // out 0x10, al; jmp .-2

constexpr int timeout = static_cast<int>(gm::RunEnd::timeout);
constexpr int stopped = static_cast<int>(gm::RunEnd::stopped);
constexpr int exited = static_cast<int>(gm::RunEnd::exit);

void a_run_ends_when_its_time_is_over() {
    const Guest guest(endless);
    const auto begin = std::chrono::steady_clock::now();
    CHECK_EQUAL(guest.vcpu->run(30'000'000), timeout);
    CHECK(std::chrono::steady_clock::now() - begin >= 30ms);
    // Short ones: the signal may come before KVM_RUN is reached.
    for (int i = 0; i < 500; i++)
        CHECK_EQUAL(guest.vcpu->run(1), timeout);
}

void a_run_has_its_own_time_whatever_that_of_the_run_before() {
    const Guest exits(port_loop), guest(endless);
    // The timer of a run that has ended is still on its way: later than the next one's time, then earlier.
    CHECK_EQUAL(exits.vcpu->run(60'000'000'000), exited);
    CHECK_EQUAL(guest.vcpu->run(10'000'000), timeout);
    CHECK_EQUAL(exits.vcpu->run(10'000'000), exited);
    const auto begin = std::chrono::steady_clock::now();
    CHECK_EQUAL(guest.vcpu->run(50'000'000), timeout);
    CHECK(std::chrono::steady_clock::now() - begin >= 50ms);
}

void an_exit_is_reported_in_kvm_run() {
    const Guest guest(port_loop);
    for (int i = 0; i < 100; i++) {
        CHECK_EQUAL(guest.vcpu->run(5'000'000'000), exited);
        const auto* run = reinterpret_cast<const gm::uapi::kvm_run*>(guest.vcpu->run_page().data());
        CHECK_EQUAL(run->exit_reason, gm::uapi::KVM_EXIT_IO);
        CHECK_EQUAL(run->io.port, 0x10);
    }
}

void a_run_on_its_own_thread_can_be_stopped() {
    const Guest guest(endless);
    for (int i = 0; i < 300; i++) {
        std::atomic<int> result = -1;
        CHECK_EQUAL(guest.vcpu->run_async(0, [&](int end) { result = end; }), 0);
        CHECK_EQUAL(guest.vcpu->run_async(0, [](int) {}), -EBUSY);
        if (i % 3 == 0)
            std::this_thread::sleep_for(100us);
        guest.vcpu->stop();
        while (result == -1)
            std::this_thread::yield();
        CHECK_EQUAL(result, stopped);
    }
    // A stop that finds nothing to stop must not end the next run.
    guest.vcpu->stop();
    CHECK_EQUAL(guest.vcpu->run(1'000'000), timeout);
}

void stopping_races_with_exits() {
    const Guest guest(port_loop);
    for (int i = 0; i < 1000; i++) {
        std::atomic<int> result = -1;
        CHECK_EQUAL(guest.vcpu->run_async(0, [&](int end) { result = end; }), 0);
        if (i % 2 == 0)
            std::this_thread::yield();
        guest.vcpu->stop();
        while (result == -1)
            std::this_thread::yield();
        CHECK(result == exited || result == stopped);
        // A stop that came too late must not end the next run, here one on this thread.
        CHECK_EQUAL(guest.vcpu->run(5'000'000'000), exited);
    }
}

void closing_ends_a_run() {
    for (int i = 0; i < 50; i++) {
        const Guest guest(endless);
        std::atomic<int> result = -1;
        CHECK_EQUAL(guest.vcpu->run_async(0, [&](int end) { result = end; }), 0);
        if (i % 2 == 0)
            std::this_thread::sleep_for(100us);
        guest.vcpu->close();
        CHECK_EQUAL(result, stopped);
        guest.vcpu->close();
        CHECK_EQUAL(guest.vcpu->run_async(0, [](int) {}), -EBUSY);
    }
}

void a_guest_outlives_its_vms_descriptor() {
    const Guest guest(port_loop);
    guest.vm->close();
    CHECK_EQUAL(guest.vcpu->run(5'000'000'000), exited);
    CHECK_EQUAL(guest.memory->close(), 0);
    const int end = guest.vcpu->run(5'000'000'000);
    // Its memory is gone, its addresses are not: whatever KVM makes of that, it comes back.
    CHECK(end == exited || end < 0);
}

void nothing_is_left_behind() {
    const std::size_t descriptors = entries_of("/proc/self/fd");
    const std::size_t threads = entries_of("/proc/self/task");
    for (int i = 0; i < 50; i++) {
        const Guest guest(endless);
        CHECK_EQUAL(guest.vcpu->run_async(0, [](int) {}), 0);
    }
    CHECK_EQUAL(entries_of("/proc/self/fd"), descriptors);
    CHECK_EQUAL(entries_of("/proc/self/task"), threads);
}

} // namespace

int main() {
#if !defined(__x86_64__)
    std::printf("skipped: these guests are x86 machine code\n");
    return 77;
#endif
    kvm = require_kvm();
    RUN(a_run_ends_when_its_time_is_over);
    RUN(a_run_has_its_own_time_whatever_that_of_the_run_before);
    RUN(an_exit_is_reported_in_kvm_run);
    RUN(a_run_on_its_own_thread_can_be_stopped);
    RUN(stopping_races_with_exits);
    RUN(closing_ends_a_run);
    RUN(a_guest_outlives_its_vms_descriptor);
    RUN(nothing_is_left_behind);
    kvm.reset();
}
