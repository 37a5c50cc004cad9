#include "indexed_writer.hpp"

namespace nemo::megatron {
namespace {

template <class T>
void put(std::ofstream& out, T value) {
  out.write(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
void put_all(std::ofstream& out, const std::vector<T>& values) {
  out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
}

void put_token(std::ofstream& out, TokenType type, int64_t v) {
  switch (type) {
    case TokenType::kU8:
      return put(out, static_cast<uint8_t>(v));
    case TokenType::kI8:
      return put(out, static_cast<int8_t>(v));
    case TokenType::kI16:
      return put(out, static_cast<int16_t>(v));
    case TokenType::kU16:
      return put(out, static_cast<uint16_t>(v));
    case TokenType::kI32:
      return put(out, static_cast<int32_t>(v));
    case TokenType::kF32:
      return put(out, static_cast<float>(v));
    case TokenType::kI64:
      return put(out, v);
    case TokenType::kF64:
      return put(out, static_cast<double>(v));
  }
}

void close(std::ofstream& out, const std::string& file) {
  out.close();
  if (!out) throw sdk::Error(NEMO_CODE_DEVICE_ERROR, file + ": could not be written; is the disk full?").with("file", file);
}

}  // namespace

IndexedWriter::IndexedWriter(std::string prefix, TokenType type)
    : prefix_(std::move(prefix)), type_(type), tokens_(prefix_ + ".bin", std::ios::binary) {}

void IndexedWriter::add_sequence(std::span<const int64_t> tokens) {
  for (const int64_t v : tokens) put_token(tokens_, type_, v);
  lengths_.push_back(static_cast<int32_t>(tokens.size()));
  pointers_.push_back(bytes_);
  bytes_ += static_cast<int64_t>(tokens.size()) * token_bytes(type_);
}

void IndexedWriter::add_sequence(std::span<const int64_t> tokens, int8_t mode) {
  add_sequence(tokens);
  modes_.push_back(mode);
}

void IndexedWriter::end_document() { documents_.push_back(static_cast<int64_t>(lengths_.size())); }

void IndexedWriter::finish() {
  close(tokens_, prefix_ + ".bin");
  std::ofstream index(prefix_ + ".idx", std::ios::binary);
  index.write(kIndexMagic, sizeof kIndexMagic);
  put(index, uint64_t{1});
  put(index, static_cast<uint8_t>(type_));
  put(index, static_cast<uint64_t>(lengths_.size()));
  put(index, static_cast<uint64_t>(documents_.size()));
  put_all(index, lengths_);
  put_all(index, pointers_);
  put_all(index, documents_);
  put_all(index, modes_);
  close(index, prefix_ + ".idx");
}

}  // namespace nemo::megatron
