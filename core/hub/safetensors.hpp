// core/hub/safetensors.hpp - reads safetensors files (https://github.com/huggingface/safetensors): a u64 with the size of a JSON header,
// the header, then the tensors' bytes.
//
// Nothing of a file is believed before it was checked: the header's size, JSON, names, dtypes, shapes, and that the tensors' ranges cover
// the data exactly once. Errors are Error(kDataLoss) naming the file and, where there is one, the tensor; Error(kNotFound) where there is
// no file. Threads: any number may read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/checkpoint/durable.hpp"

namespace nemo::hub {

struct StoredTensor {
  std::string dtype;  // "F32", "BF16" ...
  std::vector<int64_t> shape;
  uint64_t begin = 0, bytes = 0;  // in the file
};

// "F32 [160 64]"
[[nodiscard]] std::string describe(std::string_view dtype, std::span<const int64_t> shape);

// One file, mapped into memory.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }
  [[nodiscard]] const std::byte* data(const StoredTensor& tensor) const { return bytes_ + tensor.begin; }
  // Bytes of the file at an offset, past the mapping. Throws Error(kDataLoss) where they cannot be read.
  void read(uint64_t begin, std::span<std::byte> out) const;
  // The tensor's pages will not be read again: gives their memory back.
  void release(const StoredTensor& tensor) const;

 private:
  std::filesystem::path path_;
  checkpoint::Descriptor file_;
  std::byte* bytes_ = nullptr;
  uint64_t size_ = 0;
  std::map<std::string, StoredTensor> tensors_;
};

struct PackedTensor;

// The tensors of a model folder: model.safetensors, or the shards that model.safetensors.index.json lists, which must have what it says.
class ModelFiles {
 public:
  explicit ModelFiles(const std::filesystem::path& folder);
  ~ModelFiles();
  ModelFiles(const ModelFiles&) = delete;
  ModelFiles& operator=(const ModelFiles&) = delete;

  struct Entry {
    const SafetensorsFile* file;
    const StoredTensor* tensor;
    const PackedTensor* packed = nullptr;  // set: the tensor's bytes lie in no file, and data() may not be asked for
    [[nodiscard]] const std::byte* data() const { return file->data(*tensor); }
    void release() const;
  };
  // By name.
  [[nodiscard]] const std::map<std::string, Entry>& tensors() const { return tensors_; }
  [[nodiscard]] uint64_t bytes() const;
  // Every X_blocks with X_scales becomes a tensor X of a floating point dtype (core/hub/mxfp4.hpp), "BF16" or "F32". Returns how many.
  size_t unpack_mxfp4(std::string_view word);

 private:
  void add(const std::filesystem::path& file);
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<std::unique_ptr<PackedTensor>> packed_;
  std::map<std::string, Entry> tensors_;
};

}  // namespace nemo::hub
