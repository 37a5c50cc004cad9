#include <cmath>
#include <set>

#include "tests/data/stream_laws.hpp"

namespace nemo::testing {
namespace {

TEST(MockData, the_stream_is_one_for_all_shards_and_seeking_equals_replaying) {
  for (const char* pattern : {"random", "arithmetic"}) {
    DataPlugin plugin("mock", {{"vocab_size", 1000}, {"pattern", pattern}});
    expect_stream_laws(plugin, {});
  }
}

TEST(MockData, tokens_are_uniform_over_the_vocabulary) {
  DataPlugin plugin("mock", {{"vocab_size", 10}});
  Open open;
  open.seq_length = 1000;
  open.micro = open.global = 20;
  const std::vector<int32_t> tokens = plugin.open(open).next()["tokens"];
  std::vector<double> counts(10);
  for (const int32_t t : tokens) counts.at(static_cast<size_t>(t)) += 1;
  double chi_squared = 0;
  for (const double c : counts) chi_squared += (c - 2000) * (c - 2000) / 2000;
  EXPECT_LT(chi_squared, 27.9) << "9 degrees of freedom, p = 0.001";
}

TEST(MockData, labels_are_the_tokens_shifted_by_one) {
  for (const char* pattern : {"random", "arithmetic"}) {
    DataPlugin plugin("mock", {{"vocab_size", 50}, {"pattern", pattern}});
    Batch b = plugin.open({}).next({"tokens", "labels", "positions", "segments"});
    for (size_t j = 0; j + 1 < 8; ++j) EXPECT_EQ(b["labels"][j], b["tokens"][j + 1]);
    EXPECT_EQ(b["positions"], (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7}));
    EXPECT_EQ(b["segments"], std::vector<int32_t>(8));
  }
}

TEST(MockData, arithmetic_samples_count_up_by_one_stride) {
  DataPlugin plugin("mock", {{"vocab_size", 50}, {"pattern", "arithmetic"}});
  Source source = plugin.open({});
  std::set<int32_t> strides;
  for (int i = 0; i < 50; ++i) {
    const std::vector<int32_t> t = source.next()["tokens"];
    const int32_t stride = (t[1] - t[0] + 50) % 50;
    strides.insert(stride);
    for (size_t j = 0; j + 1 < t.size(); ++j) EXPECT_EQ((t[j + 1] - t[j] + 50) % 50, stride);
  }
  EXPECT_EQ(strides, (std::set<int32_t>{1, 2, 3}));
}

TEST(MockData, seeds_splits_and_samples_differ) {
  DataPlugin plugin("mock", {{"vocab_size", 100000}});
  Open other_seed, other_split;
  other_seed.seed = 2;
  other_split.split = "validation";
  Source source = plugin.open({});
  std::set<std::vector<int32_t>> seen = {source.next()["tokens"], source.next()["tokens"], plugin.open(other_seed).next()["tokens"],
                                         plugin.open(other_split).next()["tokens"]};
  EXPECT_EQ(seen.size(), 4u);
}

TEST(MockData, the_same_samples_come_again_after_num_samples) {
  DataPlugin plugin("mock", {{"vocab_size", 100}, {"num_samples", 3}});
  Source source = plugin.open({});
  EXPECT_EQ(source.num_samples(), 3);
  const Batch first = source.next();
  source.next();
  source.next();
  EXPECT_EQ(source.next(), first);
  EXPECT_EQ(DataPlugin("mock", {{"vocab_size", 100}}).open({}).num_samples(), -1);
}

TEST(MockData, has_what_encoders_read_where_it_is_asked_for) {
  const std::vector<std::string> fields{"encoder_tokens", "encoder_lengths", "lengths", "token_types", "next_sentence_labels"};
  DataPlugin plain("mock", {{"vocab_size", 50}});
  DataPlugin plugin("mock", {{"vocab_size", 50}, {"encoder_fields", true}, {"encoder_seq_length", 5}});
  for (const std::string& field : fields) EXPECT_EQ(plain.has_field(field) ? 2 : plugin.has_field(field) ? 1 : 0, 1) << field;
  Open open;
  open.micro = open.global = 3;
  Source source = plugin.open(open);
  const Batch b = source.next(fields);
  EXPECT_EQ(b.at("lengths"), (std::vector<int32_t>{8, 8, 8}));
  EXPECT_EQ(b.at("encoder_lengths"), (std::vector<int32_t>{5, 5, 5}));
  EXPECT_EQ(b.at("encoder_tokens").size(), 15u);
  for (const int32_t id : b.at("encoder_tokens")) EXPECT_TRUE(id >= 0 && id < 50) << id;
  for (const int32_t label : b.at("next_sentence_labels")) EXPECT_TRUE(label == 0 || label == 1) << label;
  expect_stream_laws(plugin, {}, fields);
}

TEST(MockData, the_vocabulary_is_the_tokenizers_where_none_is_set) {
  DataPlugin plugin("mock", nlohmann::json::object());
  const PluginError error = error_of([&] { plugin.open({}); });
  EXPECT_EQ(error.code, NEMO_CODE_CONFIG_INVALID);
  EXPECT_EQ(error.facts["path"], "vocab_size");
  const auto tokenizer = text::make_tokenizer("byte", {}, {});
  Open open;
  open.tokenizer = tokenizer.get();
  open.seq_length = 5000;
  const std::vector<int32_t> tokens = plugin.open(open).next()["tokens"];
  EXPECT_EQ(*std::max_element(tokens.begin(), tokens.end()), 255);
}

TEST(DataApi, calls_that_break_the_contract_are_refused) {
  DataPlugin plugin("mock", {{"vocab_size", 100}});
  const auto refused = [&](auto change) {
    Open open;
    change(open);
    const PluginError e = error_of([&] { plugin.open(open); });
    EXPECT_EQ(e.code, NEMO_CODE_INVALID_ARGUMENT) << e.message;
    return e.message;
  };
  EXPECT_EQ(refused([](Open& o) { o.seq_length = 0; }), "data open: seq_length is 0");
  EXPECT_EQ(refused([](Open& o) { o.shard = 1; }), "data open: shard 1 of 1");
  EXPECT_EQ(refused([](Open& o) { o.global = 6, o.micro = 2, o.n_shards = 2; }),
            "data open: global_batch_size 6 is no multiple of micro_batch_size 2 x 2 shards");
  Source source = plugin.open({});
  EXPECT_EQ(error_of([&] { source.next({"tokens", "images"}); }).message, "next: unknown batch field 'images'");
  EXPECT_EQ(error_of([&] { source.seek(-1); }).code, NEMO_CODE_INVALID_ARGUMENT);

  int64_t shape[] = {2, 8}, strides[] = {8, 1};
  nemo_batch_field wrong{NEMO_STR("tokens"),
                         {sizeof(nemo_tensor), 0, NEMO_DTYPE_I32, 0, {nullptr, {1, 0}, 2, {0, 32, 1}, shape, strides, 0}}};
  nemo_data* data = nullptr;
  nemo_data_open open{sizeof(nemo_data_open), 0, NEMO_STR("train"), 8, 1, 0, 1, 1, 1, 0, nullptr, nullptr};
  check(plugin.api().open(nullptr, plugin.config(), &open, &data));
  EXPECT_NE(error_of([&] { check(plugin.api().next(data, &wrong, 1, sizeof wrong)); }).message.find("row-major i32 tensor [1, 8]"),
            std::string::npos);
  plugin.api().close(data);
  plugin.api().close(nullptr);
}

TEST(DataApi, a_longer_request_is_accepted_only_if_its_tail_is_zero) {
  DataPlugin plugin("mock", {{"vocab_size", 100}});
  struct {
    nemo_data_open open;
    int64_t later;
  } request{{sizeof request, 0, NEMO_STR("train"), 8, 1, 0, 1, 1, 1, 0, nullptr, nullptr}, 0};
  nemo_data* data = nullptr;
  check(plugin.api().open(nullptr, plugin.config(), &request.open, &data));
  plugin.api().close(data);
  request.later = 1;
  EXPECT_EQ(error_of([&] { check(plugin.api().open(nullptr, plugin.config(), &request.open, &data)); }).code, NEMO_CODE_UNSUPPORTED_FIELD);
}

}  // namespace
}  // namespace nemo::testing
