#include "tests/models/safetensors.hpp"

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace nemo::models_test {
namespace {

template <class T>
std::vector<double> widen(const char* bytes, size_t length) {
  std::vector<T> raw(length / sizeof(T));
  std::memcpy(raw.data(), bytes, length);
  return {raw.begin(), raw.end()};
}

}  // namespace

std::map<std::string, Array> read_safetensors(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  std::stringstream content;
  content << file.rdbuf();
  const std::string bytes = content.str();
  uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), sizeof header_size);
  const auto header = nlohmann::json::parse(bytes.substr(8, header_size));
  std::map<std::string, Array> out;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const uint64_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    const char* data = bytes.data() + 8 + header_size + begin;
    const std::string dtype = entry["dtype"];
    if (dtype != "F32" && dtype != "I64") throw std::runtime_error(path + ": " + name + " is " + dtype);
    out[name].shape = entry["shape"].get<std::vector<int64_t>>();
    out[name].data = dtype == "F32" ? widen<float>(data, end - begin) : widen<int64_t>(data, end - begin);
  }
  return out;
}

}  // namespace nemo::models_test
