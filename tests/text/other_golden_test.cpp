// SentencePiece and tiktoken models of the goldens against what those libraries made of the same texts.
#include "core/text/sentencepiece_tokenizer.hpp"
#include "core/text/tiktoken_tokenizer.hpp"
#include "tests/text/golden_files.hpp"

namespace nemo::text {
namespace {

TEST(SentencePieceGolden, ids_and_text_are_those_of_the_library) {
  const auto folders = golden_folders("model.json");
  ASSERT_FALSE(folders.empty());
  for (const auto& folder : folders) {
    const auto t = load_tokenizer(folder);
    ASSERT_EQ(t->type(), "sentencepiece");
    const auto model = nlohmann::json::parse(read_all((folder / "model.json").string()));
    EXPECT_EQ(t->vocab_size(), model["vocab_size"].get<int64_t>());
    EXPECT_EQ(t->bos(), model["bos_id"].get<int64_t>());
    EXPECT_EQ(t->eos(), model["eos_id"].get<int64_t>());
    for (const auto& row : json_lines(folder / "encode.jsonl")) {
      ASSERT_EQ(t->encode(row["text"].get<std::string>()), ids_of(row["ids"])) << folder << row;
      ASSERT_EQ(t->decode(ids_of(row["ids"])), row["decoded"].get<std::string>()) << folder << row;
    }
    for (const auto& row : json_lines(folder / "decode.jsonl"))
      ASSERT_EQ(t->decode(ids_of(row["ids"])), row["decoded"].get<std::string>()) << folder << row;
  }
}

std::string hex(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", static_cast<uint8_t>(c));
    out += two;
  }
  return out;
}

TEST(TiktokenGolden, ids_and_text_are_those_of_the_library) {
  const auto folders = golden_folders("special_tokens.json");
  ASSERT_FALSE(folders.empty());
  for (const auto& folder : folders) {
    const auto loaded = load_tokenizer(folder);
    const auto& t = dynamic_cast<const TiktokenTokenizer&>(*loaded);
    for (const auto& row : json_lines(folder / "encode.jsonl")) {
      const auto text = row["text"].get<std::string>();
      ASSERT_EQ(t.encode(text), ids_of(row["ids_all_special"])) << row;
      ASSERT_EQ(t.encode_ordinary(text), ids_of(row["ids_ordinary"])) << row;
      ASSERT_EQ(t.decode(ids_of(row["ids_all_special"])), row["decoded"].get<std::string>()) << row;
    }
    for (const auto& row : json_lines(folder / "decode.jsonl")) {
      ASSERT_EQ(hex(t.decode_bytes(ids_of(row["ids"]))), row["bytes_hex"].get<std::string>()) << row;
      ASSERT_EQ(t.decode(ids_of(row["ids"])), row["decoded"].get<std::string>()) << row;
    }
  }
}

}  // namespace
}  // namespace nemo::text
