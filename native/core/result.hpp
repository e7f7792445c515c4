#pragma once

#include <cerrno>
#include <cstdint>
#include <utility>

namespace gm {

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
    static Result last_error() { return failure(errno); }

    [[nodiscard]] bool ok() const { return error == 0; }
    [[nodiscard]] T& operator*() { return value; }
    T* operator->() { return &value; }
};

/// For calls that give nothing back: 0, or a negative errno.
using Status = int;

inline Status status_of(int result) { return result < 0 ? -errno : 0; }

} // namespace gm
