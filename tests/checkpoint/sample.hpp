// tests/checkpoint/sample.hpp - a temporary folder and a small checkpoint with known content.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/checkpoint/reader.hpp"
#include "core/checkpoint/store.hpp"
#include "core/checkpoint/writer.hpp"

namespace nemo::checkpoint {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "nemo-checkpoint-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Element i is 0.5 i - 3.
inline std::vector<float> ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = 0.5f * static_cast<float>(i) - 3.0f;
  return values;
}

inline void write_sample(const std::filesystem::path& directory, int64_t step, const std::map<std::string, double>& metrics = {}) {
  const std::vector<float> weight = ramp(6), moment = ramp(6);
  Writer writer(directory);
  writer.write(kParameters, {"layers.0.attention.q.weight", NEMO_DTYPE_F32, {2, 3}, weight.data()});
  writer.write(kExpAvg, {"layers.0.attention.q.weight", NEMO_DTYPE_F32, {2, 3}, moment.data()});
  writer.attribute("step", step);
  writer.add_text_file(kRecipeFile, "[job]\nname = \"sample\"\n");
  writer.commit({step, metrics, {{"model", "gpt", "1.0.0"}}});
}

// The error that `body` throws; fails the test if it throws none.
template <class Body>
Error error_of(Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "no error was thrown";
  return Error(Code::kInternal, "");
}

inline std::vector<std::string> listing(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace nemo::checkpoint
