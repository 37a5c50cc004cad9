#include "core/text/hf/hf_tokenizer.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "core/text/hf/config_files.hpp"
#include "core/text/id_buffer.hpp"
#include "core/text/text_file.hpp"
#include "core/text/utf8.hpp"

namespace nemo::text::hf {
namespace {

// Valid UTF-8: the text itself, or a copy in `storage`.
std::string_view valid_text(std::string_view text, std::string& storage) {
  if (text.size() >= (uint64_t{1} << 32))
    throw Error(Code::kUnsupported,
                "huggingface tokenizer: a text of " + std::to_string(text.size()) + " bytes; at most 4 GiB can be encoded at once");
  if (is_valid_utf8(text)) return text;
  storage = replace_invalid_utf8(text);
  return storage;
}

// Code point index of each byte, and of the end.
std::vector<uint32_t> code_point_index(std::string_view text) {
  std::vector<uint32_t> out(text.size() + 1);
  uint32_t n = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i > 0 && (static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) ++n;
    out[i] = n;
  }
  out[text.size()] = text.empty() ? 0 : n + 1;
  return out;
}

const std::string& file_named(const std::vector<TokenizerFile>& files, std::string_view name) {
  for (const TokenizerFile& f : files)
    if (f.name == name) return f.bytes;
  throw Error(Code::kInvalidArgument, "huggingface tokenizer: no " + std::string(name) + " among its files");
}

}  // namespace

HfTokenizer::HfTokenizer(std::vector<TokenizerFile> files, const std::string& where) : files_(std::move(files)) {
  const nlohmann::json root = parse_json_file(file_named(files_, "tokenizer.json"), where, "the tokenizer");
  load(Field(root, where + ": tokenizer"));
  find_ends(where);
}

HfTokenizer::~HfTokenizer() = default;

void HfTokenizer::load(const Field& root) {
  static const nlohmann::json kNull;
  const auto part = [&](const char* key) {
    return root.json().is_object() && root.json().contains(key) ? root.at(key) : Field(kNull, root.path() + "." + key);
  };
  const Field model = root.at("model"), pre_tokenizer = part("pre_tokenizer");
  const bool raw = ends_in_bytes(pre_tokenizer) && can_read_raw(model);
  normalizer_ = make_normalizer(part("normalizer"));
  pre_tokenizer_ = make_pre_tokenizer(pre_tokenizer, raw ? ByteSpelling::kRaw : ByteSpelling::kAlphabet);
  model_ = make_model(model, raw ? PieceBytes::kRaw : PieceBytes::kSpelled);
  added_ = std::make_unique<AddedTokens>(part("added_tokens"), model_->vocabulary(), normalizer_.get());
  post_processor_ = make_post_processor(part("post_processor"));
  decoder_ = make_decoder(part("decoder"));
  truncation_ = read_truncation(part("truncation"));
  padding_ = read_padding(part("padding"));
  vocab_size_ = std::max(model_->vocabulary().end_id(), added_->end_id());
  if (vocab_size_ == 0) model.fail("the vocabulary is empty");
}

void HfTokenizer::find_ends(const std::string& where) {
  const EndTokens ends = read_end_tokens(files_, where);
  const auto id_of = [this](const std::optional<std::string>& name, std::initializer_list<const char*> usual) -> int64_t {
    if (name) return find(*name);
    for (const char* u : usual)
      if (added_->is_special(u)) return find(u);
    return -1;
  };
  bos_ = id_of(ends.bos, {"<|begin_of_text|>", "<s>", "<bos>", "[CLS]"});
  eos_ = id_of(ends.eos, {"<|end_of_text|>", "<|endoftext|>", "</s>", "<eos>", "<|im_end|>", "[SEP]"});
}

std::unique_ptr<WordCache> HfTokenizer::take_cache() const {
  const std::lock_guard lock(mutex_);
  if (caches_.empty()) return std::make_unique<WordCache>();
  std::unique_ptr<WordCache> cache = std::move(caches_.back());
  caches_.pop_back();
  return cache;
}

void HfTokenizer::give_back(std::unique_ptr<WordCache> cache) const {
  const std::lock_guard lock(mutex_);
  caches_.push_back(std::move(cache));
}

