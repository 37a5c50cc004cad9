#include "core/checkpoint/durable.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>
#include <vector>

namespace nemo::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kPiece = uint64_t{4} << 20;

[[noreturn]] void fail(const std::string& doing, const fs::path& path) {
  throw std::system_error(errno, std::generic_category(), doing + " " + path.string());
}

}  // namespace

Descriptor::Descriptor(const fs::path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
  if (fd_ < 0) fail("open", path);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

void Descriptor::sync(const fs::path& name_for_errors) const {
  if (::fsync(fd_) != 0) fail("sync", name_for_errors);
}

void Descriptor::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Sum Sum::then(const Sum& next) const {
  return {bytes + next.bytes, static_cast<uint32_t>(crc32_combine(crc32, next.crc32, static_cast<z_off_t>(next.bytes)))};
}

void read_at(const Descriptor& file, uint64_t offset, std::span<std::byte> out, const fs::path& name) {
  for (size_t done = 0; done < out.size();) {
    const ssize_t got = ::pread(file.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", name);
    if (got == 0) errno = EIO, fail("read behind the end of", name);
    done += static_cast<size_t>(got);
  }
}

void start_writing(const Descriptor& file, uint64_t begin, uint64_t end) {
  if (begin < end) (void)::sync_file_range(file.get(), static_cast<off_t>(begin), static_cast<off_t>(end - begin), SYNC_FILE_RANGE_WRITE);
}

Sum sum_of_bytes(const void* data, size_t bytes) {
  return {bytes, static_cast<uint32_t>(crc32_z(0, static_cast<const Bytef*>(data), bytes))};
}

void put_at(const Descriptor& file, uint64_t offset, const void* data, uint64_t bytes, const fs::path& name) {
  const char* from = static_cast<const char*>(data);
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t written = ::pwrite(file.get(), from + done, bytes - done, static_cast<off_t>(offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", name);
    if (written == 0) errno = ENOSPC, fail("write", name);
    done += static_cast<uint64_t>(written);
  }
}

Sum write_at(const Descriptor& file, uint64_t offset, const void* data, uint64_t bytes, const fs::path& name) {
  const char* from = static_cast<const char*>(data);
  Sum sum;
  for (uint64_t done = 0; done < bytes; done += std::min(kPiece, bytes - done)) {
    const size_t piece = std::min(kPiece, bytes - done);
    put_at(file, offset + done, from + done, piece, name);
    sum = sum.then(sum_of_bytes(from + done, piece));
  }
  return sum;
}

Sum sum_of_range(const Descriptor& file, uint64_t begin, uint64_t end, const fs::path& name) {
  std::vector<char> buffer(std::min(kPiece, end - begin));
  Sum sum;
  while (begin + sum.bytes < end) {
    const size_t piece = std::min<uint64_t>(buffer.size(), end - begin - sum.bytes);
    const ssize_t got = ::pread(file.get(), buffer.data(), piece, static_cast<off_t>(begin + sum.bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", name);
    if (got == 0) break;
    sum = sum.then(sum_of_bytes(buffer.data(), static_cast<size_t>(got)));
  }
  return sum;
}

Sum sum_of_file(const fs::path& path) {
  const Descriptor file(path, O_RDONLY);
  ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  return sum_of_range(file, 0, fs::file_size(path), path);
}

Sum write_file(const fs::path& path, std::string_view content) {
  fs::create_directories(path.parent_path());
  const Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  const Sum sum = write_at(file, 0, content.data(), content.size(), path);
  file.sync(path);
  return sum;
}

std::string read_file(const fs::path& path) {
  const Descriptor file(path, O_RDONLY);
  std::string content(fs::file_size(path), '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = ::read(file.get(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", path);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  content.resize(done);
  return content;
}

void sync_directory(const fs::path& directory) { Descriptor(directory, O_RDONLY | O_DIRECTORY).sync(directory); }

void publish_directory(const fs::path& from, const fs::path& to) {
  if (!fs::exists(to)) {
    fs::rename(from, to);
    return sync_directory(to.parent_path());
  }
  // The exchange leaves no moment without a complete folder at `to`. Some network file systems lack it.
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    sync_directory(to.parent_path());
    std::error_code left_for_next_save;
    fs::remove_all(from, left_for_next_save);
    return;
  }
  remove_directory(to);
  fs::rename(from, to);
  sync_directory(to.parent_path());
}

void remove_directory(const fs::path& directory) {
  fs::path gone = directory;
  gone += ".deleting-" + std::to_string(::getpid());
  fs::remove_all(gone);
  fs::rename(directory, gone);
  sync_directory(directory.parent_path());
  fs::remove_all(gone);
}

uint64_t free_bytes(const fs::path& path) {
  struct statvfs space {};
  return ::statvfs(path.c_str(), &space) == 0 ? uint64_t{space.f_bavail} * space.f_frsize : 0;
}

bool try_lock(const Descriptor& directory) { return ::flock(directory.get(), LOCK_EX | LOCK_NB) == 0; }

FolderLock::FolderLock(const fs::path& folder) : folder_(folder, O_RDONLY | O_DIRECTORY) {
  while (::flock(folder_.get(), LOCK_EX) != 0 && errno == EINTR) continue;
}

}  // namespace nemo::checkpoint
