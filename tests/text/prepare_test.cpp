// data prepare: what it writes, and that interruption and parallelism leave no trace.
#include "core/text/prepare.hpp"

#include <unistd.h>

#include "tests/text/golden_files.hpp"

namespace nemo::text {
namespace {

namespace fs = std::filesystem;

class Prepare : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::path(::testing::TempDir()) / ("nemo_prepare_" + std::to_string(::getpid()));
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  fs::path write(const std::string& name, const std::string& content) {
    std::ofstream(dir_ / name, std::ios::binary) << content;
    return dir_ / name;
  }
  // More than one part's worth of lines.
  fs::path many_lines() {
    std::string out;
    for (int i = 0; out.size() < (size_t{34} << 20); ++i)
      out += "{\"meta\": {\"text\": \"not this\"}, \"text\": \"line " + std::to_string(i) +
             std::string(static_cast<size_t>(1000 + i % 97), 'x') + "\"}\n";
    return write("many.jsonl", out);
  }
  PrepareSettings settings(std::vector<fs::path> inputs, const std::string& name) {
    PrepareSettings s;
    s.inputs = std::move(inputs);
    s.output_prefix = dir_ / name;
    s.append_eod = true;
    s.workers = 2;
    return s;
  }
  std::string bytes(const std::string& name) { return read_all((dir_ / name).string()); }

  std::unique_ptr<Tokenizer> tokenizer_ = load_tokenizer(goldens_root() / "gpt2" / "tokenizer.json");
  fs::path dir_;
};

template <class T>
T at(const std::string& bytes, size_t offset) {
  T v;
  std::memcpy(&v, bytes.data() + offset, sizeof v);
  return v;
}

TEST_F(Prepare, writes_documents_with_their_end_and_leaves_out_empty_ones) {
  const auto lines =
      write("a.jsonl", "{\"text\": \"Hello world\"}\n\n{\"text\": \"\"}\n{\"x\": [1, {\"text\": 2}], \"text\": \"b\\u00e9\"}");
  const auto plain = write("b.txt", "one\ndocument");
  PrepareProgress result;
  ASSERT_TRUE(prepare(
      *tokenizer_, settings({lines, plain}, "out"), [](const PrepareProgress&) { return true; }, result));
  std::vector<uint16_t> expected;
  std::vector<int32_t> lengths;
  for (const char* text : {"Hello world", "b\u00e9", "one\ndocument"}) {
    auto ids = tokenizer_->encode(text);
    ids.push_back(static_cast<int32_t>(tokenizer_->eos()));
    lengths.push_back(static_cast<int32_t>(ids.size()));
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  const std::string bin = bytes("out.bin"), idx = bytes("out.idx");
  ASSERT_EQ(bin.size(), expected.size() * 2);
  EXPECT_EQ(std::memcmp(bin.data(), expected.data(), bin.size()), 0);
  EXPECT_EQ(at<uint8_t>(idx, 17), 8);  // u16
  EXPECT_EQ(at<uint64_t>(idx, 18), 3u);
  EXPECT_EQ(at<uint64_t>(idx, 26), 4u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(at<int32_t>(idx, 34 + 4 * i), lengths[i]);
  EXPECT_EQ(result.documents, 3u);
  EXPECT_EQ(result.tokens, expected.size());
  EXPECT_FALSE(fs::exists(dir_ / "out.parts"));
}

TEST_F(Prepare, lines_become_sequences_of_their_document) {
  const auto lines = write("s.jsonl", "{\"text\": \"One here.\\nTwo.\\n\\n\"}\n{\"text\": \"\\n\"}\n{\"text\": \"Three\\r\\n\"}\n");
  const auto plain = write("s.txt", "\n\nFour\nFive five\n \nSix");
  PrepareSettings s = settings({lines, plain}, "split");
  s.split_lines = true;
  PrepareProgress result;
  ASSERT_TRUE(prepare(
      *tokenizer_, s, [](const PrepareProgress&) { return true; }, result));
  std::vector<int32_t> lengths;
  std::vector<uint16_t> expected;
  for (const std::string text : {"One here.", "Two.|", "Three|", "Four", "Five five|", "Six|"}) {
    auto ids = tokenizer_->encode(text.substr(0, text.find('|')));
    if (text.ends_with('|')) ids.push_back(static_cast<int32_t>(tokenizer_->eos()));
    lengths.push_back(static_cast<int32_t>(ids.size()));
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  const std::string bin = bytes("split.bin"), idx = bytes("split.idx");
  ASSERT_EQ(bin.size(), 2 * expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(at<uint16_t>(bin, 2 * i), expected[i]) << i;
  ASSERT_EQ(at<uint64_t>(idx, 18), lengths.size());
  for (size_t i = 0; i < lengths.size(); ++i) EXPECT_EQ(at<int32_t>(idx, 34 + 4 * i), lengths[i]) << i;
  const std::vector<int64_t> documents{0, 2, 3, 5, 6};
  ASSERT_EQ(at<uint64_t>(idx, 26), documents.size());
  for (size_t i = 0; i < documents.size(); ++i) EXPECT_EQ(at<int64_t>(idx, 34 + 12 * lengths.size() + 8 * i), documents[i]) << i;
  EXPECT_EQ(result.documents, 4u);
  EXPECT_EQ(result.tokens, expected.size());
}

TEST_F(Prepare, stopping_and_going_on_gives_the_same_bytes_with_any_number_of_workers) {
  const auto lines = many_lines();
  tokenizer_ = make_tokenizer("byte", {}, {});
  PrepareProgress whole, part, rest;
  PrepareSettings once = settings({lines}, "once");
  once.workers = 1;
  once.append_eod = false;
  ASSERT_TRUE(prepare(
      *tokenizer_, once, [](const PrepareProgress&) { return true; }, whole));
  PrepareSettings again = settings({lines}, "again");
  again.append_eod = false;
  ASSERT_FALSE(prepare(
      *tokenizer_, again, [](const PrepareProgress& p) { return p.bytes == 0; }, part));
  EXPECT_FALSE(fs::exists(dir_ / "again.idx"));
  ASSERT_TRUE(prepare(
      *tokenizer_, again, [](const PrepareProgress&) { return true; }, rest));
  EXPECT_GT(rest.resumed_bytes, 0u);
  EXPECT_EQ(rest.documents, whole.documents);
  EXPECT_TRUE(bytes("once.bin") == bytes("again.bin"));
  EXPECT_TRUE(bytes("once.idx") == bytes("again.idx"));
}

TEST_F(Prepare, a_bad_line_is_named) {
  const auto bad = write("bad.jsonl", "{\"text\": \"a\"}\n{\"other\": 1}\n");
  PrepareProgress result;
  const auto run = [&](const fs::path& file) {
    return message_of(Code::kDataLoss, [&] {
      (void)prepare(
          *tokenizer_, settings({file}, "bad"), [](const PrepareProgress&) { return true; }, result);
    });
  };
  EXPECT_EQ(run(bad), bad.string() + ":2: no string \"text\" in this object; --json-key names the field to read");
  const auto broken = write("broken.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"\n");
  EXPECT_EQ(run(broken), broken.string() + ":3: not valid JSON (in UTF-8)");
}

}  // namespace
}  // namespace nemo::text
