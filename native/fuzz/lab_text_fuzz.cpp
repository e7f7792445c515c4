// What the first process of a lab machine reads from files, and says as JSON.
#include "lab/text.hpp"

#include "fuzz/fuzz.hpp"

#include <algorithm>

/// Undoes json_string().
static std::string unquoted(const std::string& json) {
    REQUIRE(json.size() >= 2 && json.front() == '"' && json.back() == '"');
    std::string text;
    for (std::size_t at = 1; at + 1 < json.size(); at++) {
        REQUIRE(static_cast<unsigned char>(json[at]) >= 0x20);
        if (json[at] != '\\') {
            REQUIRE(json[at] != '"');
            text += json[at];
        } else if (json[++at] == 'u') {
            text += static_cast<char>(std::stoi(json.substr(at + 1, 4), nullptr, 16));
            at += 4;
        } else {
            text += json[at];
        }
    }
    return text;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    REQUIRE(unquoted(gm::lab::json_string(text)) == text);
    std::size_t signs = 0;
    for (const std::string& line : gm::lab::lines_of(text)) {
        REQUIRE(!line.empty() && line.find('\n') == std::string::npos);
        signs += line.size();
    }
    REQUIRE(signs == size - static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')));
    return 0;
}
