#include "core/kvm.hpp"

#include "core/ioctl.hpp"
#include "core/vm.hpp"
#include "uapi/kvm.hpp"

namespace gm {

Result<std::shared_ptr<Kvm>> Kvm::open(const char* path) {
    int fd;
    do {
        fd = ::open(path, O_RDWR | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return Result<std::shared_ptr<Kvm>>::last_error();
    return std::make_shared<Kvm>(Fd(fd));
}

int Kvm::api_version() const { return ioctl_restarting(fd_.get(), uapi::KVM_GET_API_VERSION, 0UL); }

int Kvm::check_extension(std::uint32_t capability) const {
    return ioctl_restarting(fd_.get(), uapi::KVM_CHECK_EXTENSION, static_cast<unsigned long>(capability));
}

int Kvm::vcpu_mmap_size() const { return ioctl_restarting(fd_.get(), uapi::KVM_GET_VCPU_MMAP_SIZE, 0UL); }

Status Kvm::supported_cpuid(void* list, std::size_t size) const {
#if defined(__x86_64__)
    constexpr std::size_t leaf_size = 40;
    if (size < sizeof(uapi::kvm_cpuid2))
        return -EINVAL;
    auto* head = static_cast<uapi::kvm_cpuid2*>(list);
    *head = {static_cast<std::uint32_t>((size - sizeof *head) / leaf_size), 0};
    return ioctl_restarting(fd_.get(), uapi::KVM_GET_SUPPORTED_CPUID, list);
#else
    static_cast<void>(list);
    static_cast<void>(size);
    return -ENOTTY;
#endif
}

Result<std::shared_ptr<Vm>> Kvm::create_vm(std::uint64_t type) const {
    const int run_size = vcpu_mmap_size();
    if (run_size < 0)
        return Result<std::shared_ptr<Vm>>::failure(at_step(Step::get_vcpu_mmap_size, -run_size));
    const int fd = ioctl_restarting(fd_.get(), uapi::KVM_CREATE_VM, static_cast<unsigned long>(type));
    if (fd < 0)
        return Result<std::shared_ptr<Vm>>::failure(-fd);
    set_close_on_exec(fd);
    return std::make_shared<Vm>(Fd(fd), static_cast<std::size_t>(run_size));
}

} // namespace gm
