#include "core/mapping.hpp"

#include "test/check.hpp"

#include <sys/mman.h>
#include <unistd.h>

namespace {

const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

std::shared_ptr<gm::Mapping> anonymous(std::size_t length, std::size_t alignment = 0) {
    auto mapping = gm::Mapping::map({.fd = -1,
                                     .offset = 0,
                                     .length = length,
                                     .protection = PROT_READ | PROT_WRITE,
                                     .flags = MAP_PRIVATE | MAP_ANONYMOUS,
                                     .alignment = alignment});
    CHECK(mapping.ok());
    return *mapping;
}

/// Whether anything is mapped at an address.
bool is_mapped(const std::byte* at) {
    unsigned char resident;
    return mincore(const_cast<std::byte*>(at), page, &resident) == 0;
}

void aligns() {
    for (const std::size_t alignment : {page, 16 * page, std::size_t{1} << 21, std::size_t{1} << 30}) {
        const auto mapping = anonymous(3 * page, alignment);
        CHECK_EQUAL(reinterpret_cast<std::uintptr_t>(mapping->base()) % alignment, 0);
        CHECK_EQUAL(mapping->fill(0, 1, 3 * page).done, 3 * page);
    }
    const auto odd = anonymous(page + 1);
    CHECK_EQUAL(odd->length(), 2 * page);
}

void refuses_what_does_not_fit() {
    const auto mapping = anonymous(2 * page);
    CHECK(mapping->contains(0, 2 * page));
    CHECK(mapping->contains(2 * page, 0));
    CHECK(!mapping->contains(0, 2 * page + 1));
    CHECK(!mapping->contains(2 * page + 1, 0));
    CHECK(!mapping->contains(page, ~std::uint64_t{0} - 10));
    auto huge = gm::Mapping::map({.fd = -1,
                                  .offset = 0,
                                  .length = ~std::uint64_t{0} - page,
                                  .protection = PROT_READ,
                                  .flags = MAP_PRIVATE | MAP_ANONYMOUS,
                                  .alignment = 1 << 21});
    CHECK_EQUAL(huge.error, ENOMEM);
}

void unmaps_when_nobody_needs_the_addresses() {
    const auto mapping = anonymous(page);
    const std::byte* base = mapping->base();
    CHECK_EQUAL(mapping->close(), 0);
    CHECK(!is_mapped(base));
    CHECK_EQUAL(mapping->close(), 0);
}

void keeps_addresses_of_a_slot_inaccessible() {
    const auto mapping = anonymous(page);
    std::byte* base = mapping->base();
    CHECK_EQUAL(mapping->fill(0, 7, page).done, page);
    {
        const gm::SlotPin pin(mapping->range());
        CHECK_EQUAL(mapping->close(), 0);
        CHECK(is_mapped(base));
        unsigned char byte;
        CHECK(gm::guarded_copy(&byte, base, 1).faulted);
    }
    CHECK(!is_mapped(base));
}

void keeps_zero_pages_under_a_view() {
    const auto mapping = anonymous(page);
    std::byte* base = mapping->base();
    CHECK_EQUAL(mapping->fill(0, 7, page).done, page);
    auto range = mapping->range();
    range->views++;
    CHECK_EQUAL(mapping->close(), 0);
    CHECK_EQUAL(std::to_integer<int>(*base), 0);
    *base = std::byte{1};
    range->views--;
    range.reset();
    CHECK(!is_mapped(base));
}

void sealed_pages_fail() {
    const auto mapping = anonymous(4 * page);
    CHECK_EQUAL(mapping->fill(0, 7, 4 * page).done, 4 * page);
    CHECK_EQUAL(mapping->seal(page + 1, 1), 0);
    unsigned char buffer[64];
    const auto outcome = mapping->read(page - 10, buffer, sizeof buffer);
    CHECK_EQUAL(outcome.done, 10);
    CHECK(outcome.faulted);
    CHECK_EQUAL(mapping->read(page, buffer, 1).done, 0);
    CHECK_EQUAL(mapping->read(2 * page, buffer, sizeof buffer).done, sizeof buffer);
    CHECK_EQUAL(buffer[0], 7);
}

void tells_residency_and_policy() {
    const auto mapping = anonymous(2 * page);
    CHECK_EQUAL(mapping->fill(page, 1, 1).done, 1);
    unsigned char pages[2];
    CHECK_EQUAL(mapping->residency(0, 2 * page, pages), 0);
    CHECK_EQUAL(pages[1] & 1, 1);
    int mode = -1;
    std::vector<std::uint64_t> nodes;
    const gm::Status status = mapping->policy(0, mode, nodes);
    CHECK(status == 0 || status == -ENOSYS || status == -EPERM);
    CHECK_EQUAL(mapping->advise(0, page, 9999), -EINVAL);
}

} // namespace

int main() {
    RUN(aligns);
    RUN(refuses_what_does_not_fit);
    RUN(unmaps_when_nobody_needs_the_addresses);
    RUN(keeps_addresses_of_a_slot_inaccessible);
    RUN(keeps_zero_pages_under_a_view);
    RUN(sealed_pages_fail);
    RUN(tells_residency_and_policy);
}
