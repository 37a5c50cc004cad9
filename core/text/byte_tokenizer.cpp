#include "core/text/byte_tokenizer.hpp"

#include "core/text/id_buffer.hpp"

namespace nemo::text {

void ByteTokenizer::encode_to(std::string_view text, const IdSink& ids) const {
  IdBuffer buffer(ids);
  for (const char c : text) buffer.push(static_cast<uint8_t>(c));
  buffer.flush();
}

std::string ByteTokenizer::decode_bytes(std::span<const int32_t> ids) const {
  std::string out;
  out.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] > 255) throw_bad_id(ids[i], i);
    out.push_back(static_cast<char>(ids[i]));
  }
  return out;
}

std::vector<TokenizerFile> ByteTokenizer::files() const { return {{std::string(kTokenizerFile), R"({"type":"byte"})"}}; }

}  // namespace nemo::text
