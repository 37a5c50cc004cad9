// nemo/cpp/output_file.hpp - files written by the system's own calls: what was written is the system's when the call returns, so that a
// killed process loses nothing of it and tears at most the last write.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "nemo/cpp/core.hpp"

namespace nemo::sdk {
inline namespace v1 {

// Throws Error(NEMO_CODE_INTERNAL) "cannot DOING PATH: REASON", fact "file".
[[noreturn]] inline void file_fault(const std::string& doing, const std::string& path, const std::string& reason = std::strerror(errno)) {
  throw Error(NEMO_CODE_INTERNAL, "cannot " + doing + " " + path + ": " + reason).with("file", path);
}

// False too where there is nothing.
inline bool is_regular_file(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode);
}

// Move-only owner of an open file. One thread at a time. All calls throw as file_fault does.
class OutputFile {
 public:
  enum class Mode {
    kAppend,   // goes on behind what is there; made if need be
    kReplace,  // emptied, or made
    kNew,      // made; an error where there is one
  };
  OutputFile() = default;
  OutputFile(std::string path, Mode mode) : path_(std::move(path)) {
    const int how = mode == Mode::kReplace ? O_TRUNC : mode == Mode::kNew ? O_EXCL : 0;
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | how, 0666);
    if (fd_ < 0) file_fault(mode == Mode::kNew ? "make" : "open", path_);
  }
  ~OutputFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OutputFile(OutputFile&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}
  OutputFile& operator=(OutputFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    return *this;
  }

  explicit operator bool() const { return fd_ >= 0; }
  const std::string& path() const { return path_; }

  void write(std::string_view bytes) {
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t written = ::write(fd_, bytes.data() + done, bytes.size() - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) file_fault("write", path_);
      done += static_cast<size_t>(written);
    }
  }
  // To the disk. Where the path is no regular file (a pipe, a terminal) there is nothing to do.
  void sync() {
    if (::fsync(fd_) != 0 && errno != EINVAL && errno != EROFS) file_fault("sync", path_);
  }
  // Syncs, then takes the place of `path`: a reader sees the old file or this one, whole.
  void replace(const std::string& path) {
    sync();
    if (::rename(path_.c_str(), path.c_str()) != 0) file_fault("replace", path);
    path_ = path;
  }

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace v1
}  // namespace nemo::sdk
