#include "core/memory_file.hpp"

#include "test/check.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

void memfd_is_sealed() {
    auto file = gm::MemoryFile::memfd("test", MFD_ALLOW_SEALING);
    CHECK(file.ok());
    CHECK_EQUAL((*file)->resize(8192), 0);
    CHECK_EQUAL((*file)->add_seals(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    CHECK_EQUAL((*file)->resize(4096), -EPERM);
    CHECK_EQUAL((*file)->resize(16384), -EPERM);
    CHECK_EQUAL((*file)->add_seals(F_SEAL_WRITE), -EPERM);
    auto facts = gm::facts_of((*file)->fd());
    CHECK(facts.ok());
    CHECK_EQUAL(facts->size, 8192u);
    CHECK(facts->close_on_exec);
}

void shared_memory_has_no_name_and_its_own_bytes() {
    auto one = gm::MemoryFile::shared_memory();
    auto other = gm::MemoryFile::shared_memory();
    CHECK(one.ok());
    CHECK(other.ok());
    auto facts = gm::facts_of((*one)->fd());
    auto others = gm::facts_of((*other)->fd());
    CHECK(facts.ok());
    CHECK(others.ok());
    CHECK(facts->inode != others->inode);
    CHECK(facts->close_on_exec);
}

void holes_give_blocks_back() {
    auto file = gm::MemoryFile::memfd("test", 0);
    CHECK(file.ok());
    CHECK_EQUAL((*file)->resize(1 << 16), 0);
    CHECK_EQUAL(gm::fallocate_restarting((*file)->fd(), 0, 0, 1 << 16), 0);
    const auto before = gm::facts_of((*file)->fd()).value.blocks;
    CHECK_EQUAL(gm::fallocate_restarting((*file)->fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 15), 0);
    CHECK_EQUAL(gm::facts_of((*file)->fd()).value.blocks, before / 2);
}

void tells_why_it_cannot_be_opened() {
    CHECK_EQUAL(gm::MemoryFile::open("/nonexistent/file", O_RDWR, 0).error, ENOENT);
    CHECK_EQUAL(gm::MemoryFile::open("/tmp", O_RDWR, 0).error, EISDIR);
    CHECK_EQUAL(gm::facts_of(-1).error, EBADF);
}

} // namespace

int main() {
    RUN(memfd_is_sealed);
    RUN(shared_memory_has_no_name_and_its_own_bytes);
    RUN(holes_give_blocks_back);
    RUN(tells_why_it_cannot_be_opened);
}