template <class OnPiece>
void HfTokenizer::take_words(AlignedText& text, OnPiece&& on_piece) const {
  if (text.view().empty()) return;
  std::vector<Span> pieces{{0, static_cast<uint32_t>(text.view().size())}};
  if (pre_tokenizer_ != nullptr) pre_tokenizer_->apply(text, pieces);
  for (const Span piece : pieces) on_piece(text, piece);
}

template <class OnPiece, class OnToken>
void HfTokenizer::take_apart(std::string_view text, bool track, OnPiece&& on_piece, OnToken&& on_token) const {
  std::vector<TokenPart> outer, inner;
  added_->cut(text, AddedTokens::Text::kOriginal, outer);
  for (const TokenPart& part : outer) {
    AlignedText piece(text.substr(part.span.begin, part.span.end - part.span.begin), part.span.begin, track);
    if (part.token >= 0) {
      on_token(piece, Span{0, part.span.end - part.span.begin}, added_->tokens()[static_cast<size_t>(part.token)]);
      continue;
    }
    if (normalizer_ != nullptr) normalizer_->apply(piece);
    inner.clear();
    if (added_->any(AddedTokens::Text::kNormalized)) added_->cut(piece.view(), AddedTokens::Text::kNormalized, inner);
    if (inner.size() <= 1 && (inner.empty() || inner[0].token < 0)) {
      take_words(piece, on_piece);
      continue;
    }
    for (const TokenPart& within : inner) {
      if (within.token >= 0) {
        on_token(piece, within.span, added_->tokens()[static_cast<size_t>(within.token)]);
      } else {
        AlignedText slice = piece.slice(within.span);
        take_words(slice, on_piece);
      }
    }
  }
}

void HfTokenizer::encode_to(std::string_view text, const IdSink& ids) const {
  std::string storage;
  text = valid_text(text, storage);
  std::unique_ptr<WordCache> cache = take_cache();
  IdBuffer buffer(ids);
  std::vector<Token> tokens;
  const auto compute = [&](std::string_view word, std::vector<int32_t>& out) {
    tokens.clear();
    model_->encode(word, tokens);
    for (const Token& t : tokens) out.push_back(t.id);
  };
  const bool track = normalizer_ != nullptr && pre_tokenizer_ != nullptr && pre_tokenizer_->needs_origins();
  take_apart(
      text, track,
      [&](const AlignedText& t, Span piece) {
        std::string_view rest = t.view().substr(piece.begin, piece.end - piece.begin);
        while (!rest.empty()) {
          const size_t front = model_->independent_front(rest);
          buffer.push(cache->get(rest.substr(0, front), compute));
          rest.remove_prefix(front);
        }
      },
      [&](const AlignedText&, Span, const AddedToken& token) { buffer.push(token.id); });
  buffer.flush();
  give_back(std::move(cache));
}

Encoding HfTokenizer::encode_one(std::string_view text, int32_t type_id) const {
  struct Split {
    size_t begin;  // in tokens
    bool from_model;
  };
  std::vector<Split> splits;
  std::vector<Token> tokens;
  Encoding out;
  const std::vector<uint32_t> index = code_point_index(text);
  const auto offset = [&](const AlignedText& t, size_t begin, size_t end) {
    const Span o = t.origin(begin, end);
    return Span{index[o.begin], index[o.end]};
  };
  take_apart(
      text, true,
      [&](const AlignedText& t, Span piece) {
        tokens.clear();
        const std::string_view s = t.view().substr(piece.begin, piece.end - piece.begin);
        model_->encode(s, tokens);
        splits.push_back({out.size(), true});
        for (const Token& k : tokens)
          out.add(k.id, model_->token_text(k, s), offset(t, piece.begin + k.begin, piece.begin + k.end), type_id, false);
      },
      [&](const AlignedText& t, Span piece, const AddedToken& token) {
        splits.push_back({out.size(), false});
        out.add(token.id, std::string(t.view().substr(piece.begin, piece.end - piece.begin)), offset(t, piece.begin, piece.end), type_id,
                false);
      });
  // With truncation the library stops at the first word that reaches the length, so overflow has no more than that word's tokens.
  if (!truncation_ || (truncation_->strategy == Strategy::kOnlySecond && type_id == 0)) return out;
  const auto most = static_cast<size_t>(truncation_->max_length);
  if (truncation_->direction == Direction::kRight) {
    for (size_t i = 0; i < splits.size(); ++i) {
      const size_t end = i + 1 < splits.size() ? splits[i + 1].begin : out.size();
      if (splits[i].from_model && end >= most) return out.part(0, end);
    }
    return out;
  }
  for (size_t i = splits.size(); i-- > 0;)
    if (splits[i].from_model && out.size() - splits[i].begin >= most) return out.part(splits[i].begin, out.size());
  return out;
}

