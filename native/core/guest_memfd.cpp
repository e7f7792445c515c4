#include "core/guest_memfd.hpp"

#include "core/ioctl.hpp"
#include "uapi/kvm.hpp"

#include <sys/stat.h>
#include <sys/vfs.h>

namespace gm {

Status GuestMemfd::fallocate(int mode, std::uint64_t offset, std::uint64_t length) const {
    int result;
    do {
        result = ::fallocate(fd_.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(length));
    } while (result < 0 && errno == EINTR);
    return status_of(result);
}

Result<FileFacts> GuestMemfd::facts() const {
    struct stat st{};
    struct statfs fs{};
    if (::fstat(fd_.get(), &st) < 0)
        return Result<FileFacts>::last_error();
    if (::fstatfs(fd_.get(), &fs) < 0)
        return Result<FileFacts>::last_error();
    const int flags = ::fcntl(fd_.get(), F_GETFD);
    if (flags < 0)
        return Result<FileFacts>::last_error();
    return FileFacts{
        .size = static_cast<std::uint64_t>(st.st_size),
        .block_size = static_cast<std::uint64_t>(st.st_blksize),
        .blocks = static_cast<std::uint64_t>(st.st_blocks),
        .inode = st.st_ino,
        .mode = st.st_mode,
        .file_system = static_cast<std::uint64_t>(fs.f_type),
        .close_on_exec = (flags & FD_CLOEXEC) != 0,
    };
}

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
