#include "addon/call.hpp"

#include "core/in_child.hpp"
#include "core/ioctl.hpp"

#include <fcntl.h>

namespace gm {
namespace {

/// What an ioctl is given: the bytes of an array, or a bad address where there is none.
void* argument(const Call& call, std::size_t i) {
    return call.value(i).IsTypedArray() ? call.array<std::uint8_t>(i).data() : nullptr;
}

/// (fd, request, bytes or null)
Napi::Value ioctl_raw(const Call& call) {
    return call.give(ioctl_restarting(call.i32(0), call.u64(1), argument(call, 2)));
}

/// The errno as a number of 0 to 255, which is what a child can tell.
int told(int result) { return result < 0 ? errno : 0; }

/// A child's errno as a status; a child that a signal killed gives the signal, positive.
Napi::Value status_from(const Call& call, Result<int> child) {
    if (!child.ok())
        return call.give(-child.error);
    return call.give(-*child);
}

/// (fd, request, bytes or null): the same by a forked child.
Napi::Value ioctl_in_child(const Call& call) {
    const int fd = call.i32(0);
    const auto request = call.u64(1);
    void* const bytes = argument(call, 2);
    return status_from(call, in_child([=] { return told(::ioctl(fd, request, bytes)); }));
}

/// (fd, mode, offset, length)
Napi::Value fallocate_in_child(const Call& call) {
    const int fd = call.i32(0), mode = call.i32(1);
    const auto offset = static_cast<off_t>(call.u64(2)), length = static_cast<off_t>(call.u64(3));
    return status_from(call, in_child([=] { return told(::fallocate(fd, mode, offset, length)); }));
}

constexpr Export exports[] = {
    {"rawIoctl", ioctl_raw},
    {"rawIoctlInChild", ioctl_in_child},
    {"rawFallocateInChild", fallocate_in_child},
};

} // namespace

std::span<const Export> raw_exports() { return exports; }

} // namespace gm
