#include "blend.hpp"

#include "blended_source.hpp"
#include "tests/data/golden.hpp"
#include "tests/support/safetensors.hpp"

namespace nemo::megatron {
namespace {

using nemo::testing::Safetensors;

const Safetensors& tensors() {
  static const Safetensors instance(golden("blend/blends.safetensors"));
  return instance;
}

void expect_equal(const Blend& blend, const std::string& key) {
  EXPECT_EQ(blend.dataset, tensors().at(key + ".dataset_index").as<int16_t>()) << key;
  EXPECT_EQ(blend.sample, tensors().at(key + ".dataset_sample_index").as<uint32_t>()) << key;
}

TEST(Blend, indices_by_weight_and_by_size_are_those_of_megatron) {
  int weighted = 0, exhaustive = 0;
  const nlohmann::json file = golden_json("blend/blends.json");
  for (const auto& c : file["blends"]) {
    const auto key = c["key"].get<std::string>();
    if (c.contains("weights")) {
      const std::vector<double> weights = normalise(c["weights"].get<std::vector<double>>());
      EXPECT_EQ(weights, c["normalised"].get<std::vector<double>>()) << key;
      expect_equal(blend_by_weight(weights, c["size"]), key);
      ++weighted;
    } else {
      expect_equal(blend_exhaustively(c["sizes"].get<std::vector<int64_t>>()), key);
      ++exhaustive;
    }
  }
  EXPECT_EQ(weighted, 6);
  EXPECT_EQ(exhaustive, 4);
}

TEST(BlendedSource, whole_builders_give_the_datasets_and_samples_of_megatron) {
  const nlohmann::json file = golden_json("blend/blends.json");
  for (const auto& b : file["builders"]) {
    for (size_t s = 0; s < 3; ++s) {
      const std::string key = b["key"].get<std::string>() + ".split" + std::to_string(s);
      SCOPED_TRACE(key);
      BlendRequest request;
      for (const auto& prefix : b["prefixes"]) request.paths.prefixes.push_back(golden("indexed/" + prefix.get<std::string>()));
      request.paths.weights = b["weights"].get<std::vector<double>>();
      request.share = parse_split(b["split"])[s];
      request.num_samples = b["sizes"][s];
      request.index.seq_length = b["seq_length"];
      request.index.seed = b["seed"];
      request.surplus = b["mid_level_dataset_surplus"];
      const BlendedSource source(request);
      const auto& expected = b["splits"][s];
      ASSERT_EQ(source.num_samples(), expected["size"].get<int64_t>());
      expect_equal(*source.blend(), key);
      for (size_t d = 0; d < source.datasets().size(); ++d) {
        const double weight = normalise(request.paths.weights)[d];
        EXPECT_EQ(blend_share(request.num_samples, weight, request.surplus).used, b["samples_used"][d][s].get<int64_t>());
        EXPECT_EQ(blend_share(request.num_samples, weight, request.surplus).requested, b["samples_requested"][d][s].get<int64_t>());
        const GptIndex& index = source.datasets()[d]->index();
        EXPECT_EQ(index.tokens_per_epoch, expected["info"][d]["tokens_per_epoch"].get<int64_t>());
        EXPECT_EQ(index.epochs, expected["info"][d]["num_epochs"].get<int64_t>());
        EXPECT_EQ(index.separate_final_epoch, expected["info"][d]["separate_final_epoch"].get<bool>());
        EXPECT_EQ(source.datasets()[d]->size(), expected["mid_level_lengths"][d].get<int64_t>());
      }
      const auto& text = tensors().at(key + ".text");
      const auto width = static_cast<size_t>(text.shape[1]);
      std::vector<int32_t> found(static_cast<size_t>(text.elements()));
      for (int64_t i = 0; i < text.shape[0]; ++i) source.read_text(i, std::span(found).subspan(static_cast<size_t>(i) * width, width));
      EXPECT_EQ(found, text.as<int32_t>());
    }
  }
}

TEST(BlendPaths, weights_and_prefixes_alternate_or_there_are_only_prefixes) {
  const BlendPaths weighted = parse_paths({"0.3", "/a", "7", "/b.bin"});
  EXPECT_EQ(weighted.prefixes, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_EQ(weighted.weights, (std::vector<double>{0.3, 7}));
  const BlendPaths plain = parse_paths({"/a.idx", "/b"});
  EXPECT_EQ(plain.prefixes, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_TRUE(plain.weights.empty());
  EXPECT_NE(message_of(NEMO_CODE_CONFIG_INVALID,
                       [] {
                         (void)parse_paths({"0.3", "/a", "/b", "0.7"});
                       })
                .find("paths[2] is '/b'"),
            std::string::npos);
  EXPECT_NE(message_of(NEMO_CODE_CONFIG_INVALID, [] { (void)parse_paths({"0", "/a"}); }).find("paths[0] is '0'"), std::string::npos);
  EXPECT_NE(message_of(NEMO_CODE_CONFIG_INVALID, [] { (void)parse_paths({}); }).find("paths is empty"), std::string::npos);
}

BlendRequest small_request(std::vector<std::string> names, std::vector<double> weights) {
  BlendRequest request;
  for (const std::string& n : names) request.paths.prefixes.push_back(golden("indexed/" + n));
  request.paths.weights = std::move(weights);
  request.share = {0, 1};
  request.index.seq_length = 8;
  return request;
}

TEST(BlendedSource, without_weights_every_sample_of_every_dataset_comes_once_an_epoch) {
  const BlendedSource source(small_request({"text_u16", "text_i32", "small_u16"}, {}));
  EXPECT_EQ(source.num_samples(), 144 + 164 + 14);
  std::vector<std::vector<bool>> seen;
  for (const auto& d : source.datasets()) seen.emplace_back(static_cast<size_t>(d->size()));
  for (size_t i = 0; i < source.blend()->sample.size(); ++i) {
    auto flag = seen[static_cast<size_t>(source.blend()->dataset[i])][source.blend()->sample[i]];
    EXPECT_FALSE(flag);
    flag = true;
  }
}

TEST(BlendedSource, one_epoch_of_a_weighted_blend_has_as_many_samples_as_the_datasets_hold) {
  const BlendedSource source(small_request({"text_u16", "small_u16"}, {0.5, 0.5}));
  EXPECT_EQ(source.num_samples(), 158);
  EXPECT_GE(source.datasets()[1]->size(), 79) << "the small dataset is repeated";
}

TEST(BlendedSource, an_empty_share_of_documents_is_reported) {
  BlendRequest request = small_request({"small_u16"}, {});
  request.split = "999,1";
  request.split_name = "validation";
  request.share = parse_split(request.split)[1];
  EXPECT_NE(message_of(NEMO_CODE_CONFIG_INVALID, [&] { const BlendedSource s(request); })
                .find("(validation): split \"999,1\" leaves it none of the 9 documents"),
            std::string::npos);
}

}  // namespace
}  // namespace nemo::megatron
