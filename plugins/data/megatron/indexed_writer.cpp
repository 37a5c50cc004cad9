#include "indexed_writer.hpp"

namespace nemo::megatron {
namespace {

template <class T>
void put(std::ofstream& out, T value) {
  out.write(reinterpret_cast<const char*>(&value), sizeof value);
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
    : prefix_(std::move(prefix)), type_(type), tokens_(prefix_ + ".bin", std::ios::binary), index_(type) {}

void IndexedWriter::add_sequence(std::span<const int64_t> tokens) {
  for (const int64_t v : tokens) put_token(tokens_, type_, v);
  index_.add_sequence(static_cast<int64_t>(tokens.size()));
}

void IndexedWriter::add_sequence(std::span<const int64_t> tokens, int8_t mode) {
  add_sequence(tokens);
  index_.add_mode(mode);
}

void IndexedWriter::end_document() { index_.end_document(); }

void IndexedWriter::finish() {
  close(tokens_, prefix_ + ".bin");
  std::ofstream index(prefix_ + ".idx", std::ios::binary);
  index_.write(index);
  close(index, prefix_ + ".idx");
}

}  // namespace nemo::megatron
