#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace gm {

/// Whether struct kvm_cpuid2 (a count, 4 bytes, leaves of 40 bytes each) has all the leaves that it says it has. The
/// bytes may lie at any address.
inline bool is_whole_cpuid(const void* list, std::size_t size) {
    constexpr std::size_t head = 8, leaf = 40;
    std::uint32_t count;
    if (size < head)
        return false;
    std::memcpy(&count, list, sizeof count);
    return (size - head) / leaf >= count;
}

} // namespace gm
