#pragma once

#include "core/fd.hpp"
#include "core/mapping.hpp"
#include "core/result.hpp"
#include "uapi/kvm.hpp"

#include <cstdint>
#include <map>
#include <memory>

namespace gm {

/// A virtual machine: its fd, and the host addresses that its memslots lead the guest to.
///
/// vCPUs hold a shared reference, because a guest can run on after the VM's fd is closed: the host addresses behind the
/// memslots stay reserved until the last of them is gone (see AddressRange).
class Vm {
  public:
    Vm(Fd fd, std::size_t vcpu_mmap_size) : fd_(std::move(fd)), vcpu_mmap_size_(vcpu_mmap_size) {}

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] std::size_t vcpu_mmap_size() const { return vcpu_mmap_size_; }
    void close() { fd_.close(); }

    /// KVM_CHECK_EXTENSION on the VM fd: the answer for this VM.
    [[nodiscard]] int check_extension(std::uint32_t capability) const;
    [[nodiscard]] Status enable_capability(std::uint32_t capability, std::uint32_t flags,
                                           const std::uint64_t (&arguments)[4]) const;
    /// KVM_CREATE_GUEST_MEMFD; the fd is close-on-exec.
    [[nodiscard]] Result<Fd> create_guest_memfd(std::uint64_t size, std::uint64_t flags) const;

    /// KVM_SET_USER_MEMORY_REGION2, or the older ioctl with `legacy`. memory_size 0 deletes the slot.
    /// `backing` is the mapping that userspace_addr points into, or null when the caller gave a bare address.
    [[nodiscard]] Status set_user_memory_region(const uapi::kvm_userspace_memory_region2& region, bool legacy,
                                                const std::shared_ptr<AddressRange>& backing);
    [[nodiscard]] Status set_memory_attributes(std::uint64_t address, std::uint64_t size, std::uint64_t attributes,
                                               std::uint64_t flags) const;
    /// KVM_SET_TSS_ADDR and KVM_SET_IDENTITY_MAP_ADDR: three pages and one page that Intel without unrestricted guest
    /// mode needs, outside every memslot. x86 only; ENOTTY elsewhere.
    [[nodiscard]] Status set_tss_address(std::uint64_t address) const;
    [[nodiscard]] Status set_identity_map_address(std::uint64_t address) const;
    /// KVM_GET_SUPPORTED_CPUID is asked of the system fd, so the vCPU's set-up takes it from there.
    [[nodiscard]] Result<Fd> create_vcpu(std::uint32_t id) const;

  private:
    Fd fd_;
    std::size_t vcpu_mmap_size_;
    std::map<std::uint32_t, SlotPin> slots_;
};

} // namespace gm
