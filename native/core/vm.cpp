#include "core/vm.hpp"

#include "core/ioctl.hpp"

#include <cstring>

namespace gm {

int Vm::check_extension(std::uint32_t capability) const {
    return ioctl_restarting(fd_.get(), uapi::KVM_CHECK_EXTENSION, static_cast<unsigned long>(capability));
}

Status Vm::enable_capability(std::uint32_t capability, std::uint32_t flags, const std::uint64_t (&arguments)[4]) const {
    uapi::kvm_enable_cap request{};
    request.cap = capability;
    request.flags = flags;
    for (int i = 0; i < 4; i++)
        request.args[i] = arguments[i];
    return ioctl_restarting(fd_.get(), uapi::KVM_ENABLE_CAP, &request);
}

Result<Fd> Vm::create_guest_memfd(std::uint64_t size, std::uint64_t flags) const {
    uapi::kvm_create_guest_memfd request{};
    request.size = size;
    request.flags = flags;
    const int fd = ioctl_restarting(fd_.get(), uapi::KVM_CREATE_GUEST_MEMFD, &request);
    if (fd < 0)
        return Result<Fd>::failure(-fd);
    set_close_on_exec(fd);
    return Fd(fd);
}

Status Vm::set_user_memory_region(const uapi::kvm_userspace_memory_region2& region, bool legacy,
                                  const std::shared_ptr<AddressRange>& backing) {
    const unsigned long request = legacy ? uapi::KVM_SET_USER_MEMORY_REGION : uapi::KVM_SET_USER_MEMORY_REGION2;
    // The older struct is the first 32 bytes of the newer one, so one object serves both.
    const Status status = ioctl_restarting(fd_.get(), request, &region);
    if (status < 0)
        return status;
    if (region.memory_size == 0 || !backing) {
        slots_.erase(region.slot);
    } else {
        slots_.insert_or_assign(region.slot, SlotPin(backing));
    }
    return 0;
}

Status Vm::set_memory_attributes(std::uint64_t address, std::uint64_t size, std::uint64_t attributes,
                                 std::uint64_t flags) const {
    uapi::kvm_memory_attributes request{};
    request.address = address;
    request.size = size;
    request.attributes = attributes;
    request.flags = flags;
    return ioctl_restarting(fd_.get(), uapi::KVM_SET_MEMORY_ATTRIBUTES, &request);
}

Status Vm::set_tss_address(std::uint64_t address) const {
    return ioctl_restarting(fd_.get(), uapi::KVM_SET_TSS_ADDR, static_cast<unsigned long>(address));
}

Status Vm::set_identity_map_address(std::uint64_t address) const {
    return ioctl_restarting(fd_.get(), uapi::KVM_SET_IDENTITY_MAP_ADDR, &address);
}

Result<Fd> Vm::create_vcpu(std::uint32_t id) const {
    const int fd = ioctl_restarting(fd_.get(), uapi::KVM_CREATE_VCPU, static_cast<unsigned long>(id));
    if (fd < 0)
        return Result<Fd>::failure(-fd);
    set_close_on_exec(fd);
    return Fd(fd);
}

} // namespace gm
