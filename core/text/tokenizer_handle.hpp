// core/text/tokenizer_handle.hpp - a Tokenizer as plugins see it (nemo/data.h).
#pragma once

#include "core/text/tokenizer.hpp"
#include "nemo/data.h"

namespace nemo::text {

// The table of every TokenizerHandle; static.
[[nodiscard]] const nemo_tokenizer_api& tokenizer_api();

// Lends a tokenizer to plugins. Does not own it: tokenizer, host table and handle must outlive every source that was opened with it.
class TokenizerHandle {
 public:
  TokenizerHandle(const Tokenizer& tokenizer, const nemo_host_api& api, nemo_host* host) : tokenizer_(tokenizer), api_(api), host_(host) {}
  TokenizerHandle(const TokenizerHandle&) = delete;
  TokenizerHandle& operator=(const TokenizerHandle&) = delete;

  [[nodiscard]] const nemo_tokenizer* get() const { return reinterpret_cast<const nemo_tokenizer*>(this); }
  [[nodiscard]] const Tokenizer& tokenizer() const { return tokenizer_; }
  [[nodiscard]] static const TokenizerHandle& from(const nemo_tokenizer* handle) {
    return *reinterpret_cast<const TokenizerHandle*>(handle);
  }
  [[nodiscard]] nemo_error* error(nemo_code code, std::string_view message) const;

 private:
  const Tokenizer& tokenizer_;
  const nemo_host_api& api_;
  nemo_host* host_;
};

}  // namespace nemo::text
