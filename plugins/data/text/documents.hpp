// plugins/data/text/documents.hpp - from file patterns to one long row of token ids.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nemo/cpp/data.hpp"
#include "nemo/cpp/text_files.hpp"

namespace nemo::text_data {

using sdk::find_files;
using sdk::for_each_text;

// Token ids, two bytes each where the vocabulary allows, otherwise four.
class TokenRow {
 public:
  TokenRow(int64_t vocab_size, size_t expected);
  void append(const int32_t* ids, size_t n);
  [[nodiscard]] int64_t size() const { return static_cast<int64_t>(narrow_ ? small_.size() : large_.size()); }
  void copy(int64_t from, int64_t n, int32_t* out) const;

 private:
  bool narrow_;
  std::vector<uint16_t> small_;
  std::vector<int32_t> large_;
};

// Documents (a file each, or what `separator` cuts files into, where it is not empty) end to end, each followed by the tokenizer's eos if
// it has one.
[[nodiscard]] TokenRow tokenize(const std::vector<std::string>& files, const sdk::TokenizerView& tokenizer, const std::string& separator);

}  // namespace nemo::text_data
