#pragma once

#include "core/fd.hpp"
#include "core/result.hpp"

#include <cstdint>
#include <memory>

namespace gm {

class Vm;

/// An open /dev/kvm.
class Kvm {
  public:
    static Result<std::shared_ptr<Kvm>> open(const char* path);

    explicit Kvm(Fd fd) : fd_(std::move(fd)) {}
    [[nodiscard]] int fd() const { return fd_.get(); }
    void close() { fd_.close(); }

    /// KVM_GET_API_VERSION: 12 on every kernel since 2.6.22.
    [[nodiscard]] int api_version() const;
    /// KVM_CHECK_EXTENSION on the system fd: the answer for "some VM", not for a given one.
    [[nodiscard]] int check_extension(std::uint32_t capability) const;
    [[nodiscard]] Result<std::shared_ptr<Vm>> create_vm(std::uint64_t type) const;
    /// KVM_GET_SUPPORTED_CPUID (2.6.25): struct kvm_cpuid2 with as many leaves as `size` has room for, E2BIG when there
    /// are more. x86 only, ENOTTY elsewhere.
    [[nodiscard]] Status supported_cpuid(void* list, std::size_t size) const;
    /// Bytes to mmap for each vCPU's kvm_run; never the size of the struct.
    [[nodiscard]] int vcpu_mmap_size() const;

  private:
    Fd fd_;
};

} // namespace gm
