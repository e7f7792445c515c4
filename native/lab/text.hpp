#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace gm::lab {

/// The lines of a text without their ends; the last one may lack it. Empty lines are left out.
inline std::vector<std::string> lines_of(std::string_view text) {
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        if (end > at)
            lines.emplace_back(text.substr(at, end - at));
        at = end + 1;
    }
    return lines;
}

/// A text in quotes as JSON has it.
inline std::string json_string(std::string_view text) {
    constexpr char digits[] = "0123456789abcdef";
    std::string quoted = "\"";
    for (const char sign : text) {
        const auto byte = static_cast<unsigned char>(sign);
        if (sign == '"' || sign == '\\') {
            quoted += '\\';
            quoted += sign;
        } else if (byte < 0x20) {
            quoted += "\\u00";
            quoted += digits[byte >> 4];
            quoted += digits[byte & 15];
        } else {
            quoted += sign;
        }
    }
    return quoted + '"';
}

} // namespace gm::lab
