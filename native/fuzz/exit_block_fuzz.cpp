// kvm_run as a kernel may leave it, with any sizes and offsets in it.
#include "core/exit_block.hpp"

#include "fuzz/fuzz.hpp"
#include "uapi/kvm.hpp"

#include <cstring>
#include <vector>

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // Behind the bytes given, as many zeros as a kvm_run needs; exactly so long, so that ASan sees one byte too many.
    std::vector<std::uint8_t> page(std::max(size, sizeof(gm::uapi::kvm_run) + (size % 2) * 4096));
    if (size > 0)
        std::memcpy(page.data(), data, size);
    constexpr std::size_t whole = gm::exit_head + gm::exit_io_data_max;
    std::vector<std::uint8_t> block(whole, 0xee);
    gm::publish_exit(page, block);
    REQUIRE(std::memcmp(block.data(), page.data(), gm::exit_head) == 0);
    const auto* run = reinterpret_cast<const gm::uapi::kvm_run*>(page.data());
    const std::uint64_t length = std::uint64_t{run->io.size} * run->io.count;
    const bool is_io = run->exit_reason == gm::uapi::KVM_EXIT_IO;
    for (std::size_t i = is_io ? std::min<std::uint64_t>(length, gm::exit_io_data_max) : 0; i < gm::exit_io_data_max;
         i++)
        REQUIRE(block[gm::exit_head + i] == 0xee);
    std::vector<std::uint8_t> small(whole - 1, 0xee);
    gm::publish_exit(page, small);
    REQUIRE(small[0] == 0xee);
    gm::publish_exit({page.data(), sizeof(gm::uapi::kvm_run) - 1}, block);
    return 0;
}
