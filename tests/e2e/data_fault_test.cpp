// Datasets that are missing, empty or damaged.
#include <cstdint>
#include <cstring>
#include <fstream>

#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

template <class T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

class DataFault : public Sandbox {
 protected:
  // A Megatron pair of 32 documents of 60 uint16 tokens below 50, and a recipe for it.
  void write_indexed(const std::string& prefix, int64_t documents = 32) {
    constexpr int64_t kTokens = 60;
    std::string index("MMIDIDX\0\0", 9), tokens;
    put<uint64_t>(index, 1);
    put<uint8_t>(index, 8);
    put<uint64_t>(index, documents);
    put<uint64_t>(index, documents + 1);
    for (int64_t i = 0; i < documents; ++i) put<int32_t>(index, kTokens);
    for (int64_t i = 0; i < documents; ++i) put<int64_t>(index, i * kTokens * 2);
    for (int64_t i = 0; i <= documents; ++i) put<int64_t>(index, i);
    for (int64_t i = 0; i < documents * kTokens; ++i) put<uint16_t>(tokens, static_cast<uint16_t>(i * i % 50));
    write(prefix + ".idx", index);
    write(prefix + ".bin", tokens);
    write("indexed.toml", R"([model]
plugin = "gpt"
num_layers = 2
hidden_size = 32
num_attention_heads = 2
vocab_size = 50
[data]
plugin = "megatron"
paths = ["indexed"]
seq_length = 16
[trainer]
max_steps = 8
val_check_interval = 4
limit_val_batches = 1
)");
  }
  Finished train_indexed() { return nemo({"pretrain", "--recipe", "indexed.toml"}); }
};

TEST_F(DataFault, missing_text_is_placed) {
  write("gone.toml", "base = \"tiny.toml\"\n[data]\nfiles = [\"gone/*.txt\"]\n");
  EXPECT_THAT(nemo({"pretrain", "--recipe", "gone.toml"}),
              fails_with(kUsage, "gone.toml:3:1: data.files", "no file matches", "gone/*.txt"));
}

TEST_F(DataFault, empty_text_is_named) {
  write("empty.txt", "");
  EXPECT_THAT(pretrain("run", {"data.files=[\"empty.txt\"]"}), fails_with(kUsage, "command line: data.files=", "empty.txt' is empty"));
}

TEST_F(DataFault, text_shorter_than_a_sequence_says_how_much_is_needed) {
  write("short.txt", "the king\n");
  EXPECT_THAT(pretrain("run", {"data.files=[\"short.txt\"]"}), fails_with(kUsage, "data.files", "seq_length", "17"));
}

TEST_F(DataFault, text_that_is_not_utf8_is_named_and_placed) {
  write("latin1.txt", read("corpus.txt") + "caf\xE9 and the king\n");
  EXPECT_THAT(pretrain("run", {"data.files=[\"latin1.txt\"]"}), fails_with(kFailed, "UTF-8", "byte"));
}

TEST_F(DataFault, data_without_text_cannot_teach_a_character_vocabulary) {
  write_indexed("indexed");
  EXPECT_THAT(nemo({"pretrain", "--recipe", "indexed.toml", "tokenizer.type=char"}),
              fails_with(kUsage, "tokenizer.type=char", "'megatron' does not give"));
}

TEST_F(DataFault, a_model_of_token_ids_needs_its_vocabulary_size) {
  write_indexed("indexed");
  EXPECT_THAT(nemo({"pretrain", "--recipe", "indexed.toml", "model.vocab_size=0"}), fails_with(kUsage, "model.vocab_size"));
}

TEST_F(DataFault, a_sound_indexed_dataset_trains) {
  write_indexed("indexed");
  ASSERT_THAT(train_indexed(), succeeds());
  EXPECT_EQ(column("indexed", "loss").size(), 8u);
}

TEST_F(DataFault, a_missing_indexed_dataset_is_placed) {
  write_indexed("elsewhere");
  EXPECT_THAT(train_indexed(), fails_with(kUsage, "indexed.toml:9:1: data.paths", "indexed.idx"));
}

TEST_F(DataFault, an_empty_indexed_dataset_is_placed_and_named) {
  write_indexed("indexed", 0);
  EXPECT_THAT(train_indexed(), fails_with(kUsage, "indexed.toml:9:1: data.paths", "indexed.idx: the dataset is empty"));
}

TEST_F(DataFault, a_truncated_index_says_expected_and_found) {
  write_indexed("indexed");
  const auto whole = fs::file_size(folder() / "indexed.idx");
  fs::resize_file(folder() / "indexed.idx", whole - 20);
  EXPECT_THAT(train_indexed(), fails_with(kFailed, "indexed.idx", std::to_string(whole), std::to_string(whole - 20)));
  fs::resize_file(folder() / "indexed.idx", 20);
  EXPECT_THAT(train_indexed(), fails_with(kFailed, "indexed.idx"));
  fs::resize_file(folder() / "indexed.idx", 0);
  EXPECT_THAT(train_indexed(), fails_with(kFailed, "indexed.idx"));
}

TEST_F(DataFault, truncated_tokens_are_found_before_training) {
  write_indexed("indexed");
  fs::resize_file(folder() / "indexed.bin", 100);
  EXPECT_THAT(train_indexed(), fails_with(kFailed, "indexed.bin"));
}

TEST_F(DataFault, a_file_that_is_no_index_is_named) {
  write_indexed("indexed");
  write("indexed.idx", "this is a text file and no index of a dataset, whatever its name says\n");
  EXPECT_THAT(train_indexed(), fails_with(kFailed, "indexed.idx"));
}

TEST_F(DataFault, a_token_beyond_the_vocabulary_is_an_error_not_a_crash) {
  write_indexed("indexed");
  EXPECT_THAT(nemo({"pretrain", "--recipe", "indexed.toml", "model.vocab_size=20"}),
              fails_with(kUsage, "token id", "vocabulary has 20 entries", "model.vocab_size"));
}

}  // namespace
}  // namespace nemo::e2e
