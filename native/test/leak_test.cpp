// Leaks on purpose, once: that LeakSanitizer tells of it here is what its silence on the other tests is worth.
#include "core/memory_file.hpp"

#include "test/check.hpp"

int main() {
    auto file = gm::MemoryFile::memfd("test", 0);
    CHECK(file.ok());
    auto* volatile lost = new std::shared_ptr<gm::MemoryFile>(*file);
    lost = nullptr;
    return lost != nullptr;
}
