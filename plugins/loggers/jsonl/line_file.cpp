#include "line_file.hpp"

#include <charconv>
#include <fstream>

namespace nemo::loggers {
namespace {

// The step of a line that this plugin wrote; -1 for anything else.
int64_t step_of(const std::string& line) {
  constexpr std::string_view kStart = "{\"step\":";
  int64_t step = -1;
  if (line.rfind(kStart, 0) != 0 || line.back() != '}') return -1;
  const char* end = line.data() + line.size();
  const auto [rest, error] = std::from_chars(line.data() + kStart.size(), end, step);
  return error == std::errc() && (*rest == ',' || *rest == '}') ? step : -1;
}

struct Kept {
  bool all = true;
  int64_t foreign = 0;
};

// The lines that stay, in `text`.
Kept read_kept(const std::string& path, int64_t first_step, std::string& text) {
  std::ifstream in(path, std::ios::binary);
  if (!in) sdk::file_fault("read", path);
  Kept kept;
  for (std::string line; std::getline(in, line);) {
    const bool torn = in.eof();
    const int64_t step = step_of(line);
    if (!torn && step >= 0 && step < first_step) {
      text += line + '\n';
      continue;
    }
    kept.all = false;
    if (!torn && step < 0) ++kept.foreign;
  }
  return kept;
}

int64_t trim(const std::string& path, int64_t first_step) {
  if (!sdk::is_regular_file(path)) return 0;
  std::string text;
  const Kept kept = read_kept(path, first_step, text);
  if (kept.all) return 0;
  sdk::OutputFile beside(path + ".tmp", sdk::OutputFile::Mode::kReplace);
  beside.write(text);
  beside.replace(path);
  return kept.foreign;
}

}  // namespace

LineFile::LineFile(std::string path, int64_t first_step, int64_t* dropped) {
  *dropped = trim(path, first_step);
  file_ = sdk::OutputFile(std::move(path), sdk::OutputFile::Mode::kAppend);
}

}  // namespace nemo::loggers
