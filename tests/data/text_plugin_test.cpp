#include <algorithm>
#include <set>

#include "tests/data/golden.hpp"
#include "tests/data/stream_laws.hpp"

namespace nemo::testing {
namespace {

using megatron::fresh_dir;
using megatron::write_bytes;

std::string letters(size_t n, size_t from = 0) {
  std::string out;
  for (size_t i = from; out.size() < n; ++i) out.push_back(static_cast<char>('a' + (i * i + i / 3) % 26));
  return out;
}

const text::Tokenizer& bytes() {
  static const auto t = text::make_tokenizer("byte", {}, {});
  return *t;
}
const text::Tokenizer& gpt2() {
  const std::string dir = std::string(NEMO_SOURCE_DIR) + "/tests/golden/tokenizers_gpt2/";
  static const auto t = text::make_tokenizer("gpt2", {dir + "vocab.json", dir + "merges.txt"}, {});
  return *t;
}
Open with(const text::Tokenizer& tokenizer, const std::string& split = "train") {
  Open open;
  open.split = split;
  open.tokenizer = &tokenizer;
  return open;
}

std::string as_text(const std::vector<int32_t>& ids) { return {ids.begin(), ids.end()}; }

TEST(TextData, the_stream_is_one_for_all_shards_and_seeking_equals_replaying) {
  const std::string file = fresh_dir("text_laws") + "/a.txt";
  write_bytes(file, letters(500));
  for (const char* sampling : {"shuffled_windows", "random"})
    for (const char* split : {"train", "validation"}) {
      DataPlugin plugin("text", {{"files", {file}}, {"split", {0.5, 0.5}}, {"sampling", sampling}});
      expect_stream_laws(plugin, with(bytes(), split));
    }
}

TEST(TextData, each_epoch_visits_every_window_once_in_a_new_order) {
  const std::string file = fresh_dir("text_epochs") + "/a.txt", content = letters(8 * 37 + 1);
  write_bytes(file, content);
  DataPlugin plugin("text", {{"files", {file}}, {"split", {1.0}}});
  Source source = plugin.open(with(bytes()));
  ASSERT_EQ(source.num_samples(), 37);
  std::multiset<std::string> windows;
  for (size_t w = 0; w < 37; ++w) windows.insert(content.substr(w * 8, 9));
  std::vector<std::vector<std::string>> epochs;
  for (int e = 0; e < 3; ++e) {
    std::vector<std::string>& order = epochs.emplace_back();
    for (int i = 0; i < 37; ++i) {
      Batch b = source.next();
      order.push_back(as_text(b["tokens"]) + as_text(b["labels"]).back());
      EXPECT_EQ(as_text(b["labels"]), order.back().substr(1));
    }
    EXPECT_EQ(std::multiset<std::string>(order.begin(), order.end()), windows);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
}

TEST(TextData, orders_of_small_and_large_counts_are_permutations) {
  for (const size_t n : {1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000}) {
    const std::string file = fresh_dir("text_permutation") + "/a.txt", content(n + 1, 'x');
    std::string unique;
    for (size_t i = 0; i <= n; ++i) unique += static_cast<char>(i % 256);
    write_bytes(file, unique);
    DataPlugin plugin("text", {{"files", {file}}, {"split", {1.0}}});
    Open open = with(bytes());
    open.seq_length = 1;
    Source source = plugin.open(open);
    std::vector<int32_t> seen, expected;
    for (size_t i = 0; i < n; ++i) seen.push_back(source.next()["tokens"][0]), expected.push_back(static_cast<int32_t>(i % 256));
    std::sort(seen.begin(), seen.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(seen, expected) << n;
  }
}

TEST(TextData, validation_is_the_tail_in_order_and_wraps_around) {
  const std::string file = fresh_dir("text_split") + "/a.txt", content = letters(250);
  write_bytes(file, content);
  DataPlugin plugin("text", {{"files", {file}}, {"split", {0.8, 0.2}}});
  Source source = plugin.open(with(bytes(), "validation"));
  ASSERT_EQ(source.num_samples(), 6);
  for (int round = 0; round < 2; ++round)
    for (size_t w = 0; w < 6; ++w) EXPECT_EQ(as_text(source.next()["tokens"]), content.substr(200 + w * 8, 8));
  EXPECT_FALSE(plugin.open(with(bytes(), "test")).present());
  Source train = plugin.open(with(bytes()));
  EXPECT_EQ(train.num_samples(), 24);
  for (int i = 0; i < 24; ++i) EXPECT_NE(content.substr(0, 200).find(as_text(train.next()["labels"])), std::string::npos);
}

TEST(TextData, random_windows_reach_both_ends_and_stay_inside) {
  const std::string file = fresh_dir("text_random") + "/a.txt";
  std::string content(20, ' ');
  for (size_t i = 0; i < 20; ++i) content[i] = static_cast<char>('A' + i);
  write_bytes(file, content);
  DataPlugin plugin("text", {{"files", {file}}, {"split", {1.0}}, {"sampling", "random"}});
  Source source = plugin.open(with(bytes()));
  EXPECT_EQ(source.num_samples(), -1);
  std::set<char> starts;
  for (int i = 0; i < 500; ++i) {
    Batch b = source.next();
    const std::string tokens = as_text(b["tokens"]);
    starts.insert(tokens[0]);
    EXPECT_NE(content.find(tokens + as_text(b["labels"]).back()), std::string::npos);
  }
  EXPECT_EQ(std::string(starts.begin(), starts.end()), "ABCDEFGHIJKL");
}

TEST(TextData, separate_validation_files_take_the_place_of_the_split) {
  const std::string dir = fresh_dir("text_separate");
  write_bytes(dir + "/t1.txt", letters(100));
  write_bytes(dir + "/t2.txt", letters(60, 7));
  write_bytes(dir + "/v.txt", letters(41, 3));
  DataPlugin plugin("text", {{"files", {dir + "/t*.txt"}}, {"validation_files", {dir + "/v.txt"}}});
  EXPECT_EQ(plugin.open(with(bytes())).num_samples(), 159 / 8);
  Source validation = plugin.open(with(bytes(), "validation"));
  EXPECT_EQ(validation.num_samples(), 5);
  EXPECT_EQ(as_text(validation.next()["tokens"]), letters(41, 3).substr(0, 8));
  EXPECT_FALSE(plugin.open(with(bytes(), "test")).present());
  EXPECT_EQ(plugin.corpus(), letters(100) + letters(60, 7) + letters(41, 3));
}

TEST(TextData, documents_are_joined_with_the_end_of_text_token) {
  const std::string dir = fresh_dir("text_documents");
  write_bytes(dir + "/a.txt", "one\n---\ntwo\n---\n");
  write_bytes(dir + "/b.txt", "three");
  DataPlugin plugin("text", {{"files", {dir + "/*.txt"}}, {"validation_files", {dir + "/*.txt"}}, {"document_separator", "\n---\n"}});
  std::vector<int32_t> expected;
  for (const char* document : {"one", "two", "three"}) {
    const std::vector<int32_t> ids = gpt2().encode(document);
    expected.insert(expected.end(), ids.begin(), ids.end());
    expected.push_back(static_cast<int32_t>(gpt2().eos()));
  }
  Open open = with(gpt2(), "validation");
  open.seq_length = static_cast<int64_t>(expected.size()) - 1;
  Batch b = plugin.open(open).next();
  EXPECT_EQ(b["tokens"], std::vector<int32_t>(expected.begin(), expected.end() - 1));
  EXPECT_EQ(b["labels"].back(), expected.back());

  const PluginError error = error_of([&] { plugin.open(with(bytes())); });
  EXPECT_EQ(error.code, NEMO_CODE_CONFIG_INVALID);
  EXPECT_EQ(error.facts["path"], "document_separator");
}

TEST(TextData, a_char_tokenizer_learnt_from_the_corpus_encodes_all_of_it) {
  const std::string file = fresh_dir("text_char") + "/a.txt";
  write_bytes(file, "Übung macht den Meister, 你好!\n");
  DataPlugin plugin("text", {{"files", {file}}, {"split", {1.0}}});
  const auto tokenizer =
      text::make_tokenizer("char", {}, [&](const std::function<void(std::string_view)>& sink) { sink(plugin.corpus()); });
  EXPECT_EQ(plugin.open(with(*tokenizer)).num_samples(), 3);
}

TEST(TextData, missing_and_empty_files_are_named) {
  const std::string dir = fresh_dir("text_missing");
  const auto error = [&](const nlohmann::json& files) {
    DataPlugin plugin("text", {{"files", files}});
    return error_of([&] { plugin.open(with(bytes())); });
  };
  PluginError e = error({dir + "/*.md"});
  EXPECT_EQ(e.code, NEMO_CODE_NOT_FOUND);
  EXPECT_EQ(e.message, "no file matches '" + dir + "/*.md' (relative paths start at the current folder)");
  EXPECT_EQ(e.facts["path"], "files");
  e = error({dir});
  EXPECT_NE(e.message.find("is a folder; name its files, as in '" + dir + "/*.txt'"), std::string::npos);
  write_bytes(dir + "/empty.txt", "");
  e = error({dir + "/empty.txt"});
  EXPECT_EQ(e.code, NEMO_CODE_NOT_FOUND);
  EXPECT_EQ(e.message, "'" + dir + "/empty.txt' is empty");
  EXPECT_EQ(error(nlohmann::json::array()).code, NEMO_CODE_NOT_FOUND);
}

TEST(TextData, too_little_text_says_how_many_tokens_were_found_and_needed) {
  const std::string file = fresh_dir("text_short") + "/a.txt";
  write_bytes(file, letters(50));
  DataPlugin plugin("text", {{"files", {file}}});
  EXPECT_TRUE(plugin.open(with(bytes())).present());
  const PluginError e = error_of([&] { plugin.open(with(bytes(), "validation")); });
  EXPECT_EQ(e.code, NEMO_CODE_CONFIG_INVALID);
  EXPECT_EQ(e.message,
            "the validation text has 5 tokens (of 50 in the files), but one window of seq_length + 1 needs 9; give more text, a larger "
            "share, or a smaller seq_length");
}

TEST(TextData, faults_of_the_settings_name_the_setting) {
  const std::string file = fresh_dir("text_faults") + "/a.txt";
  write_bytes(file, letters(500));
  for (const nlohmann::json& split : {nlohmann::json::array(), nlohmann::json{0.0, 0.0}, nlohmann::json{1.0, 1.0, 1.0, 1.0}}) {
    DataPlugin plugin("text", {{"files", {file}}, {"split", split}});
    EXPECT_EQ(error_of([&] { plugin.open(with(bytes())); }).facts["path"], "split");
  }
  DataPlugin plugin("text", {{"files", {file}}});
  EXPECT_NE(error_of([&] { plugin.open({}); }).message.find("needs a tokenizer"), std::string::npos);
}

TEST(TextData, an_error_of_the_tokenizer_reaches_the_host) {
  const std::string file = fresh_dir("text_unknown") + "/a.txt";
  write_bytes(file, letters(100) + "\t");
  DataPlugin plugin("text", {{"files", {file}}});
  const auto tokenizer = text::make_tokenizer("char", {}, [](const std::function<void(std::string_view)>& sink) { sink(letters(100)); });
  const PluginError e = error_of([&] { plugin.open(with(*tokenizer)); });
  EXPECT_EQ(e.code, NEMO_CODE_DATA_LOSS);
  EXPECT_NE(e.message.find("U+0009 at byte 100"), std::string::npos);
}

}  // namespace
}  // namespace nemo::testing
