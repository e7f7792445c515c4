#pragma once

#include "core/guest_memfd.hpp"
#include "core/mapping.hpp"
#include "core/result.hpp"
#include "core/vm.hpp"

#include <cstdint>
#include <span>
#include <variant>

namespace gm {

/// KVM_SET_MEMORY_ATTRIBUTES of guest physical memory.
struct SetVmAttributes {
    const Vm* vm;
    std::uint64_t address, size, attributes;
};
/// KVM_SET_MEMORY_ATTRIBUTES2 of a file's range.
struct SetFileAttributes {
    const GuestMemfd* file;
    std::uint64_t offset, size, attributes;
};
/// fallocate() that gives a file's range back.
struct PunchHole {
    const GuestMemfd* file;
    std::uint64_t offset, length;
};
/// madvise() of a mapping's range, which the caller has checked to lie inside.
struct Advise {
    const Mapping* mapping;
    std::uint64_t offset, length;
    int advice;
};
using ConversionStep = std::variant<SetVmAttributes, SetFileAttributes, PunchHole, Advise>;

struct ConversionOutcome {
    std::size_t done; ///< steps that succeeded
    Status status;    ///< of the one after them, or 0
    std::uint64_t error_offset;
};

/// Does one step after the other until one fails: many ranges for the price of one call from JavaScript.
[[nodiscard]] ConversionOutcome convert(std::span<const ConversionStep> steps);

} // namespace gm
