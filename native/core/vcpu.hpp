#pragma once

#include "core/fd.hpp"
#include "core/result.hpp"
#include "core/vm.hpp"
#include "uapi/kvm.hpp"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

namespace gm {

/// How a run ended when KVM had nothing to report.
enum class RunEnd : int { exit = 0, timeout = 1, stopped = 2 };

/// The state of a vCPU that is read and written as one struct: on x86-64 the kernel's, on arm64 the general registers
/// as `struct user_pt_regs` has them (x0 to x30, sp, pc, pstate; sp is SP_EL0), and no special ones.
enum class VcpuState : std::uint32_t { get_regs, set_regs, get_sregs, set_sregs };

struct PreFaultOutcome {
    Status status;
    std::uint64_t gpa, size; ///< what is left
};

/// A vCPU, its kvm_run page, and the thread on which it runs when the caller does not want to wait.
class Vcpu {
  public:
    static Result<std::shared_ptr<Vcpu>> create(const std::shared_ptr<Vm>& vm, std::uint32_t id);
    Vcpu(std::shared_ptr<Vm> vm, Fd fd, void* run, std::size_t run_size);
    ~Vcpu();

    [[nodiscard]] int fd() const { return fd_.get(); }
    /// Stops a running guest, joins the thread, closes the fd. Idempotent.
    Status close();

    /// KVM_RUN on the calling thread. 0..2 as RunEnd, or a negative errno; -EFAULT and -EHWPOISON come with exit reason
    /// KVM_EXIT_MEMORY_FAULT where the kernel described the fault.
    [[nodiscard]] int run(std::uint64_t timeout_ns);
    /// The same on the vCPU's own thread; `done` is called there.
    [[nodiscard]] Status run_async(std::uint64_t timeout_ns, std::function<void(int)> done);
    /// Ends the run in progress with RunEnd::stopped; without one, does nothing.
    void stop();

    /// The kvm_run page and what follows it.
    [[nodiscard]] std::span<std::byte> run_page() const { return {static_cast<std::byte*>(run_memory_), run_size_}; }

    /// KVM_SET_CPUID2 (2.6.25): struct kvm_cpuid2 with its leaves. x86 only, ENOTTY elsewhere.
    [[nodiscard]] Status set_cpuid(void* list, std::size_t size) const;
    /// `size` must be that of the struct.
    [[nodiscard]] Status transfer(VcpuState which, void* state, std::size_t size) const;
    [[nodiscard]] PreFaultOutcome pre_fault(std::uint64_t gpa, std::uint64_t size, std::uint64_t flags) const;

  private:
    void serve();

    std::shared_ptr<Vm> vm_; // see Vm: keeps the addresses behind the memslots reserved
    Fd fd_;
    void* run_memory_;
    std::size_t run_size_;

    std::atomic<bool> stop_ = false;
    std::mutex mutex_; // everything below
    std::condition_variable wake_;
    std::function<void(int)> done_;
    std::uint64_t timeout_ns_ = 0;
    bool closing_ = false;
    bool running_ = false;
    std::thread thread_;
};

} // namespace gm
