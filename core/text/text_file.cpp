#include "core/text/text_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "core/base/error.hpp"

namespace nemo::text {

std::string read_text_file(const std::filesystem::path& file, std::string_view what) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  if (!in || std::filesystem::is_directory(file)) {
    const std::string reason = std::filesystem::is_directory(file) ? "it is a folder" : std::strerror(errno);
    throw Error(Code::kNotFound, file.string() + ": cannot read the " + std::string(what) + " file: " + reason);
  }
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string place_in_text(std::string_view where, std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t line_start = before.rfind('\n');
  const size_t column = before.size() - (line_start == std::string_view::npos ? 0 : line_start + 1) + 1;
  return std::string(where) + ":" + std::to_string(line) + ":" + std::to_string(column);
}

}  // namespace nemo::text
