#include "core/vcpu.hpp"

#include "core/cpuid.hpp"
#include "core/ioctl.hpp"
#include "core/kick.hpp"

#include <csignal>
#include <cstring>
#include <sys/mman.h>
#include <system_error>

namespace gm {
namespace {

uapi::kvm_run* as_run(void* memory) { return static_cast<uapi::kvm_run*>(memory); }

#if defined(__aarch64__)

/// What x86-64 does without being asked: the vCPU becomes one that can run, of the host's own kind.
Status initialise(int vm, int vcpu) {
    uapi::kvm_vcpu_init init{};
    if (const Status status = ioctl_restarting(vm, uapi::KVM_ARM_PREFERRED_TARGET, &init); status < 0)
        return -at_step(Step::arm_preferred_target, -status);
    // A PSCI that the guest can call to switch the machine off; without, it has that of 2012.
    init.features[uapi::KVM_ARM_VCPU_PSCI_0_2 / 32] |= 1u << uapi::KVM_ARM_VCPU_PSCI_0_2 % 32;
    const Status status = ioctl_restarting(vcpu, uapi::KVM_ARM_VCPU_INIT, &init);
    return status < 0 ? -at_step(Step::arm_vcpu_init, -status) : 0;
}

/// x0 to x30, sp, pc and pstate: the head of the kernel's kvm_regs, where each takes two 32-bit words.
constexpr std::size_t core_registers = 34;

Status transfer_core_registers(int vcpu, unsigned long request, std::uint64_t* values) {
    for (std::size_t i = 0; i < core_registers; i++) {
        uapi::kvm_one_reg request_for_one{};
        request_for_one.id = uapi::KVM_REG_ARM64 | uapi::KVM_REG_SIZE_U64 | uapi::KVM_REG_ARM_CORE | 2 * i;
        request_for_one.addr = reinterpret_cast<std::uintptr_t>(&values[i]);
        if (const Status status = ioctl_restarting(vcpu, request, &request_for_one); status < 0)
            return status;
    }
    return 0;
}

#endif

} // namespace

Result<std::shared_ptr<Vcpu>> Vcpu::create(const std::shared_ptr<Vm>& vm, std::uint32_t id) {
    using Failure = Result<std::shared_ptr<Vcpu>>;
    if (const Status status = Kick::install(); status < 0)
        return Failure::failure(-status);
    Result<Fd> fd = vm->create_vcpu(id);
    if (!fd.ok())
        return Failure::failure(fd.error);
#if defined(__aarch64__)
    if (const Status status = initialise(vm->fd(), (*fd).get()); status < 0)
        return Failure::failure(-status);
#endif
    void* run = ::mmap(nullptr, vm->vcpu_mmap_size(), PROT_READ | PROT_WRITE, MAP_SHARED, (*fd).get(), 0);
    if (run == MAP_FAILED)
        return Failure::last_error(Step::mmap);
    return std::make_shared<Vcpu>(vm, std::move(*fd), run, vm->vcpu_mmap_size());
}

Vcpu::Vcpu(std::shared_ptr<Vm> vm, Fd fd, void* run, std::size_t run_size)
    : vm_(std::move(vm)), fd_(std::move(fd)), run_memory_(run), run_size_(run_size) {}

Vcpu::~Vcpu() { (void)close(); }

Status Vcpu::close() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
    }
    wake_.notify_one();
    stop();
    if (thread_.joinable())
        thread_.join();
    fd_.close();
    vm_.reset();
    const Status status = run_memory_ ? status_of(::munmap(run_memory_, run_size_), Step::munmap) : 0;
    // What could not be unmapped is tried once more by the destructor.
    if (status == 0)
        run_memory_ = nullptr;
    return status;
}

int Vcpu::run(std::uint64_t timeout_ns) {
    auto* run = as_run(run_memory_);
    const Kick kick(&run->immediate_exit);
    const Deadline deadline(timeout_ns);
    if (deadline.status() < 0)
        return deadline.status();
    // A description of an earlier fault must not be taken for one of this run. Other reasons stay: arm64 looks at the
    // last one to complete an MMIO read.
    if (run->exit_reason == uapi::KVM_EXIT_MEMORY_FAULT)
        run->exit_reason = uapi::KVM_EXIT_UNKNOWN;
    for (;;) {
        const int result = ::ioctl(fd_.get(), uapi::KVM_RUN, 0);
        if (result >= 0)
            return static_cast<int>(RunEnd::exit);
        if (errno != EINTR)
            return -errno;
        // Cleared before the reasons are looked at: whoever sets it again has set its reason first.
        __atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        if (stop_.load())
            return static_cast<int>(RunEnd::stopped);
        if (deadline.passed())
            return static_cast<int>(RunEnd::timeout);
        deadline.renew();
    }
}

