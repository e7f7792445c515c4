#pragma once

#include "core/result.hpp"

#include <cerrno>
#include <sys/wait.h>
#include <unistd.h>

namespace gm {

/// How a forked child ended: what `call` gave, 0 to 255, or the signal that killed it, negative.
///
/// This process has other threads, so between fork() and _exit() the child may do nothing but plain system calls and
/// memory accesses: no allocation, no lock.
template <typename Call> Result<int> in_child(Call call) {
    const pid_t child = ::fork();
    if (child < 0)
        return Result<int>::last_error();
    if (child == 0) {
        ::_exit(call());
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return Result<int>::last_error();
    }
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

} // namespace gm
