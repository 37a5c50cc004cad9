// nemo/cpp/indexed_dataset.hpp - Megatron's .bin/.idx pair, memory-mapped.
//
// The layout is described in nemo/cpp/indexed_file.hpp.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "nemo/cpp/indexed_file.hpp"
#include "nemo/cpp/mapped_file.hpp"

namespace nemo::sdk {
inline namespace v1 {

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
  MappedFile index_, tokens_;
  TokenType type_ = TokenType::kU8;
  int64_t sequences_ = 0, document_indices_ = 0;
  const char* lengths_ = nullptr;
  const char* pointers_ = nullptr;
  const char* documents_ = nullptr;
  const char* modes_ = nullptr;
};

namespace indexed {

[[noreturn]] inline void data_loss(const std::string& file, const std::string& what) {
  throw Error(NEMO_CODE_DATA_LOSS, file + ": " + what).with("file", file);
}

inline std::string number(int64_t n) { return std::to_string(n); }

}  // namespace indexed

inline IndexedDataset::IndexedDataset(std::string prefix)
    : prefix_(std::move(prefix)), index_(prefix_ + ".idx"), tokens_(prefix_ + ".bin") {
  read_header();
  check_sequences();
  check_documents();
}

inline void IndexedDataset::corrupt_index(const std::string& what) const { indexed::data_loss(prefix_ + ".idx", what); }

inline void IndexedDataset::read_header() {
  const auto found = static_cast<int64_t>(index_.size());
  if (found < kIndexHeaderBytes)
    corrupt_index("the header of an index takes " + indexed::number(kIndexHeaderBytes) + " bytes, found " + indexed::number(found) +
                  "; the file is truncated");
  if (std::memcmp(index_.data(), kIndexMagic, sizeof kIndexMagic) != 0)
    corrupt_index("expected \"MMIDIDX\" at the start, found something else; this is no Megatron index");
  const auto version = load<uint64_t>(index_.data() + 9);
  if (version != 1) corrupt_index("expected format version 1, found " + std::to_string(version));
  type_ = static_cast<TokenType>(index_.data()[17]);
  if (token_bytes(type_) == 0)
    corrupt_index("expected a dtype code of 1 to 8, found " + indexed::number(static_cast<uint8_t>(index_.data()[17])));
  const auto sequences = load<uint64_t>(index_.data() + 18), documents = load<uint64_t>(index_.data() + 26);
  constexpr uint64_t kMost = uint64_t{1} << 48;  // keeps the sums below from overflowing
  const bool plausible = sequences < kMost && documents < kMost;
  const int64_t expected = plausible ? kIndexHeaderBytes + static_cast<int64_t>(sequences * 12 + documents * 8) : -1;
  const int64_t with_modes = plausible ? expected + static_cast<int64_t>(sequences) : -1;
  if (!plausible || (found != expected && found != with_modes))
    corrupt_index(
        "the header counts " + std::to_string(sequences) + " sequences and " + std::to_string(documents) +
        " document indices, which take " +
        (plausible ? indexed::number(expected) + " bytes (" + indexed::number(with_modes) + " with modes)" : "more than any disk holds") +
        ", found " + indexed::number(found) + (found < expected ? "; the file is truncated" : ""));
  sequences_ = static_cast<int64_t>(sequences);
  document_indices_ = static_cast<int64_t>(documents);
  lengths_ = index_.data() + kIndexHeaderBytes;
  pointers_ = lengths_ + sequences_ * 4;
  documents_ = pointers_ + sequences_ * 8;
  if (sequences_ > 0 && found == with_modes) modes_ = documents_ + document_indices_ * 8;
}

inline void IndexedDataset::check_sequences() const {
  const int64_t width = token_bytes(type_), bytes = static_cast<int64_t>(tokens_.size());
  for (int64_t i = 0; i < sequences_; ++i) {
    const int32_t tokens = length(i);
    const auto at = load<int64_t>(pointers_ + i * 8);
    if (tokens < 0)
      corrupt_index("sequence " + indexed::number(i) + " of " + indexed::number(sequences_) + " has length " + indexed::number(tokens));
    if (at < 0)
      corrupt_index("sequence " + indexed::number(i) + " of " + indexed::number(sequences_) + " starts at byte " + indexed::number(at) +
                    " of the .bin");
    if (at > bytes || tokens * width > bytes - at)
      indexed::data_loss(prefix_ + ".bin",
                         "sequence " + indexed::number(i) + " of " + indexed::number(sequences_) + " takes bytes " + indexed::number(at) +
                             " to " + std::to_string(static_cast<uint64_t>(at) + static_cast<uint64_t>(tokens * width)) +
                             ", but the file has " + indexed::number(bytes) + "; it is truncated, or the .idx belongs to another .bin");
  }
}

inline void IndexedDataset::check_documents() const {
  if (document_indices_ < 1) corrupt_index("expected at least one document index, found none");
  if (document_index(0) != 0) corrupt_index("expected document index 0 to be 0, found " + indexed::number(document_index(0)));
  for (int64_t i = 1; i < document_indices_; ++i)
    if (document_index(i) < document_index(i - 1) || document_index(i) > sequences_)
      corrupt_index("document index " + indexed::number(i) + " is " + indexed::number(document_index(i)) + "; expected " +
                    indexed::number(document_index(i - 1)) + " to " + indexed::number(sequences_));
}

template <class T>
void IndexedDataset::convert(const char* at, int64_t sequence, int64_t offset, int64_t n, int32_t* out) const {
  for (int64_t i = 0; i < n; ++i) {
    const T value = load<T>(at + i * static_cast<int64_t>(sizeof(T)));
    if constexpr (std::is_floating_point_v<T> || sizeof(T) > 4) {
      const bool fits = value >= static_cast<T>(std::numeric_limits<int32_t>::min()) && static_cast<double>(value) <= 2147483647.0;
      if (!fits)
        indexed::data_loss(prefix_ + ".bin", "token " + indexed::number(offset + i) + " of sequence " + indexed::number(sequence) + " is " +
                                                 std::to_string(value) + ", which is no token id");
    }
    out[i] = static_cast<int32_t>(value);  // NOLINT(bugprone-signed-char-misuse): int8 tokens are numbers
  }
}

inline void IndexedDataset::read(int64_t sequence, int64_t offset, int64_t n, int32_t* out) const {
  const char* at = tokens_.data() + load<int64_t>(pointers_ + sequence * 8) + offset * token_bytes(type_);
  switch (type_) {
    case TokenType::kU8:
      return convert<uint8_t>(at, sequence, offset, n, out);
    case TokenType::kI8:
      return convert<int8_t>(at, sequence, offset, n, out);
    case TokenType::kI16:
      return convert<int16_t>(at, sequence, offset, n, out);
    case TokenType::kU16:
      return convert<uint16_t>(at, sequence, offset, n, out);
    case TokenType::kI32:
      return convert<int32_t>(at, sequence, offset, n, out);
    case TokenType::kF32:
      return convert<float>(at, sequence, offset, n, out);
    case TokenType::kI64:
      return convert<int64_t>(at, sequence, offset, n, out);
    case TokenType::kF64:
      return convert<double>(at, sequence, offset, n, out);
  }
}

}  // namespace v1
}  // namespace nemo::sdk
