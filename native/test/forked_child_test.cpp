#include "core/forked_child.hpp"

#include "test/check.hpp"

#include <sys/mman.h>
#include <unistd.h>

namespace {

const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

/// A file of one page under a mapping of two: the second faults.
std::shared_ptr<gm::Mapping> half_backed() {
    const gm::Fd file(memfd_create("shared", MFD_CLOEXEC));
    CHECK(ftruncate(file.get(), static_cast<off_t>(page)) == 0);
    auto mapping = gm::Mapping::map({.fd = file.get(),
                                     .offset = 0,
                                     .length = 2 * page,
                                     .protection = PROT_READ | PROT_WRITE,
                                     .flags = MAP_SHARED,
                                     .alignment = 0});
    CHECK(mapping.ok());
    return *mapping;
}

void sees_and_changes_what_is_shared() {
    const auto mapping = half_backed();
    auto child = gm::ForkedChild::fork(*mapping);
    CHECK(child.ok());
    (void)mapping->fill(7, 0x5a, 1);
    CHECK_EQUAL((*child)->load(7), 0x5a);
    CHECK_EQUAL((*child)->store(8, 0xa5), 0);
    std::uint8_t byte = 0;
    (void)mapping->read(8, &byte, 1);
    CHECK_EQUAL(byte, 0xa5);
}

void survives_a_fault_and_ends() {
    const auto mapping = half_backed();
    auto child = gm::ForkedChild::fork(*mapping);
    CHECK(child.ok());
    CHECK_EQUAL((*child)->load(page), -EFAULT);
    CHECK_EQUAL((*child)->store(page, 1), -EFAULT);
    CHECK_EQUAL((*child)->load(0), 0);
    (*child)->close();
    (*child)->close();
}

} // namespace

int main() {
    RUN(sees_and_changes_what_is_shared);
    RUN(survives_a_fault_and_ends);
}
