// core/checkpoint/hdf5.hpp - the HDF5 C API behind RAII. Internal to this folder: no other folder sees hdf5.h.
//
// The serial HDF5 library is not thread-safe, so every call into it, on any object, is made while a Session lives: that is one mutex for
// the process. Bulk bytes are written outside of it.
#pragma once

#include <hdf5.h>

#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/checkpoint/tensor.hpp"

namespace nemo::checkpoint {

// Holds the library's mutex and keeps the library from printing its error stack. Not recursive.
class Session {
 public:
  Session();
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

 private:
  std::lock_guard<std::mutex> lock_;
  H5E_auto2_t print_ = nullptr;
  void* print_data_ = nullptr;
};

// Owns an HDF5 identifier. Destroy it inside a Session.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Close close, const std::string& doing);  // throws (fault) if id is not valid
  ~Handle() { reset(); }
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept;
  operator hid_t() const { return id_; }
  void reset();

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

// What an HDF5 call failed of: the innermost entry of the library's error stack, which has the errno of a failed system call.
class Hdf5Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
[[noreturn]] void fault(const std::string& doing);
// Throws (fault) where an HDF5 call returned a negative value.
template <class Result>
Result checked(Result result, const std::string& doing) {
  if (result < 0) fault(doing);
  return result;
}

// File access properties. HDF5's own file locks are off: many cluster file systems have none, and a visible checkpoint never changes.
[[nodiscard]] Handle file_access();
// The type in the file (little-endian) and in memory are the same. bf16 is a 16-bit integer.
[[nodiscard]] Handle storage_type(nemo_dtype dtype);
// The inverse, for a dataset of any origin. 0 if a checkpoint does not hold such elements.
[[nodiscard]] nemo_dtype dtype_of(hid_t dataset);
[[nodiscard]] Handle dataspace_of(const std::vector<int64_t>& shape);
// True if every component of "a/b/c" exists below `file`.
[[nodiscard]] bool exists(hid_t file, const std::string& path);

[[nodiscard]] Handle text_type();  // UTF-8 of variable length
void set_text_attribute(hid_t object, const std::string& name, const std::string& value);
[[nodiscard]] std::string text_attribute(hid_t object, const std::string& name);

}  // namespace nemo::checkpoint
