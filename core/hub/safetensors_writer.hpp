// core/hub/safetensors_writer.hpp - writes a model's tensors, as one file or as shards with an index.
//
// All names, dtypes and shapes are known first: headers are written before data, and tensors are then streamed in the given order.
// Files get their names when they are complete. Errors of the file system are Error(kInternal) naming the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/checkpoint/pour.hpp"
#include "nemo/abi.h"

namespace nemo::hub {

struct TensorPlan {
  std::string name;
  std::string dtype;  // "F32" ...
  std::vector<int64_t> shape;
  [[nodiscard]] uint64_t bytes() const;
};

class SafetensorsWriter {
 public:
  // The folder must exist. A tensor goes into the next shard when it would make this one larger than max_shard_bytes of data.
  SafetensorsWriter(std::filesystem::path folder, std::vector<TensorPlan> tensors, uint64_t max_shard_bytes);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The bytes of the next tensor of the plan.
  void write(const std::byte* data, uint64_t bytes);
  // The same in blocks (core/checkpoint/pour.hpp).
  void write(uint64_t bytes, const checkpoint::Produce& produce);
  // After the last tensor: the index, and the files' names.
  void finish();

 private:
  struct Shard {
    std::string name;
    size_t begin, end;  // of tensors_
  };
  void open(const Shard& shard);
  void close();
  void next(uint64_t bytes);
  void put(const void* data, uint64_t bytes);

  std::filesystem::path folder_;
  std::vector<TensorPlan> tensors_;
  std::vector<Shard> shards_;
  size_t shard_ = 0, next_ = 0;
  int file_ = -1;
  uint64_t at_ = 0, started_ = 0;  // of the open file: its end, and how far the disk was told to write
};

}  // namespace nemo::hub
