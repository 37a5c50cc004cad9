#include "tests/data/golden.hpp"
#include "tests/data/stream_laws.hpp"
#include "tests/support/safetensors.hpp"

namespace nemo::testing {
namespace {

using megatron::fresh_dir;
using megatron::golden;
using megatron::read_bytes;
using megatron::write_bytes;

std::string data(const std::string& name) { return golden("indexed/" + name); }

TEST(MegatronData, the_stream_is_one_for_all_shards_and_seeking_equals_replaying) {
  DataPlugin single("megatron", {{"paths", {data("text_u16")}}, {"split", "1,0,0"}});
  expect_stream_laws(single, {});
  DataPlugin blend("megatron", {{"paths", {"0.3", data("text_u16"), "0.7", data("text_i32")}}, {"split", "1,0,0"}});
  expect_stream_laws(blend, {});
}

TEST(MegatronData, batches_are_the_golden_samples_with_resets_and_masks) {
  const Safetensors expected(golden("gpt/gpt_three_epochs_separate.safetensors"));
  for (const bool reset : {false, true}) {
    const std::string kind = reset ? "reset." : "plain.";
    DataPlugin plugin("megatron", {{"paths", {data("text_u16")}},
                                   {"split", "90,8,2"},
                                   {"seed", 1236},
                                   {"reset_position_ids", reset},
                                   {"reset_attention_mask", reset},
                                   {"eod_mask_loss", reset},
                                   {"eod_token", 0}});
    EXPECT_EQ(plugin.has_field("positions"), reset);
    EXPECT_EQ(plugin.has_field("segments"), reset);
    EXPECT_FALSE(plugin.has_field("images"));
    Open open;
    open.seq_length = 16;
    open.micro = 3;
    open.global = 6;
    open.max_samples = 141;
    open.seed = 5;
    Source source = plugin.open(open);
    EXPECT_EQ(source.num_samples(), 184);
    Batch got = source.next({"tokens", "labels", "positions", "segments"});
    for (auto& [name, rest] : source.next({"tokens", "labels", "positions", "segments"}))
      got[name].insert(got[name].end(), rest.begin(), rest.end());
    std::vector<int32_t> labels = expected.at(kind + "labels").as<int32_t>();
    const std::vector<float> mask = expected.at(kind + "loss_mask").as<float>();
    for (size_t i = 0; i < labels.size(); ++i)
      if (mask[i] == 0) labels[i] = -100;
    EXPECT_EQ(got["tokens"], expected.at(kind + "tokens").as<int32_t>());
    EXPECT_EQ(got["labels"], labels);
    EXPECT_EQ(got["positions"], expected.at(kind + "position_ids").as<int32_t>());
    std::vector<uint8_t> allowed;
    for (size_t row = 0; row < 6; ++row)
      for (size_t q = 0; q < 16; ++q)
        for (size_t k = 0; k < 16; ++k) allowed.push_back(k <= q && got["segments"][row * 16 + k] == got["segments"][row * 16 + q]);
    EXPECT_EQ(allowed, expected.at(kind + "attention_allowed").as<uint8_t>());
  }
}

TEST(MegatronData, the_stream_is_the_same_from_kept_index_maps) {
  const std::string folder = fresh_dir("kept_maps") + "/maps";
  const nlohmann::json paths{"0.3", data("text_u16"), "0.7", data("text_i32")};
  DataPlugin plain("megatron", {{"paths", paths}}), kept("megatron", {{"paths", paths}, {"index_mapping_dir", folder}});
  const auto expected = read_stream(plain, {}, 20);
  EXPECT_EQ(read_stream(kept, {}, 20), expected);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 20)
      << "five files of each dataset, for one epoch and for its share of the blend";
  EXPECT_EQ(read_stream(kept, {}, 20), expected);
  std::filesystem::remove_all(folder);
  write_bytes(folder, "a file where the folder should be");
  EXPECT_EQ(error_of([&] { kept.open({}); }).facts["path"], "index_mapping_dir");
}

TEST(MegatronData, the_jobs_seed_is_used_where_none_is_set) {
  DataPlugin unset("megatron", {{"paths", {data("text_u16")}}}), set("megatron", {{"paths", {data("text_u16")}}, {"seed", 9}});
  Open open;
  open.seed = 9;
  EXPECT_EQ(read_stream(unset, open, 20), read_stream(set, {}, 20));
  EXPECT_NE(read_stream(unset, {}, 20), read_stream(set, {}, 20));
  open.seed = -1;
  EXPECT_EQ(error_of([&] { unset.open(open); }).facts["path"], "seed");
}

TEST(MegatronData, the_stream_wraps_around_after_an_epoch) {
  DataPlugin plugin("megatron", {{"paths", {data("small_u16")}}, {"split", "1"}});
  Source source = plugin.open({});
  const int64_t n = source.num_samples();
  ASSERT_EQ(n, 14);
  std::vector<Batch> epoch;
  for (int64_t i = 0; i < n; ++i) epoch.push_back(source.next());
  for (int64_t i = 0; i < n; ++i) EXPECT_EQ(source.next(), epoch[static_cast<size_t>(i)]);
}

TEST(MegatronData, a_short_last_validation_sample_is_padded_and_ignored) {
  DataPlugin plugin(
      "megatron", {{"paths", {data("text_u16")}}, {"split", "80,15,5"}, {"seed", 1238}, {"drop_last_partial_validation_sequence", false}});
  Open open;
  open.split = "validation";
  open.seq_length = 16;
  Source source = plugin.open(open);
  ASSERT_EQ(source.num_samples(), 10);
  int ignored = 0;
  for (int i = 0; i < 10; ++i) {
    const Batch batch = source.next();
    for (const int32_t label : batch.at("labels")) ignored += label == -100;
  }
  EXPECT_EQ(ignored, 14) << "the last sample has 3 tokens of 17";
}

TEST(MegatronData, without_an_extra_token_only_the_last_label_is_ignored) {
  DataPlugin plugin("megatron",
                    {{"paths", {data("text_i32")}}, {"split", "95,5,0"}, {"seed", 1241}, {"add_extra_token_to_sequence", false}});
  const auto expected = Safetensors(golden("gpt/gpt_no_extra_token.safetensors")).at("sample_text").as<int32_t>();
  Open open;
  open.seq_length = 32;
  open.max_samples = 50;
  open.micro = open.global = 12;
  Batch b = plugin.open(open).next();
  EXPECT_EQ(b["tokens"], expected);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(b["labels"][i], i % 32 == 31 ? -100 : expected[i + 1]);
}

TEST(MegatronData, a_split_with_no_share_is_absent) {
  DataPlugin plugin("megatron", {{"paths", {data("text_u16")}}, {"split", "90,0,10"}});
  Open open;
  open.split = "validation";
  EXPECT_FALSE(plugin.open(open).present());
  open.split = "test";
  EXPECT_TRUE(plugin.open(open).present());
  open.split = "holdout";
  EXPECT_FALSE(plugin.open(open).present());
}

TEST(MegatronData, the_end_of_document_token_is_the_tokenizers_or_must_be_set) {
  DataPlugin plugin("megatron", {{"paths", {data("text_u16")}}, {"eod_mask_loss", true}});
  const PluginError e = error_of([&] { plugin.open({}); });
  EXPECT_EQ(e.code, NEMO_CODE_CONFIG_INVALID);
  EXPECT_EQ(e.facts["path"], "eod_token");
}

TEST(MegatronData, missing_empty_and_truncated_datasets_are_named) {
  const std::string dir = fresh_dir("megatron_bad"), prefix = dir + "/d";
  DataPlugin plugin("megatron", {{"paths", {prefix}}});
  PluginError e = error_of([&] { plugin.open({}); });
  EXPECT_EQ(e.code, NEMO_CODE_NOT_FOUND);
  EXPECT_EQ(e.message, prefix + ".idx: cannot be read: No such file or directory");
  EXPECT_EQ(e.facts["file"], prefix + ".idx");

  write_bytes(prefix + ".bin", read_bytes(data("text_u16") + ".bin").substr(0, 2309));
  write_bytes(prefix + ".idx", read_bytes(data("text_u16") + ".idx"));
  e = error_of([&] { plugin.open({}); });
  EXPECT_EQ(e.code, NEMO_CODE_DATA_LOSS);
  EXPECT_EQ(
      e.message,
      prefix +
          ".bin: sequence 36 of 37 takes bytes 2212 to 2310, but the file has 2309; it is truncated, or the .idx belongs to another .bin");

  std::string empty = read_bytes(data("text_u16") + ".idx").substr(0, 18);
  const uint64_t counts[] = {0, 1, 0};
  empty.append(reinterpret_cast<const char*>(counts), sizeof counts);
  write_bytes(prefix + ".idx", empty);
  e = error_of([&] { plugin.open({}); });
  EXPECT_EQ(e.code, NEMO_CODE_NOT_FOUND);
  EXPECT_EQ(e.message, prefix + ".idx: the dataset is empty");
}

}  // namespace
}  // namespace nemo::testing
