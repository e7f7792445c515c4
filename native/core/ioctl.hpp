#pragma once

#include "core/result.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>

namespace gm {

/// ioctl() that starts again after a signal; returns the kernel's non-negative answer or a negative errno.
/// KVM_RUN does not come through here: there EINTR is an answer.
template <typename Argument> int ioctl_restarting(int fd, unsigned long request, Argument argument) {
    for (;;) {
        const int result = ::ioctl(fd, request, argument);
        if (result >= 0)
            return result;
        if (errno != EINTR)
            return -errno;
    }
}

/// Some KVM ioctls (KVM_CREATE_GUEST_MEMFD, KVM_CREATE_VCPU on old kernels) give an fd without close-on-exec.
inline void set_close_on_exec(int fd) { ::fcntl(fd, F_SETFD, FD_CLOEXEC); }

} // namespace gm
