#include "documents.hpp"

namespace nemo::text_data {

TokenRow::TokenRow(int64_t vocab_size, size_t expected) : narrow_(vocab_size <= 65536) {
  if (narrow_)
    small_.reserve(expected);
  else
    large_.reserve(expected);
}

void TokenRow::append(const int32_t* ids, size_t n) {
  if (narrow_)
    small_.insert(small_.end(), ids, ids + n);
  else
    large_.insert(large_.end(), ids, ids + n);
}

void TokenRow::copy(int64_t from, int64_t n, int32_t* out) const {
  if (narrow_)
    std::copy_n(small_.begin() + from, n, out);
  else
    std::copy_n(large_.begin() + from, n, out);
}

TokenRow tokenize(const std::vector<std::string>& files, const sdk::TokenizerView& tokenizer, const std::string& separator) {
  const auto eos = static_cast<int32_t>(tokenizer.eos());
  // No tokenizer of the host makes more tokens than bytes; what is reserved but never written takes no memory.
  TokenRow row(tokenizer.vocab_size(), sdk::text_files::total_bytes(files) + files.size());
  for_each_text(files, [&](std::string_view text) {
    sdk::for_each_document(text, separator, [&](std::string_view document) {
      tokenizer.encode(document, [&](const int32_t* ids, size_t n) { row.append(ids, n); });
      if (eos >= 0) row.append(&eos, 1);
    });
    if (sdk::cancelled()) throw sdk::Error(NEMO_CODE_CANCELLED, "stopped while the text was tokenised");
  });
  return row;
}

}  // namespace nemo::text_data
