#include "core/checkpoint/parts.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace nemo::checkpoint {
namespace {

using nlohmann::json;

std::string name_of(int64_t rank, const char* extension) {
  char name[48];
  std::snprintf(name, sizeof name, "%s/rank_%05lld%s", kPartsFolder, static_cast<long long>(rank), extension);
  return name;
}

}  // namespace

std::string part_file(int64_t rank) { return name_of(rank, ".h5"); }
std::string part_list(int64_t rank) { return name_of(rank, ".json"); }

std::string to_json(const PartList& list) {
  json tensors = json::array();
  for (const PartTensor& t : list.tensors) {
    json boxes = json::array();
    for (const Box& b : t.boxes) boxes.push_back({b.start, b.size, b.offset});
    tensors.push_back({{"path", t.path}, {"dtype", t.dtype}, {"shape", t.shape}, {"elements", t.elements}, {"boxes", boxes}});
  }
  return json{{"bytes", list.sum.bytes}, {"crc32", list.sum.crc32}, {"tensors", tensors}}.dump();
}

PartList parse_part_list(const std::string& text) {
  const json root = json::parse(text);
  PartList list{{root.at("bytes").get<uint64_t>(), root.at("crc32").get<uint32_t>()}, {}};
  for (const json& t : root.at("tensors")) {
    PartTensor part{t.at("path"), t.at("dtype").get<nemo_dtype>(), t.at("shape").get<std::vector<int64_t>>(), t.at("elements"), {}};
    for (const json& b : t.at("boxes"))
      part.boxes.push_back({b.at(0).get<std::vector<int64_t>>(), b.at(1).get<std::vector<int64_t>>(), b.at(2).get<int64_t>()});
    list.tensors.push_back(std::move(part));
  }
  return list;
}

void add_sources(std::map<std::string, VirtualTensor>& tensors, const PartList& list, const std::string& file) {
  for (const PartTensor& part : list.tensors) {
    const auto [at, fresh] = tensors.try_emplace(part.path, VirtualTensor{part.dtype, part.shape, {}});
    if (!fresh && (at->second.dtype != part.dtype || at->second.shape != part.shape))
      throw std::runtime_error(file + " has " + part.path + " as " + describe(part.dtype, part.shape) + ", another rank as " +
                               describe(at->second.dtype, at->second.shape));
    for (const Box& box : part.boxes) at->second.sources.push_back({file, "/" + part.path, part.elements, box});
  }
}

void check_cover(const std::string& path, const VirtualTensor& tensor) {
  int64_t covered = 0;
  for (const VirtualTensor::Source& s : tensor.sources) covered += s.box.elements();
  if (covered != static_cast<int64_t>(element_count(tensor.shape)))
    throw std::runtime_error("the ranks have written " + std::to_string(covered) + " elements of " + path + ", which has " +
                             std::to_string(element_count(tensor.shape)));
}

}  // namespace nemo::checkpoint