Status Vcpu::run_async(std::uint64_t timeout_ns, std::function<void(int)> done) {
    {
        const std::lock_guard lock(mutex_);
        if (running_ || closing_)
            return -EBUSY;
        if (!thread_.joinable()) {
            // The thread must not take signals that are meant for the process: it starts with all of them blocked.
            sigset_t all, before;
            sigfillset(&all);
            ::pthread_sigmask(SIG_SETMASK, &all, &before);
            Status status = 0;
            try {
                thread_ = std::thread([this] { serve(); });
            } catch (const std::system_error& error) {
                status = -error.code().value();
            }
            ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
            if (status < 0)
                return status;
        }
        running_ = true;
        timeout_ns_ = timeout_ns;
        done_ = std::move(done);
    }
    wake_.notify_one();
    return 0;
}

void Vcpu::serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return closing_ || done_; });
        if (!done_)
            return;
        const auto done = std::exchange(done_, nullptr);
        const std::uint64_t timeout = timeout_ns_;
        lock.unlock();
        const int result = run(timeout);
        lock.lock();
        running_ = false;
        // A stop that came too late for this run must not end the next one.
        stop_ = false;
        __atomic_store_n(&as_run(run_memory_)->immediate_exit, 0, __ATOMIC_SEQ_CST);
        lock.unlock();
        done(result);
        lock.lock();
    }
}

void Vcpu::stop() {
    const std::lock_guard lock(mutex_);
    if (!running_ || !run_memory_)
        return;
    stop_ = true;
    __atomic_store_n(&as_run(run_memory_)->immediate_exit, 1, __ATOMIC_SEQ_CST);
    Kick::send(thread_.native_handle());
}

Status Vcpu::set_cpuid(void* list, std::size_t size) const {
#if defined(__x86_64__)
    if (!is_whole_cpuid(list, size))
        return -EINVAL;
    return ioctl_restarting(fd_.get(), uapi::KVM_SET_CPUID2, list);
#else
    static_cast<void>(list);
    static_cast<void>(size);
    return -ENOTTY;
#endif
}

Status Vcpu::transfer(VcpuState which, void* state, std::size_t size) const {
#if defined(__x86_64__)
    struct Access {
        unsigned long request;
        std::size_t size;
    };
    static constexpr Access accesses[] = {
        {uapi::KVM_GET_REGS, sizeof(uapi::kvm_regs)},
        {uapi::KVM_SET_REGS, sizeof(uapi::kvm_regs)},
        {uapi::KVM_GET_SREGS, sizeof(uapi::kvm_sregs)},
        {uapi::KVM_SET_SREGS, sizeof(uapi::kvm_sregs)},
    };
    const Access& access = accesses[static_cast<std::uint32_t>(which)];
    if (size != access.size)
        return -EINVAL;
    return ioctl_restarting(fd_.get(), access.request, state);
#elif defined(__aarch64__)
    if (which != VcpuState::get_regs && which != VcpuState::set_regs)
        return -EOPNOTSUPP;
    std::uint64_t values[core_registers];
    if (size != sizeof values)
        return -EINVAL;
    // By way of an array of our own: the caller's bytes may lie at any address.
    std::memcpy(values, state, sizeof values);
    const bool get = which == VcpuState::get_regs;
    const Status status =
        transfer_core_registers(fd_.get(), get ? uapi::KVM_GET_ONE_REG : uapi::KVM_SET_ONE_REG, values);
    if (get && status == 0)
        std::memcpy(state, values, sizeof values);
    return status;
#else
#error "vCPUs are known of x86-64 and aarch64"
#endif
}

PreFaultOutcome Vcpu::pre_fault(std::uint64_t gpa, std::uint64_t size, std::uint64_t flags) const {
    uapi::kvm_pre_fault_memory request{};
    request.gpa = gpa;
    request.size = size;
    request.flags = flags;
    const Status status = ioctl_restarting(fd_.get(), uapi::KVM_PRE_FAULT_MEMORY, &request);
    return {status, request.gpa, request.size};
}

} // namespace gm
