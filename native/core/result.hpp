#pragma once

#include <cerrno>
#include <cstdint>
#include <utility>

namespace gm {

/// The call that failed, where a function makes others than the one that it is named for. Its number goes above the
/// errno, in the same word, so that a failure stays one number up to JavaScript; lib/kvm/errors.ts has the names in
/// this order.
enum class Step : int {
    named,
    fstatfs,
    mmap,
    munmap,
    sigaction,
    timer_create,
    pthread_create,
    sched_setaffinity,
    pipe2,
    read,
    write,
    get_vcpu_mmap_size,
    arm_preferred_target,
    arm_vcpu_init,
    set_pipe_size,
    vmsplice,
};

/// The errno of a failure at a step, as Result::error has it.
constexpr int at_step(Step step, int error) { return error | static_cast<int>(step) << 12; }

/// What a kernel call gave: a value, or the errno that it failed with.
/// C++20 has no std::expected, and an exception would cost more than most of the calls it reports.
template <typename T> struct Result {
    T value{};
    int error = 0;

    Result(T v) : value(std::move(v)) {}
    static Result failure(int error) {
        Result r{T{}};
        r.error = error;
        return r;
    }
    static Result last_error(Step step = Step::named) { return failure(at_step(step, errno)); }

    [[nodiscard]] bool ok() const { return error == 0; }
    [[nodiscard]] T& operator*() { return value; }
    T* operator->() { return &value; }
};

/// For calls that give nothing back: 0, or a negative errno.
using Status = int;

inline Status status_of(int result, Step step = Step::named) { return result < 0 ? -at_step(step, errno) : 0; }

} // namespace gm
