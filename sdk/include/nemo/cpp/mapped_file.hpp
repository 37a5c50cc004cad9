// nemo/cpp/mapped_file.hpp - a file as read-only memory (POSIX mmap).
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "nemo/cpp/core.hpp"

namespace nemo::sdk {
inline namespace v1 {

// Move-only owner of the mapping. The file must not shrink while it is mapped. Any thread may read.
class MappedFile {
 public:
  MappedFile() = default;
  // Throws Error(NEMO_CODE_NOT_FOUND) with the file and the system's reason.
  explicit MappedFile(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail(path, std::strerror(errno));
    struct stat status {};
    int error = ::fstat(fd, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
    if (error == 0 && status.st_size > 0) {
      void* memory = ::mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
      if (memory == MAP_FAILED)
        error = errno;
      else
        data_ = static_cast<const char*>(memory), size_ = static_cast<size_t>(status.st_size);
    }
    ::close(fd);
    if (error != 0) fail(path, std::strerror(error));
  }
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
  }
  MappedFile(MappedFile&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  const char* data() const { return data_; }
  size_t size() const { return size_; }
  std::string_view view() const { return {data_, size_}; }
  // Says that the file will be read from front to back.
  void read_ahead() const {
    if (data_ != nullptr) ::madvise(const_cast<char*>(data_), size_, MADV_SEQUENTIAL);
  }

 private:
  [[noreturn]] static void fail(const std::string& path, const char* reason) {
    throw Error(NEMO_CODE_NOT_FOUND, path + ": cannot be read: " + reason).with("file", path);
  }
  const char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace v1
}  // namespace nemo::sdk
