// tests/data/golden.hpp - Megatron's golden files, and errors of plugin code.
#pragma once

#include <unistd.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nemo/cpp/core.hpp"

namespace nemo::megatron {

inline std::string golden(const std::string& name) { return std::string(NEMO_SOURCE_DIR) + "/tests/golden/megatron/" + name; }

inline std::string read_bytes(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + file);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_bytes(const std::string& file, const std::string& bytes) { std::ofstream(file, std::ios::binary) << bytes; }

inline nlohmann::json golden_json(const std::string& name) { return nlohmann::json::parse(read_bytes(golden(name))); }

inline std::string fresh_dir(const std::string& name) {
  const auto dir = std::filesystem::path(::testing::TempDir()) / ("nemo_data_" + name + "_" + std::to_string(::getpid()));
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  return dir.string();
}

// The message of the sdk::Error that `body` throws; fails the test if there is none or its code is another.
template <class Body>
std::string message_of(nemo_code code, Body&& body) {
  try {
    body();
  } catch (const sdk::Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

}  // namespace nemo::megatron
