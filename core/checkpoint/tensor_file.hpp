// core/checkpoint/tensor_file.hpp - one HDF5 file of a checkpoint while it is written. Internal to this folder.
//
// Failures are std::system_error or Hdf5Error, which Writer turns into nemo::Error.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/checkpoint/boxes.hpp"
#include "core/checkpoint/durable.hpp"
#include "core/checkpoint/hdf5.hpp"
#include "core/checkpoint/pour.hpp"
#include "core/checkpoint/tensor.hpp"
#include "core/checkpoint/writer.hpp"

namespace nemo::checkpoint {

// A tensor that lies in other files: which elements of it are where.
struct VirtualTensor {
  struct Source {
    std::string file;      // relative to the folder of the file with the virtual tensor
    std::string dataset;   // a vector; the box begins at element Box::offset of it
    int64_t elements = 0;  // of the vector
    Box box;
  };
  nemo_dtype dtype = 0;
  std::vector<int64_t> shape;
  std::vector<Source> sources;
};

class TensorFile {
 public:
  TensorFile() = default;
  void create(const std::filesystem::path& path);
  // Dataset /path; the bytes are with the operating system when this returns.
  void write(const std::string& path, const TensorView& tensor);
  // The same with bytes that come in blocks; tensor.data is not read.
  void write(const std::string& path, const TensorView& tensor, const Produce& produce);
  void write_virtual(const std::string& path, const VirtualTensor& tensor);
  void attribute(const std::string& name, const Attribute& value);
  // Flushes, closes and syncs; the sum of the whole file.
  Sum finish();
  // Gives the space back; the file is left behind, empty.
  void abandon() noexcept;
  [[nodiscard]] uint64_t written() const { return written_; }

 private:
  struct Extent {
    uint64_t offset;
    Sum sum;
  };
  Sum sum_with_gaps();
  uint64_t allocate(const std::string& path, const TensorView& tensor);
  void took(uint64_t offset, const Sum& sum);
  std::filesystem::path path_;
  Handle file_;
  Descriptor bytes_;
  std::vector<Extent> extents_;
  uint64_t written_ = 0, started_ = 0;  // started_: how far the disk was told to write
};

}  // namespace nemo::checkpoint
