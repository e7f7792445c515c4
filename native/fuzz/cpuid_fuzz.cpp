// struct kvm_cpuid2 as JavaScript gives it: any count before any number of bytes, at any address.
#include "core/cpuid.hpp"

#include "fuzz/fuzz.hpp"

#include <vector>

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    for (const std::size_t shift : {0, 1, 3}) {
        std::vector<std::uint8_t> bytes(shift);
        bytes.insert(bytes.end(), data, data + size);
        if (!gm::is_whole_cpuid(bytes.data() + shift, size))
            continue;
        // Then the kernel may read all of them: so does this.
        std::uint64_t count = 0;
        for (int i = 3; i >= 0; i--)
            count = count << 8 | bytes.at(shift + static_cast<std::size_t>(i));
        REQUIRE(8 + 40 * count <= size);
    }
    return 0;
}
