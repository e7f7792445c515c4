// Guarded access to a mapping of which only a part can be accessed, against a model that is plain bytes; and mappings
// of any length and alignment, of which nothing may be left.
#include "core/mapping.hpp"

#include "fuzz/fuzz.hpp"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {

const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

/// Numbers out of bytes; zeros when they are used up.
struct Numbers {
    const std::uint8_t* at;
    std::size_t left;
    std::uint64_t next(int bytes) {
        std::uint64_t number = 0;
        for (; bytes > 0 && left > 0; bytes--, left--)
            number = number << 8 | *at++;
        return number;
    }
};

/// Three pages of memory, of which `readable` can be accessed: the others lie beyond the end of the file.
void access(Numbers numbers) {
    const std::size_t length = 3 * page, readable = numbers.next(1) % 4 * page;
    const int fd = memfd_create("gm-fuzz", MFD_CLOEXEC);
    REQUIRE(ftruncate(fd, static_cast<off_t>(readable)) == 0);
    auto made = gm::Mapping::map({.fd = fd,
                                  .offset = 0,
                                  .length = length,
                                  .protection = PROT_READ | PROT_WRITE,
                                  .flags = MAP_SHARED,
                                  .alignment = 0});
    close(fd);
    REQUIRE(made.ok());
    gm::Mapping& mapping = **made;
    std::vector<std::uint8_t> model(readable), buffer(length);
    while (numbers.left > 0) {
        const auto kind = numbers.next(1) % 4;
        const std::uint64_t offset = numbers.next(2) % (length + 1);
        const std::uint64_t count = std::min<std::uint64_t>(numbers.next(2), length - offset);
        const auto value = static_cast<std::uint8_t>(numbers.next(1));
        const std::uint64_t can = offset < readable ? std::min<std::uint64_t>(count, readable - offset) : 0;
        REQUIRE(mapping.contains(offset, count) && !mapping.contains(offset, length - offset + 1));
        gm::GuardedOutcome outcome{};
        if (kind == 0) {
            outcome = mapping.read(offset, buffer.data(), count);
            REQUIRE(can == 0 || std::memcmp(buffer.data(), model.data() + offset, can) == 0);
        } else if (kind == 1) {
            std::fill_n(buffer.begin(), count, value);
            outcome = mapping.write(offset, buffer.data(), count);
            std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(can > 0 ? offset : 0), can, value);
        } else if (kind == 2) {
            outcome = mapping.fill(offset, value, count);
            std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(can > 0 ? offset : 0), can, value);
        } else {
            std::fill_n(buffer.begin(), count, value);
            outcome = mapping.compare(offset, buffer.data(), count);
            if (!outcome.equal) {
                REQUIRE(outcome.done < can && model[offset + outcome.done] != value);
                continue;
            }
        }
        REQUIRE(outcome.done == can && outcome.faulted == (can < count));
    }
    REQUIRE(mapping.close() == 0);
}

void any_mapping(Numbers numbers) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (numbers.next(1) % 4 == 0 ? MAP_HUGETLB : 0);
    const std::uint64_t alignment = std::uint64_t{1} << numbers.next(1) % 64;
    const bool guard = numbers.next(1) % 2 == 1;
    const std::uint64_t length = numbers.next(8) >> numbers.next(1) % 64;
    auto made = gm::Mapping::map({.fd = -1,
                                  .offset = 0,
                                  .length = length,
                                  .protection = PROT_NONE,
                                  .flags = flags,
                                  .alignment = alignment,
                                  .guard = guard});
    if (!made.ok())
        return;
    gm::Mapping& mapping = **made;
    std::byte* const base = mapping.base();
    const std::size_t whole = mapping.length();
    REQUIRE(whole >= length && reinterpret_cast<std::uintptr_t>(base) % alignment == 0);
    REQUIRE(mapping.close() == 0);
    // msync() refuses addresses where nothing is mapped.
    REQUIRE(msync(base, page, MS_ASYNC) < 0 && msync(base + whole - page, page, MS_ASYNC) < 0);
}

} // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        access({data + 1, size - 1});
    else
        any_mapping({data + 1, size - 1});
    return 0;
}
