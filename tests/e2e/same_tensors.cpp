#include "tests/e2e/same_tensors.hpp"

#include "core/checkpoint/reader.hpp"

namespace nemo::e2e {
namespace {

using namespace nemo::checkpoint;

std::vector<std::byte> bytes_of(const Reader& reader, const std::string& group, const std::string& name) {
  const TensorInfo info = reader.info(group, name);
  std::vector<std::byte> bytes(element_count(info.shape) * element_bytes(info.dtype));
  reader.read(group, {name, info.dtype, info.shape, bytes.data()});
  return bytes;
}

}  // namespace

std::string tensor_difference(const std::filesystem::path& a, const std::filesystem::path& b) {
  const Reader first(a), second(b);
  for (const char* attribute : {"step", "consumed_samples", "seed"})
    if (first.attribute_int(attribute) != second.attribute_int(attribute)) return std::string("attribute ") + attribute + " differs";
  if (first.names(kParameters).empty()) return a.string() + " holds no parameters";
  for (const char* group : {kParameters, kMaster, kExpAvg, kExpAvgSq}) {
    if (first.names(group) != second.names(group)) return std::string("other tensors in ") + group;
    for (const std::string& name : first.names(group)) {
      if (describe(first.info(group, name).dtype, first.info(group, name).shape) !=
          describe(second.info(group, name).dtype, second.info(group, name).shape))
        return std::string(group) + "/" + name + " has another type or shape";
      if (bytes_of(first, group, name) != bytes_of(second, group, name)) return std::string(group) + "/" + name + " has other bytes";
    }
  }
  return "";
}

}  // namespace nemo::e2e
