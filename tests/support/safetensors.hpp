// tests/support/safetensors.hpp - reads golden tensors (https://github.com/huggingface/safetensors: u64 header size, JSON header, data).
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace nemo::testing {

struct GoldenTensor {
  std::string dtype;  // "F32", "F64", "I16", "I32", "I64", "U8"
  std::vector<int64_t> shape;
  std::vector<char> bytes;

  [[nodiscard]] int64_t elements() const {
    int64_t n = 1;
    for (const int64_t d : shape) n *= d;
    return n;
  }
  // The elements converted to T; throws for a dtype that is not in the list above.
  template <class T>
  [[nodiscard]] std::vector<T> as() const {
    if (dtype == "F32") return convert<float, T>();
    if (dtype == "F64") return convert<double, T>();
    if (dtype == "I16") return convert<int16_t, T>();
    if (dtype == "I32") return convert<int32_t, T>();
    if (dtype == "I64") return convert<int64_t, T>();
    if (dtype == "U8") return convert<uint8_t, T>();
    throw std::runtime_error("safetensors: dtype " + dtype + " is not read here");
  }

 private:
  template <class From, class T>
  [[nodiscard]] std::vector<T> convert() const {
    const auto n = static_cast<size_t>(elements());
    if (n * sizeof(From) != bytes.size()) throw std::runtime_error("safetensors: shape and size of the data disagree");
    std::vector<T> out(n);
    for (size_t i = 0; i < n; ++i) {
      From value;
      std::memcpy(&value, bytes.data() + i * sizeof(From), sizeof value);
      out[i] = static_cast<T>(value);
    }
    return out;
  }
};

class Safetensors {
 public:
  // Throws std::runtime_error naming the file if it is missing or malformed.
  explicit Safetensors(const std::string& file) : file_(file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) throw std::runtime_error(file + ": cannot be read");
    const std::string all{std::istreambuf_iterator<char>(in), {}};
    uint64_t header = 0;
    if (all.size() < sizeof header) throw std::runtime_error(file + ": too short");
    std::memcpy(&header, all.data(), sizeof header);
    if (header > all.size() - sizeof header) throw std::runtime_error(file + ": header longer than the file");
    const auto json = nlohmann::json::parse(all.substr(sizeof header, header));
    const size_t data = sizeof header + header;
    for (const auto& [name, entry] : json.items()) {
      if (name == "__metadata__") continue;
      const auto begin = entry.at("data_offsets").at(0).get<uint64_t>(), end = entry.at("data_offsets").at(1).get<uint64_t>();
      if (begin > end || end > all.size() - data) throw std::runtime_error(file + ": " + name + " lies outside the file");
      tensors_[name] = {entry.at("dtype"),
                        entry.at("shape"),
                        {all.begin() + static_cast<std::ptrdiff_t>(data + begin), all.begin() + static_cast<std::ptrdiff_t>(data + end)}};
    }
  }
  [[nodiscard]] bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  [[nodiscard]] const GoldenTensor& at(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw std::runtime_error(file_ + ": no tensor " + name);
    return found->second;
  }
  [[nodiscard]] const std::map<std::string, GoldenTensor>& all() const { return tensors_; }

 private:
  std::string file_;
  std::map<std::string, GoldenTensor> tensors_;
};

}  // namespace nemo::testing
