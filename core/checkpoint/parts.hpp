// core/checkpoint/parts.hpp - what each of several ranks has written into its file of a checkpoint. Internal to this folder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/checkpoint/tensor_file.hpp"

namespace nemo::checkpoint {

inline constexpr const char* kPartsFolder = "parts";

struct PartTensor {
  std::string path;  // of the dataset, without leading slash
  nemo_dtype dtype = 0;
  std::vector<int64_t> shape;  // of the whole tensor
  int64_t elements = 0;        // of the part
  std::vector<Box> boxes;
};

struct PartList {
  Sum sum;  // of the file
  std::vector<PartTensor> tensors;
};

[[nodiscard]] std::string part_file(int64_t rank);  // "parts/rank_00003.h5"
[[nodiscard]] std::string part_list(int64_t rank);  // the list beside it, there until commit
[[nodiscard]] std::string to_json(const PartList& list);
[[nodiscard]] PartList parse_part_list(const std::string& text);

// Throws std::runtime_error where ranks disagree about a tensor.
void add_sources(std::map<std::string, VirtualTensor>& tensors, const PartList& list, const std::string& file);
// Throws std::runtime_error where elements are missing or come twice.
void check_cover(const std::string& path, const VirtualTensor& tensor);

}  // namespace nemo::checkpoint