Encoding HfTokenizer::encode_unpadded(std::string_view text, std::optional<std::string_view> pair, Specials specials) const {
  std::string first_storage, second_storage;
  std::vector<Encoding> parts;
  parts.push_back(encode_one(valid_text(text, first_storage), 0));
  if (pair) parts.push_back(encode_one(valid_text(*pair, second_storage), 1));
  if (truncation_) {
    Truncation how = *truncation_;
    if (specials == Specials::kAdd && post_processor_ != nullptr) {
      const auto added = static_cast<int64_t>(post_processor_->added(pair.has_value()));
      if (added > how.max_length)
        throw Error(Code::kConfig, "truncation: max_length " + std::to_string(how.max_length) + " has no room for the " +
                                       std::to_string(added) + " special tokens");
      how.max_length -= added;
    }
    truncate(parts[0], pair ? &parts[1] : nullptr, how);
  }
  if (post_processor_ != nullptr) parts = post_processor_->process(std::move(parts), specials);
  Encoding out;
  for (const Encoding& part : parts) out.append(part);
  return out;
}

Encoding HfTokenizer::encode_all(std::string_view text, std::optional<std::string_view> pair, Specials specials) const {
  std::vector<Encoding> one;
  one.push_back(encode_unpadded(text, pair, specials));
  if (padding_) pad(one, *padding_);
  return std::move(one[0]);
}

std::vector<Encoding> HfTokenizer::encode_batch(const std::vector<std::string>& texts, Specials specials) const {
  std::vector<Encoding> out;
  out.reserve(texts.size());
  for (const std::string& text : texts) out.push_back(encode_unpadded(text, std::nullopt, specials));
  if (padding_) pad(out, *padding_);
  return out;
}

std::vector<int32_t> HfTokenizer::encode_special(std::string_view text) const {
  if (post_processor_ == nullptr || post_processor_->added(false) == 0) return encode(text);
  // The post-processor sees the ids as one long encoding of one text.
  Encoding e;
  e.ids = encode(text);
  e.type_ids.resize(e.size());
  e.tokens.resize(e.size());
  e.offsets.resize(e.size());
  e.special_mask.resize(e.size());
  e.attention_mask.resize(e.size());
  std::vector<Encoding> parts;
  parts.push_back(std::move(e));
  std::vector<int32_t> out;
  for (const Encoding& part : post_processor_->process(std::move(parts), Specials::kAdd))
    out.insert(out.end(), part.ids.begin(), part.ids.end());
  return out;
}

const std::string* HfTokenizer::token(int64_t id) const {
  if (const AddedToken* added = added_->by_id(id)) return &added->searched;
  return model_->vocabulary().token(id);
}

int64_t HfTokenizer::find(std::string_view token) const {
  const int32_t added = added_->find(token);
  return added >= 0 ? added : model_->vocabulary().find(token);
}

std::string HfTokenizer::decode_text(std::span<const int32_t> ids, Shown shown) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size_) throw_bad_id(ids[i], i);
    const std::string* t = token(ids[i]);
    if (t == nullptr || (shown == Shown::kWithoutSpecials && added_->is_special(*t))) continue;
    tokens.push_back(*t);
  }
  std::string out;
  if (decoder_ != nullptr) decoder_->apply(tokens);
  for (size_t i = 0; i < tokens.size(); ++i) out += (i > 0 && decoder_ == nullptr ? " " : "") + tokens[i];
  return out;
}

std::string HfTokenizer::decode_bytes(std::span<const int32_t> ids) const { return decode_text(ids, Shown::kAll); }

}  // namespace nemo::text::hf
