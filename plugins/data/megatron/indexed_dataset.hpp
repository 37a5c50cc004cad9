// plugins/data/megatron/indexed_dataset.hpp - Megatron's .bin/.idx pair, memory-mapped.
//
// The layout is described in nemo/cpp/indexed_file.hpp.
#pragma once

#include <cstdint>
#include <string>

#include "nemo/cpp/indexed_file.hpp"
#include "nemo/cpp/mapped_file.hpp"

namespace nemo::megatron {

using sdk::kIndexHeaderBytes;
using sdk::kIndexMagic;
using sdk::token_bytes;
using sdk::TokenType;

// Immutable; any thread may read.
class IndexedDataset {
 public:
  // `prefix` is the path without .bin/.idx. Both files are checked against each other in one pass over the index. Throws
  // NEMO_CODE_NOT_FOUND, or NEMO_CODE_DATA_LOSS that names the file, what was expected and what was found.
  explicit IndexedDataset(std::string prefix);

  [[nodiscard]] const std::string& prefix() const { return prefix_; }
  [[nodiscard]] TokenType type() const { return type_; }
  [[nodiscard]] int64_t num_sequences() const { return sequences_; }
  [[nodiscard]] int64_t num_documents() const { return document_indices_ - 1; }
  [[nodiscard]] int32_t length(int64_t sequence) const { return load<int32_t>(lengths_ + sequence * 4); }
  [[nodiscard]] int64_t document_index(int64_t i) const { return load<int64_t>(documents_ + i * 8); }
  [[nodiscard]] bool has_modes() const { return modes_ != nullptr; }
  [[nodiscard]] int8_t mode(int64_t sequence) const { return static_cast<int8_t>(modes_[sequence]); }

  // Tokens [offset, offset + n) of a sequence; requires them to lie within it. A value that is no int32 is NEMO_CODE_DATA_LOSS.
  void read(int64_t sequence, int64_t offset, int64_t n, int32_t* out) const;

 private:
  // The sections of an .idx lie at odd addresses.
  template <class T>
  static T load(const char* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  template <class T>
  void convert(const char* at, int64_t sequence, int64_t offset, int64_t n, int32_t* out) const;
  void read_header();
  void check_sequences() const;
  void check_documents() const;
  [[noreturn]] void corrupt_index(const std::string& what) const;

  std::string prefix_;
  sdk::MappedFile index_, tokens_;
  TokenType type_ = TokenType::kU8;
  int64_t sequences_ = 0, document_indices_ = 0;
  const char* lengths_ = nullptr;
  const char* pointers_ = nullptr;
  const char* documents_ = nullptr;
  const char* modes_ = nullptr;
};

}  // namespace nemo::megatron
