// Every tokenizer.json of the goldens against what the tokenizers library made of the same texts.
#include "core/text/hf/hf_tokenizer.hpp"

#include "core/text/utf8.hpp"
#include "tests/text/golden_files.hpp"

namespace nemo::text::hf {
namespace {

// Loading takes longer than a case.
const HfTokenizer& tokenizer_of(const std::filesystem::path& folder) {
  static std::map<std::string, std::unique_ptr<Tokenizer>> loaded;
  auto& t = loaded[folder.string()];
  if (t == nullptr) t = load_huggingface(folder / "tokenizer.json");
  return dynamic_cast<const HfTokenizer&>(*t);
}

HfTokenizer fresh(const std::filesystem::path& folder) {
  return HfTokenizer({{"tokenizer.json", read_all((folder / "tokenizer.json").string())}}, (folder / "tokenizer.json").string());
}

class HfGolden : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(HfGolden, ids_offsets_and_tokens_are_those_of_the_library) {
  const HfTokenizer& t = tokenizer_of(GetParam());
  for (const auto& row : json_lines(GetParam() / "encode.jsonl")) {
    const auto text = row["text"].get<std::string>();
    const Encoding e = t.encode_all(text, std::nullopt, Specials::kAdd);
    ASSERT_EQ(e.ids, ids_of(row["ids"])) << row["text"];
    ASSERT_EQ(e.offsets, spans_of(row["offsets"])) << row["text"] << row["ids"];
    if (row.contains("tokens")) {
      ASSERT_EQ(e.tokens, row["tokens"].get<std::vector<std::string>>()) << row["text"];
    }
    ASSERT_EQ(t.encode(text), ids_of(row["ids_no_special"])) << row["text"];
    ASSERT_EQ(t.encode_special(text), ids_of(row["ids"])) << row["text"];
  }
}

TEST_P(HfGolden, decoded_text_is_that_of_the_library) {
  const HfTokenizer& t = tokenizer_of(GetParam());
  auto rows = json_lines(GetParam() / "encode.jsonl");
  for (auto& row : json_lines(GetParam() / "decode.jsonl")) rows.push_back(std::move(row));
  for (const auto& row : rows) {
    ASSERT_EQ(t.decode(ids_of(row["ids"])), row["decoded"].get<std::string>()) << row;
    if (row.contains("decoded_skip")) {
      ASSERT_EQ(replace_invalid_utf8(t.decode_text(ids_of(row["ids"]), Shown::kWithoutSpecials)), row["decoded_skip"].get<std::string>())
          << row;
    }
  }
}

TEST_P(HfGolden, pairs_are_those_of_the_library) {
  const HfTokenizer& t = tokenizer_of(GetParam());
  for (const auto& row : json_lines(GetParam() / "pairs.jsonl")) {
    const auto a = row["a"].get<std::string>(), b = row["b"].get<std::string>();
    const Encoding e = t.encode_all(a, b, Specials::kAdd);
    ASSERT_EQ(e.ids, ids_of(row["ids"])) << row;
    ASSERT_EQ(e.type_ids, ids_of(row["type_ids"])) << row;
    ASSERT_EQ(e.special_mask, row["special_tokens_mask"].get<std::vector<uint8_t>>()) << row;
    ASSERT_EQ(e.offsets, spans_of(row["offsets"])) << row;
  }
}

std::optional<Truncation> truncation_of(const nlohmann::json& j) {
  if (j.is_null()) return std::nullopt;
  Truncation t;
  t.max_length = j["max_length"].get<int64_t>();
  t.stride = j.value("stride", 0);
  t.direction = j.value("direction", "right") == "left" ? Direction::kLeft : Direction::kRight;
  const auto strategy = j.value("strategy", "longest_first");
  t.strategy = strategy == "only_first"    ? Strategy::kOnlyFirst
               : strategy == "only_second" ? Strategy::kOnlySecond
                                           : Strategy::kLongestFirst;
  return t;
}

std::optional<Padding> padding_of(const nlohmann::json& j) {
  if (j.is_null()) return std::nullopt;
  Padding p;
  if (j.contains("length")) p.length = j["length"].get<int64_t>();
  if (j.contains("pad_to_multiple_of")) p.multiple_of = j["pad_to_multiple_of"].get<int64_t>();
  p.id = j.value("pad_id", 0);
  p.token = j.value("pad_token", "[PAD]");
  p.direction = j.value("direction", "right") == "left" ? Direction::kLeft : Direction::kRight;
  return p;
}

TEST_P(HfGolden, truncation_and_padding_are_those_of_the_library) {
  HfTokenizer t = fresh(GetParam());
  for (const auto& row : json_lines(GetParam() / "options.jsonl")) {
    t.set_truncation(truncation_of(row["truncation"]));
    t.set_padding(padding_of(row["padding"]));
    if (row.contains("batch")) {
      const std::vector<Encoding> batch = t.encode_batch(row["batch"].get<std::vector<std::string>>(), Specials::kAdd);
      for (size_t i = 0; i < batch.size(); ++i) {
        ASSERT_EQ(batch[i].ids, ids_of(row["ids"][i])) << row;
        ASSERT_EQ(batch[i].attention_mask, row["attention_mask"][i].get<std::vector<uint8_t>>()) << row;
      }
      continue;
    }
    const Encoding e = t.encode_all(row["text"].get<std::string>(), std::nullopt, Specials::kAdd);
    ASSERT_EQ(e.ids, ids_of(row["ids"])) << row;
    ASSERT_EQ(e.attention_mask, row["attention_mask"].get<std::vector<uint8_t>>()) << row;
    ASSERT_EQ(e.special_mask, row["special_tokens_mask"].get<std::vector<uint8_t>>()) << row;
    ASSERT_EQ(e.overflowing.size(), row["overflowing"].size()) << row;
    for (size_t i = 0; i < e.overflowing.size(); ++i) ASSERT_EQ(e.overflowing[i].ids, ids_of(row["overflowing"][i])) << row;
  }
}

INSTANTIATE_TEST_SUITE_P(All, HfGolden, ::testing::ValuesIn(golden_folders("options.jsonl")),
                         [](const auto& folder) { return folder.param.filename().string(); });

}  // namespace
}  // namespace nemo::text::hf
