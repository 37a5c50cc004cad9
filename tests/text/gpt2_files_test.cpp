#include "core/text/gpt2_files.hpp"

#include "tests/text/text_support.hpp"

namespace nemo::text {
namespace {

std::string vocabulary_error(const std::string& json) {
  return message_of(Code::kDataLoss, [&] { (void)parse_gpt2_vocabulary(json, "vocab.json"); });
}
std::string merges_error(const std::string& text) {
  static const Gpt2Vocabulary vocabulary = parse_gpt2_vocabulary(read_all(golden("vocab.json")), "vocab.json");
  return message_of(Code::kDataLoss, [&] { (void)parse_gpt2_merges(text, vocabulary, "merges.txt"); });
}

TEST(Gpt2Vocabulary, broken_json_is_reported_with_line_and_column) {
  EXPECT_EQ(vocabulary_error("{\"a\": 0,\n \"b\" 1}"), "vocab.json:2:6: the vocabulary is no valid JSON");
  const std::string whole = read_all(golden("vocab.json"));
  EXPECT_NE(vocabulary_error(whole.substr(0, whole.size() / 2)).find("ends early (truncated?)"), std::string::npos);
  EXPECT_NE(vocabulary_error("").find("vocab.json:1:1: the vocabulary is no valid JSON: the file ends early"), std::string::npos);
}

TEST(Gpt2Vocabulary, wrong_contents_name_the_token) {
  EXPECT_NE(vocabulary_error("[1]").find("vocab.json:1:1: a vocabulary is a JSON object"), std::string::npos);
  EXPECT_EQ(vocabulary_error("{}"), "vocab.json:1:1: the vocabulary is empty");
  EXPECT_EQ(vocabulary_error("{\"a\": \"0\"}"), "vocab.json: token \"a\" has \"0\" where an integer id belongs");
  EXPECT_EQ(vocabulary_error("{\"a\": 1}"), "vocab.json: token \"a\" has id 1; the ids of 1 tokens must be 0 to 0");
  EXPECT_EQ(vocabulary_error("{\"a\": 0, \"b\": 0}"), "vocab.json: token \"b\" has id 0, which \"a\" has too");
  EXPECT_NE(vocabulary_error("{\"a b\": 0}").find("not written in the byte-level alphabet"), std::string::npos);
  EXPECT_NE(vocabulary_error("{\"a\": 0}").find("has no token for byte 0 (written '\u0100' (U+0100))"), std::string::npos);
}

TEST(Gpt2Merges, bad_lines_are_reported_with_their_number) {
  EXPECT_EQ(merges_error("#version: 0.2\n\u0120 t\nh e x\n"),
            "merges.txt:3: a merge is two tokens with one space between them, found \"h e x\"");
  EXPECT_NE(merges_error("the\n").find("merges.txt:1: a merge is two tokens"), std::string::npos);
  EXPECT_NE(merges_error("\u0120 t\n\u0120 t\n").find("merges.txt:2: this merge occurs twice"), std::string::npos);
  EXPECT_NE(merges_error("zq a\n").find("merges.txt:1: left side \"zq\" of the merge is not in the vocabulary"), std::string::npos);
  EXPECT_NE(merges_error("z q\n").find("merges.txt:1: result \"zq\" of the merge is not in the vocabulary"), std::string::npos);
}

TEST(Gpt2Merges, windows_line_ends_and_a_missing_version_line_are_read) {
  const Gpt2Vocabulary v = parse_gpt2_vocabulary(read_all(golden("vocab.json")), "v");
  EXPECT_EQ(parse_gpt2_merges("\u0120 t\r\nh e", v, "m").size(), 2u);
  const std::string file = read_all(golden("merges.txt"));
  EXPECT_EQ(write_gpt2_merges(parse_gpt2_merges(file, v, "m"), v), file);
}

TEST(Gpt2Files, missing_files_are_named) {
  const std::string missing = message_of(Code::kNotFound, [] {
    (void)make_tokenizer("gpt2", {"/nowhere/vocab.json", "/nowhere/merges.txt"}, {});
  });
  EXPECT_EQ(missing, "/nowhere/vocab.json: cannot read the vocabulary file: No such file or directory");
  EXPECT_NE(message_of(Code::kNotFound,
                       [] {
                         (void)make_tokenizer("gpt2", {golden("vocab.json"), NEMO_SOURCE_DIR}, {});
                       })
                .find("it is a folder"),
            std::string::npos);
  EXPECT_NE(message_of(Code::kConfig, [] { (void)make_tokenizer("gpt2", {}, {}); }).find("vocab_file"), std::string::npos);
}

}  // namespace
}  // namespace nemo::text
