// tests/text/text_support.hpp - golden files and expected errors of the tokenizer tests.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "core/base/error.hpp"
#include "core/text/tokenizer.hpp"

namespace nemo::text {

inline std::string golden(const std::string& name) { return std::string(NEMO_SOURCE_DIR) + "/tests/golden/tokenizers_gpt2/" + name; }

inline std::string read_all(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + file);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The message of the Error that `body` throws; fails the test if there is none or its code is another.
template <class Body>
std::string message_of(Code code, Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    EXPECT_EQ(static_cast<int>(e.code()), static_cast<int>(code)) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

inline Corpus corpus_of(std::vector<std::string> pieces) {
  return [pieces = std::move(pieces)](const std::function<void(std::string_view)>& sink) {
    for (const std::string& p : pieces) sink(p);
  };
}

}  // namespace nemo::text
