#include "line_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "nemo/cpp/core.hpp"

namespace nemo::loggers {
namespace {

[[noreturn]] void fail(const std::string& doing, const std::string& path) {
  throw sdk::Error(NEMO_CODE_INTERNAL, "cannot " + doing + " " + path + ": " + std::strerror(errno)).with("file", path);
}

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

Kept copy_kept(const std::string& path, const std::string& to, int64_t first_step) {
  std::ifstream in(path, std::ios::binary);
  std::ofstream out(to, std::ios::binary | std::ios::trunc);
  if (!in) fail("read", path);
  Kept kept;
  for (std::string line; std::getline(in, line);) {
    const bool torn = in.eof();
    const int64_t step = step_of(line);
    if (!torn && step >= 0 && step < first_step) {
      out << line << '\n';
      continue;
    }
    kept.all = false;
    if (!torn && step < 0) ++kept.foreign;
  }
  if (!out.flush()) fail("write", to);
  return kept;
}

void sync_path(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || ::fsync(fd) != 0) fail("sync", path);
  ::close(fd);
}

int64_t trim(const std::string& path, int64_t first_step) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_size == 0) return 0;
  const std::string beside = path + ".tmp";
  const Kept kept = copy_kept(path, beside, first_step);
  if (kept.all) {
    ::unlink(beside.c_str());
    return 0;
  }
  sync_path(beside);
  if (::rename(beside.c_str(), path.c_str()) != 0) fail("replace", path);
  return kept.foreign;
}

}  // namespace

LineFile::LineFile(std::string path, int64_t first_step, int64_t* dropped) : path_(std::move(path)) {
  *dropped = trim(path_, first_step);
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("open", path_);
}

LineFile::~LineFile() {
  if (fd_ >= 0) ::close(fd_);
}

void LineFile::append(const std::string& line) {
  for (size_t done = 0; done < line.size();) {
    const ssize_t written = ::write(fd_, line.data() + done, line.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", path_);
    done += static_cast<size_t>(written);
  }
}

void LineFile::sync() {
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != EROFS) fail("sync", path_);  // EINVAL: a pipe
}

}  // namespace nemo::loggers
