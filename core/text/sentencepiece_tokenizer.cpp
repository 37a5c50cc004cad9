#include "core/text/sentencepiece_tokenizer.hpp"

#include <sentencepiece_processor.h>

#include "core/base/error.hpp"
#include "core/text/hf/config_files.hpp"
#include "core/text/hf/fields.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text {
namespace {

void check(const sentencepiece::util::Status& status, Code code, const std::string& what) {
  if (!status.ok()) throw Error(code, what + ": " + status.error_message());
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::vector<TokenizerFile> files, const std::string& where) : files_(std::move(files)) {
    check(model_.LoadFromSerializedProto(files_.at(0).bytes), Code::kDataLoss, where + ": no SentencePiece model");
    if (model_.GetPieceSize() <= 0) throw Error(Code::kDataLoss, where + ": the SentencePiece model has no pieces");
    for (const TokenizerFile& f : files_) {
      if (f.name != "tokenizer_config.json") continue;
      const nlohmann::json root = hf::parse_json_file(f.bytes, f.name, "this configuration");
      const hf::Field config(root, f.name);
      add_bos_ = config.boolean_or("add_bos_token", false);
      add_eos_ = config.boolean_or("add_eos_token", false);
    }
  }

  [[nodiscard]] std::string_view type() const override { return "sentencepiece"; }
  [[nodiscard]] int64_t vocab_size() const override { return model_.GetPieceSize(); }
  [[nodiscard]] int64_t bos() const override { return model_.bos_id(); }
  [[nodiscard]] int64_t eos() const override { return model_.eos_id(); }

  void encode_to(std::string_view text, const IdSink& ids) const override {
    std::string storage;
    if (!is_valid_utf8(text)) text = storage = replace_invalid_utf8(text);
    std::vector<int> out;
    check(model_.Encode(text, &out), Code::kInternal, "sentencepiece: encoding failed");
    if (!out.empty()) ids(out);
  }

  [[nodiscard]] std::vector<int32_t> encode_special(std::string_view text) const override {
    std::vector<int32_t> out = encode(text);
    if (add_bos_ && bos() >= 0) out.insert(out.begin(), static_cast<int32_t>(bos()));
    if (add_eos_ && eos() >= 0) out.push_back(static_cast<int32_t>(eos()));
    return out;
  }

  [[nodiscard]] std::string decode_bytes(std::span<const int32_t> ids) const override {
    for (size_t i = 0; i < ids.size(); ++i)
      if (ids[i] < 0 || ids[i] >= vocab_size()) throw_bad_id(ids[i], i);
    std::string out;
    check(model_.Decode(std::vector<int>(ids.begin(), ids.end()), &out), Code::kInternal, "sentencepiece: decoding failed");
    return out;
  }

  [[nodiscard]] std::vector<TokenizerFile> files() const override { return files_; }

 private:
  std::vector<TokenizerFile> files_;
  sentencepiece::SentencePieceProcessor model_;
  bool add_bos_ = false, add_eos_ = false;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece(std::vector<TokenizerFile> files, const std::string& where) {
  return std::make_unique<SentencePieceTokenizer>(std::move(files), where);
}

}  // namespace nemo::text
