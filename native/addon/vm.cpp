#include "addon/call.hpp"

namespace gm {
namespace {

Napi::Value check_extension(const Call& call) { return call.give(call.object<Vm>(0).check_extension(call.u32(1))); }

Napi::Value enable_capability(const Call& call) {
    return call.give(call.object<Vm>(0).enable_capability(call.u32(1), call.u32(2),
                                                          {call.u64(3), call.u64(4), call.u64(5), call.u64(6)}));
}

Napi::Value create_guest_memfd(const Call& call) {
    Result<Fd> fd = call.object<Vm>(0).create_guest_memfd(call.u64(1), call.u64(2));
    if (!fd.ok())
        return call.give(-fd.error);
    return call.give(call.environment().add(std::make_shared<GuestMemfd>(std::move(*fd))));
}

/// (vm, slot, flags, guestPhysAddr, size, userspaceAddr, guestMemfd fd, guestMemfdOffset, legacy, mapping or 0)
Napi::Value set_user_memory_region(const Call& call) {
    uapi::kvm_userspace_memory_region2 region{};
    region.slot = call.u32(1);
    region.flags = call.u32(2);
    region.guest_phys_addr = call.u64(3);
    region.memory_size = call.u64(4);
    region.userspace_addr = call.u64(5);
    region.guest_memfd = static_cast<std::uint32_t>(call.i32(6));
    region.guest_memfd_offset = call.u64(7);
    const bool legacy = call.u32(8) != 0;
    const std::uint32_t mapping = call.u32(9);
    const auto backing = mapping ? call.environment().get<MappingEntry>(call.env(), mapping).mapping->range() : nullptr;
    return call.give(call.object<Vm>(0).set_user_memory_region(region, legacy, backing));
}

Napi::Value set_memory_attributes(const Call& call) {
    return call.give(call.object<Vm>(0).set_memory_attributes(call.u64(1), call.u64(2), call.u64(3), call.u64(4)));
}

Napi::Value set_tss_address(const Call& call) { return call.give(call.object<Vm>(0).set_tss_address(call.u64(1))); }

Napi::Value set_identity_map_address(const Call& call) {
    return call.give(call.object<Vm>(0).set_identity_map_address(call.u64(1)));
}

constexpr Export exports[] = {
    {"vmCheckExtension", check_extension},
    {"vmEnableCapability", enable_capability},
    {"vmCreateGuestMemfd", create_guest_memfd},
    {"vmSetUserMemoryRegion", set_user_memory_region},
    {"vmSetMemoryAttributes", set_memory_attributes},
    {"vmSetTssAddress", set_tss_address},
    {"vmSetIdentityMapAddress", set_identity_map_address},
};

} // namespace

std::span<const Export> vm_exports() { return exports; }

} // namespace gm
