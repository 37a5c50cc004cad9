#include "core/text/hf/model.hpp"

#include <cstdio>

namespace nemo::text::hf {
namespace {

constexpr int64_t kGreatestId = (1 << 24) - 1;

// Untyped models are told by their fields, as files from before version 0.9 of the library need it.
std::string type_of(const Field& f) {
  if (f.has("type")) return f.type();
  if (f.has("merges")) return "BPE";
  if (f.has("vocab") && f.at("vocab").json().is_array()) return "Unigram";
  return f.has("continuing_subword_prefix") ? "WordPiece" : "WordLevel";
}

}  // namespace

void Vocabulary::add(std::string token, int64_t id, const Field& where) {
  if (id < 0 || id > kGreatestId)
    where.fail("token \"" + token + "\" has id " + std::to_string(id) + "; expected 0 to " + std::to_string(kGreatestId));
  const auto index = static_cast<size_t>(id);
  if (index >= tokens_.size()) tokens_.resize(index + 1);
  if (tokens_[index] && *tokens_[index] != token)
    where.fail("token \"" + token + "\" has id " + std::to_string(id) + ", which \"" + *tokens_[index] + "\" has too");
  tokens_[index] = token;
  ids_.insert_or_assign(std::move(token), static_cast<int32_t>(id));
}

void Vocabulary::read(const Field& object) {
  if (!object.json().is_object())
    object.fail("an object {\"token\": id, ...} belongs here, found " + std::string(object.json().type_name()));
  ids_.reserve(object.json().size());
  for (const auto& [token, id] : object.json().items()) {
    if (!id.is_number_integer()) object.fail("token \"" + token + "\" has " + id.dump() + " where an integer id belongs");
    add(token, id.get<int64_t>(), object);
  }
}

const std::string* Vocabulary::token(int64_t id) const {
  if (id < 0 || id >= end_id() || !tokens_[static_cast<size_t>(id)]) return nullptr;
  return &*tokens_[static_cast<size_t>(id)];
}

std::vector<int32_t> byte_token_ids(const Vocabulary& vocabulary) {
  std::vector<int32_t> ids(256);
  for (unsigned b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    ids[b] = vocabulary.find(name);
  }
  return ids;
}

std::string Model::token_text(const Token& token, std::string_view) const { return *vocabulary_.token(token.id); }

std::unique_ptr<Model> make_model(const Field& field, PieceBytes bytes) {
  const std::string type = type_of(field);
  if (type == "BPE") return make_bpe(field, bytes);
  if (type == "Unigram") return make_unigram(field);
  if (type == "WordPiece") return make_word_piece(field);
  if (type == "WordLevel") return make_word_level(field);
  field.unknown_type({"BPE", "Unigram", "WordPiece", "WordLevel"});
}

bool can_read_raw(const Field& field) {
  return type_of(field) == "BPE" && field.string_or("continuing_subword_prefix", "").empty() &&
         field.string_or("end_of_word_suffix", "").empty() && !field.boolean_or("byte_fallback", false);
}

}  // namespace nemo::text::hf
