// nemo/cpp/indexed_file.hpp - the layout of Megatron's .bin/.idx pair, for what writes it.
//
// .idx, little endian: "MMIDIDX\0\0", u64 version 1, u8 dtype, u64 sequences S, u64 document indices D, i32[S] lengths in tokens, i64[S]
// byte offsets into the .bin, i64[D] document indices (0 first; then the sequence number at which each document ends), and for multimodal
// data i8[S] modes. .bin: the tokens of all sequences.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

namespace nemo::sdk {

enum class TokenType : uint8_t { kU8 = 1, kI8 = 2, kI16 = 3, kI32 = 4, kI64 = 5, kF64 = 6, kF32 = 7, kU16 = 8 };

// 0 for a code that is none of them.
[[nodiscard]] inline int64_t token_bytes(TokenType type) {
  switch (type) {
    case TokenType::kU8:
    case TokenType::kI8:
      return 1;
    case TokenType::kI16:
    case TokenType::kU16:
      return 2;
    case TokenType::kI32:
    case TokenType::kF32:
      return 4;
    case TokenType::kI64:
    case TokenType::kF64:
      return 8;
  }
  return 0;
}

inline constexpr char kIndexMagic[9] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0};
inline constexpr int64_t kIndexHeaderBytes = 34;

// Collects what an .idx says and writes it. Not thread-safe.
class IndexBuilder {
 public:
  explicit IndexBuilder(TokenType type) : type_(type) {}
  // The next sequence of the .bin has this many tokens. Modes: for all sequences or for none.
  void add_sequence(int64_t tokens) {
    lengths_.push_back(static_cast<int32_t>(tokens));
    pointers_.push_back(bytes_);
    bytes_ += tokens * token_bytes(type_);
  }
  void add_mode(int8_t mode) { modes_.push_back(mode); }
  void end_document() { documents_.push_back(static_cast<int64_t>(lengths_.size())); }
  [[nodiscard]] int64_t sequences() const { return static_cast<int64_t>(lengths_.size()); }
  [[nodiscard]] int64_t bytes() const { return bytes_; }

  void write(std::ostream& out) const {
    out.write(kIndexMagic, sizeof kIndexMagic);
    put(out, uint64_t{1});
    put(out, static_cast<uint8_t>(type_));
    put(out, static_cast<uint64_t>(lengths_.size()));
    put(out, static_cast<uint64_t>(documents_.size()));
    put_all(out, lengths_);
    put_all(out, pointers_);
    put_all(out, documents_);
    put_all(out, modes_);
  }

 private:
  template <class T>
  static void put(std::ostream& out, T value) {
    out.write(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <class T>
  static void put_all(std::ostream& out, const std::vector<T>& values) {
    out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
  }

  TokenType type_;
  int64_t bytes_ = 0;
  std::vector<int32_t> lengths_;
  std::vector<int64_t> pointers_;
  std::vector<int64_t> documents_ = {0};
  std::vector<int8_t> modes_;
};

}  // namespace nemo::sdk
