#include "core/page_pin.hpp"

#include "test/check.hpp"

#include <cstdio>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

std::shared_ptr<gm::Mapping> map(int fd, std::size_t length, int flags, int protection = PROT_READ | PROT_WRITE) {
    auto mapping = gm::Mapping::map(
        {.fd = fd, .offset = 0, .length = length, .protection = protection, .flags = flags, .alignment = 0});
    CHECK(mapping.ok());
    return *mapping;
}

/// The kernel refuses to seal a file against writing while somebody holds its pages.
void holds_pages_until_closed() {
    const gm::Fd file(memfd_create("pinned", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    CHECK(ftruncate(file.get(), static_cast<off_t>(4 * page)) == 0);
    const auto mapping = map(file.get(), 4 * page, MAP_SHARED);
    auto pin = gm::PagePin::pin(*mapping, page, 2 * page);
    CHECK(pin.ok());
    std::printf("pinned by %s\n", (*pin)->kind() == gm::PagePin::Kind::registered_buffer ? "io_uring" : "vmsplice");
    CHECK_EQUAL(mapping->close(), 0);
    CHECK(fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE) == -1 && errno == EBUSY);
    (*pin)->close();
    (*pin)->close();
    CHECK(fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE) == 0);
}

void refuses_what_cannot_be_accessed() {
    const auto mapping = map(-1, 2 * page, MAP_PRIVATE | MAP_ANONYMOUS, PROT_NONE);
    const auto pin = gm::PagePin::pin(*mapping, 0, page);
    CHECK_EQUAL(pin.error, EFAULT);
}

} // namespace

int main() {
    RUN(holds_pages_until_closed);
    RUN(refuses_what_cannot_be_accessed);
}
