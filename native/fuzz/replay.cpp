// Runs a fuzz target over the files of folders: for compilers without libFuzzer, and for what was once found.
#include "fuzz/fuzz.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

int main(int count, char** folders) {
    int played = 0;
    for (int i = 1; i < count; i++) {
        for (const auto& entry : std::filesystem::directory_iterator(folders[i])) {
            std::ifstream file(entry.path(), std::ios::binary);
            const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
            std::fprintf(stderr, "%s\n", entry.path().c_str());
            // A copy that is as long as it is, so that ASan sees one byte too many.
            const std::vector<std::uint8_t> input(bytes.begin(), bytes.end());
            LLVMFuzzerTestOneInput(input.data(), input.size());
            played++;
        }
    }
    std::printf("%d inputs\n", played);
    return played > 0 ? 0 : 1;
}
