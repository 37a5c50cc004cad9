// core/checkpoint/durable.hpp - files that survive a crash: full writes, fsync, rename, and checksums on the way.
//
// Failures of the operating system are std::system_error; Writer and Reader turn them into nemo::Error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace nemo::checkpoint {

// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  Descriptor(const std::filesystem::path& path, int flags);  // throws std::system_error
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  void sync(const std::filesystem::path& name_for_errors) const;
  void close();

 private:
  int fd_ = -1;
};

// Length and CRC-32 (zlib's) of a run of bytes.
struct Sum {
  uint64_t bytes = 0;
  uint32_t crc32 = 0;
  bool operator==(const Sum&) const = default;
  // The sum of the two runs one after the other.
  [[nodiscard]] Sum then(const Sum& next) const;
};

// Fills `out` from the file; throws where it ends before. `name` is for the error's text, here and below.
void read_at(const Descriptor& file, uint64_t offset, std::span<std::byte> out, const std::filesystem::path& name);
// Writes all of `bytes` at `offset`.
void put_at(const Descriptor& file, uint64_t offset, const void* data, uint64_t bytes, const std::filesystem::path& name);
// put_at with a checksum, taken while the bytes are in the cache.
Sum write_at(const Descriptor& file, uint64_t offset, const void* data, uint64_t bytes, const std::filesystem::path& name);
// Lets the disk begin with bytes that were written, so that a sync at the end finds little left. A hint: no errors.
void start_writing(const Descriptor& file, uint64_t begin, uint64_t end);
[[nodiscard]] Sum sum_of_bytes(const void* data, size_t bytes);
// Sum of the bytes [begin, end) of a file; stops short at its end.
[[nodiscard]] Sum sum_of_range(const Descriptor& file, uint64_t begin, uint64_t end, const std::filesystem::path& name);
[[nodiscard]] Sum sum_of_file(const std::filesystem::path& path);
// Creates or overwrites a file and syncs it. Makes missing folders.
Sum write_file(const std::filesystem::path& path, std::string_view content);
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

void sync_directory(const std::filesystem::path& directory);
// Makes the folder `from` appear as `to` in one step. A folder already at `to` is swapped out and removed afterwards.
void publish_directory(const std::filesystem::path& from, const std::filesystem::path& to);
// Makes the folder vanish from listings in one step (rename to NAME.deleting-PID), then removes it.
void remove_directory(const std::filesystem::path& directory);
// Bytes that this user may still write on the file system of `path`; 0 if that cannot be told.
[[nodiscard]] uint64_t free_bytes(const std::filesystem::path& path);

// The folder is this open description's until it is closed, also against other writers of this process. False if another one has it.
[[nodiscard]] bool try_lock(const Descriptor& directory);

// Waits for the lock of a folder and holds it while it lives, so that making a save's folder and removing abandoned ones exclude each
// other, between threads and processes. A file system without such locks gives none.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);

 private:
  Descriptor folder_;
};

}  // namespace nemo::checkpoint
