#include <unistd.h>

#include <filesystem>

#include "tests/text/text_support.hpp"

namespace nemo::text {
namespace {

using ::testing::TempDir;

std::filesystem::path fresh_dir(const std::string& name) {
  const std::filesystem::path dir = std::filesystem::path(TempDir()) / ("nemo_text_" + name + "_" + std::to_string(::getpid()));
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  return dir;
}

TEST(ByteTokenizer, ids_are_the_bytes_and_any_bytes_come_back) {
  const auto t = make_tokenizer("byte", {}, {});
  EXPECT_EQ(t->vocab_size(), 256);
  EXPECT_EQ(t->eos(), -1);
  EXPECT_EQ(t->bos(), -1);
  std::string all;
  for (int i = 0; i < 40000; ++i) all.push_back(static_cast<char>(i * 7));
  const std::vector<int32_t> ids = t->encode(all);
  ASSERT_EQ(ids.size(), all.size());
  EXPECT_EQ(ids[1], 7);
  EXPECT_EQ(t->decode_bytes(ids), all);
  const std::vector<int32_t> bad = {65, 256};
  EXPECT_EQ(message_of(Code::kInvalidArgument, [&] { (void)t->decode(bad); }),
            "byte tokenizer: id 256 at position 1 is outside the vocabulary of 256");
}

TEST(CharTokenizer, the_vocabulary_is_the_corpus_in_order_of_code_points) {
  const auto t = make_tokenizer("char", {}, corpus_of({"b\u00e9a", "\n\u4f60a"}));
  EXPECT_EQ(t->vocab_size(), 5);
  EXPECT_EQ(t->encode("\nab\u00e9\u4f60"), (std::vector<int32_t>{0, 1, 2, 3, 4}));
  const std::vector<int32_t> ids = {4, 3, 0};
  EXPECT_EQ(t->decode(ids), "\u4f60\u00e9\n");
}

TEST(CharTokenizer, characters_may_be_cut_apart_between_pieces_of_the_corpus) {
  const std::string text = "x\u00e9\u4f60\U0001F600y";
  const auto whole = make_tokenizer("char", {}, corpus_of({text}));
  std::vector<std::string> bytes;
  for (const char c : text) bytes.emplace_back(1, c);
  const auto pieces = make_tokenizer("char", {}, corpus_of(bytes));
  EXPECT_EQ(pieces->files()[0].bytes, whole->files()[0].bytes);
  EXPECT_EQ(whole->vocab_size(), 5);
}

TEST(CharTokenizer, an_unknown_character_is_named_with_its_byte_offset) {
  const auto t = make_tokenizer("char", {}, corpus_of({"ab\u4f60"}));
  EXPECT_EQ(message_of(Code::kDataLoss, [&] { (void)t->encode("\u4f60a\u00e9"); }),
            "char tokenizer: character '\u00e9' (U+00E9) at byte 4 is not among the 3 that the training text has; leave it out, or use the "
            "byte or gpt2 "
            "tokenizer");
  EXPECT_NE(message_of(Code::kDataLoss, [&] { (void)t->encode("a\t"); }).find("character U+0009 at byte 1"), std::string::npos);
}

TEST(CharTokenizer, text_that_is_not_utf8_is_refused_with_its_offset) {
  EXPECT_NE(message_of(Code::kDataLoss,
                       [] {
                         (void)make_tokenizer("char", {}, corpus_of({"abc", "d\xFF"}));
                       })
                .find("byte 4 is not UTF-8"),
            std::string::npos);
  EXPECT_NE(message_of(Code::kDataLoss, [] { (void)make_tokenizer("char", {}, corpus_of({"ab\xE2"})); }).find("byte 2 is not UTF-8"),
            std::string::npos);
  const auto t = make_tokenizer("char", {}, corpus_of({"abc"}));
  EXPECT_NE(message_of(Code::kDataLoss, [&] { (void)t->encode("ab\xC3"); }).find("byte 2 is not UTF-8"), std::string::npos);
}

TEST(CharTokenizer, an_empty_or_missing_corpus_is_an_error) {
  EXPECT_NE(message_of(Code::kNotFound, [] { (void)make_tokenizer("char", {}, corpus_of({""})); }).find("empty"), std::string::npos);
  EXPECT_NE(message_of(Code::kConfig, [] { (void)make_tokenizer("char", {}, {}); }).find("no text to give"), std::string::npos);
}

TEST(Tokenizer, every_type_survives_saving_and_loading) {
  TokenizerOptions files{golden("vocab.json"), golden("merges.txt")};
  const std::string text = "The cat sat.";
  for (const std::string type : {"byte", "char", "gpt2"}) {
    const auto dir = fresh_dir("save_" + type);
    const auto t = make_tokenizer(type, files, corpus_of({text}));
    t->save(dir);
    const auto back = load_tokenizer(dir);
    EXPECT_EQ(back->type(), type);
    EXPECT_EQ(back->vocab_size(), t->vocab_size());
    EXPECT_EQ(back->eos(), t->eos());
    EXPECT_EQ(back->encode(text), t->encode(text));
    ASSERT_EQ(back->files().size(), t->files().size());
    EXPECT_EQ(back->files()[0].bytes, t->files()[0].bytes);
  }
}

TEST(Tokenizer, an_unknown_type_names_the_nearest) {
  EXPECT_EQ(message_of(Code::kConfig, [] { (void)make_tokenizer("gtp2", {}, {}); }),
            "unknown tokenizer 'gtp2'; did you mean 'gpt2'? (known: byte, char, gpt2, huggingface, sentencepiece, tiktoken)");
}

TEST(Tokenizer, broken_saved_files_name_the_place) {
  const auto dir = fresh_dir("broken");
  EXPECT_NE(message_of(Code::kNotFound, [&] { (void)load_tokenizer(dir); }).find(dir.string() + ": no tokenizer here"), std::string::npos);
  const auto expect = [&](const std::string& content, Code code, const std::string& part) {
    std::ofstream(dir / kTokenizerFile) << content;
    const std::string message = message_of(code, [&] { (void)load_tokenizer(dir); });
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect("{\"type\":\n \"cha", Code::kDataLoss, "nemo_tokenizer.json:2:");
  expect("{\"type\":\"char\"}", Code::kDataLoss, "code_points");
  expect("{\"type\":\"char\",\"code_points\":[66,65]}", Code::kDataLoss, "code_points[1] is out of order");
  expect("{\"type\":\"wordpiece\"}", Code::kUnsupported, "unknown tokenizer 'wordpiece'");
  expect("[]", Code::kDataLoss, "not a saved tokenizer");
}

TEST(Tokenizer, saving_into_a_missing_folder_is_an_error) {
  const auto t = make_tokenizer("byte", {}, {});
  EXPECT_NE(message_of(Code::kDevice, [&] { t->save("/nonexistent/folder"); }).find("/nonexistent/folder/nemo_tokenizer.json"),
            std::string::npos);
}

}  // namespace
}  // namespace nemo::text
