#include "core/guest_memfd.hpp"

#include "core/ioctl.hpp"
#include "uapi/kvm.hpp"

namespace gm {

AttributesOutcome GuestMemfd::set_memory_attributes(std::uint64_t offset, std::uint64_t size, std::uint64_t attributes,
                                                    std::uint64_t flags) const {
    uapi::kvm_memory_attributes2 request{};
    request.address = offset;
    request.size = size;
    request.attributes = attributes;
    request.flags = flags;
    const Status status = ioctl_restarting(fd_.get(), uapi::KVM_SET_MEMORY_ATTRIBUTES2, &request);
    return {status, request.error_offset};
}

Status GuestMemfd::probe_memory_attributes() const {
    return ioctl_restarting(fd_.get(), uapi::KVM_SET_MEMORY_ATTRIBUTES2, static_cast<void*>(nullptr));
}

} // namespace gm
