#include "indexed_dataset.hpp"

#include <limits>
#include <type_traits>

namespace nemo::megatron {

using sdk::Error;

namespace {

[[noreturn]] void data_loss(const std::string& file, const std::string& what) {
  throw Error(NEMO_CODE_DATA_LOSS, file + ": " + what).with("file", file);
}

std::string number(int64_t n) { return std::to_string(n); }

}  // namespace

IndexedDataset::IndexedDataset(std::string prefix) : prefix_(std::move(prefix)), index_(prefix_ + ".idx"), tokens_(prefix_ + ".bin") {
  read_header();
  check_sequences();
  check_documents();
}

void IndexedDataset::corrupt_index(const std::string& what) const { data_loss(prefix_ + ".idx", what); }

void IndexedDataset::read_header() {
  const auto found = static_cast<int64_t>(index_.size());
  if (found < kIndexHeaderBytes)
    corrupt_index("the header of an index takes " + number(kIndexHeaderBytes) + " bytes, found " + number(found) +
                  "; the file is truncated");
  if (std::memcmp(index_.data(), kIndexMagic, sizeof kIndexMagic) != 0)
    corrupt_index("expected \"MMIDIDX\" at the start, found something else; this is no Megatron index");
  const auto version = load<uint64_t>(index_.data() + 9);
  if (version != 1) corrupt_index("expected format version 1, found " + std::to_string(version));
  type_ = static_cast<TokenType>(index_.data()[17]);
  if (token_bytes(type_) == 0) corrupt_index("expected a dtype code of 1 to 8, found " + number(static_cast<uint8_t>(index_.data()[17])));
  const auto sequences = load<uint64_t>(index_.data() + 18), documents = load<uint64_t>(index_.data() + 26);
  constexpr uint64_t kMost = uint64_t{1} << 48;  // keeps the sums below from overflowing
  const bool plausible = sequences < kMost && documents < kMost;
  const int64_t expected = plausible ? kIndexHeaderBytes + static_cast<int64_t>(sequences * 12 + documents * 8) : -1;
  const int64_t with_modes = plausible ? expected + static_cast<int64_t>(sequences) : -1;
  if (!plausible || (found != expected && found != with_modes))
    corrupt_index("the header counts " + std::to_string(sequences) + " sequences and " + std::to_string(documents) +
                  " document indices, which take " +
                  (plausible ? number(expected) + " bytes (" + number(with_modes) + " with modes)" : "more than any disk holds") +
                  ", found " + number(found) + (found < expected ? "; the file is truncated" : ""));
  sequences_ = static_cast<int64_t>(sequences);
  document_indices_ = static_cast<int64_t>(documents);
  lengths_ = index_.data() + kIndexHeaderBytes;
  pointers_ = lengths_ + sequences_ * 4;
  documents_ = pointers_ + sequences_ * 8;
  if (sequences_ > 0 && found == with_modes) modes_ = documents_ + document_indices_ * 8;
}

void IndexedDataset::check_sequences() const {
  const int64_t width = token_bytes(type_), bytes = static_cast<int64_t>(tokens_.size());
  for (int64_t i = 0; i < sequences_; ++i) {
    const int32_t tokens = length(i);
    const auto at = load<int64_t>(pointers_ + i * 8);
    if (tokens < 0) corrupt_index("sequence " + number(i) + " of " + number(sequences_) + " has length " + number(tokens));
    if (at < 0) corrupt_index("sequence " + number(i) + " of " + number(sequences_) + " starts at byte " + number(at) + " of the .bin");
    if (at > bytes || tokens * width > bytes - at)
      data_loss(prefix_ + ".bin", "sequence " + number(i) + " of " + number(sequences_) + " takes bytes " + number(at) + " to " +
                                      std::to_string(static_cast<uint64_t>(at) + static_cast<uint64_t>(tokens * width)) +
                                      ", but the file has " + number(bytes) + "; it is truncated, or the .idx belongs to another .bin");
  }
}

void IndexedDataset::check_documents() const {
  if (document_indices_ < 1) corrupt_index("expected at least one document index, found none");
  if (document_index(0) != 0) corrupt_index("expected document index 0 to be 0, found " + number(document_index(0)));
  for (int64_t i = 1; i < document_indices_; ++i)
    if (document_index(i) < document_index(i - 1) || document_index(i) > sequences_)
      corrupt_index("document index " + number(i) + " is " + number(document_index(i)) + "; expected " + number(document_index(i - 1)) +
                    " to " + number(sequences_));
}

template <class T>
void IndexedDataset::convert(const char* at, int64_t sequence, int64_t offset, int64_t n, int32_t* out) const {
  for (int64_t i = 0; i < n; ++i) {
    const T value = load<T>(at + i * static_cast<int64_t>(sizeof(T)));
    if constexpr (std::is_floating_point_v<T> || sizeof(T) > 4) {
      const bool fits = value >= static_cast<T>(std::numeric_limits<int32_t>::min()) && static_cast<double>(value) <= 2147483647.0;
      if (!fits)
        data_loss(prefix_ + ".bin", "token " + number(offset + i) + " of sequence " + number(sequence) + " is " + std::to_string(value) +
                                        ", which is no token id");
    }
    out[i] = static_cast<int32_t>(value);  // NOLINT(bugprone-signed-char-misuse): int8 tokens are numbers
  }
}

void IndexedDataset::read(int64_t sequence, int64_t offset, int64_t n, int32_t* out) const {
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

}  // namespace nemo::megatron
