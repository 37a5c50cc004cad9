#include "gpt_dataset.hpp"

#include <chrono>

#include "numpy_random.hpp"
#include "split.hpp"
#include "tests/data/golden.hpp"
#include "tests/support/safetensors.hpp"

namespace nemo::megatron {
namespace {

using nemo::testing::Safetensors;

struct Case {
  nlohmann::json facts;
  Safetensors tensors;
  GptIndexRequest request;
  std::unique_ptr<GptDataset> dataset;
};

Case load(const nlohmann::json& facts) {
  Case c{facts, Safetensors(golden("gpt/gpt_" + facts["name"].get<std::string>() + ".safetensors")), {}, nullptr};
  const auto data = std::make_shared<IndexedDataset>(golden("indexed/" + facts["dataset"].get<std::string>()));
  const DocumentRange range = documents_of(parse_split(facts["split"])[facts["which"].get<size_t>()], data->num_sequences());
  c.request = {range.begin,
               range.end,
               facts["seq_length"],
               facts["num_samples"].is_null() ? 0 : facts["num_samples"].get<int64_t>(),
               facts["seed"],
               facts["add_extra_token"],
               facts["drop_last_partial"].get<bool>() ? LastSample::kDrop : LastSample::kKeep};
  c.dataset = std::make_unique<GptDataset>(data, c.request, "golden");
  return c;
}

class GptGolden : public ::testing::Test {
 protected:
  template <class Body>
  void for_each_case(Body&& body) {
    const auto all = golden_json("gpt/gpt_cases.json");
    ASSERT_EQ(all.size(), 12u);
    for (const auto& facts : all) {
      SCOPED_TRACE(facts["name"].get<std::string>());
      body(load(facts));
    }
  }
};

TEST_F(GptGolden, documents_and_epochs_are_chosen_as_megatron_chooses_them) {
  for_each_case([](const Case& c) {
    EXPECT_EQ(c.request.first_document, c.facts["index_range"][0].get<int64_t>());
    EXPECT_EQ(c.request.end_document, c.facts["index_range"][1].get<int64_t>());
    EXPECT_EQ(c.dataset->index().tokens_per_epoch, c.facts["tokens_per_epoch"].get<int64_t>());
    EXPECT_EQ(c.dataset->index().epochs, c.facts["num_epochs"].get<int64_t>());
    EXPECT_EQ(c.dataset->index().separate_final_epoch, c.facts["separate_final_epoch"].get<bool>());
    EXPECT_EQ(c.dataset->size(), c.facts["num_built"].get<int64_t>());
  });
}

TEST_F(GptGolden, document_sample_and_shuffle_index_are_equal) {
  for_each_case([](const Case& c) {
    const GptIndex& index = c.dataset->index();
    EXPECT_EQ(index.documents, c.tensors.at("document_index").as<int32_t>());
    std::vector<int32_t> samples;
    for (const SamplePosition& p : index.samples) samples.insert(samples.end(), {static_cast<int32_t>(p.document), p.offset});
    EXPECT_EQ(samples, c.tensors.at("sample_index").as<int32_t>());
    EXPECT_EQ(index.shuffle, c.tensors.at("shuffle_index").as<uint32_t>());
  });
}

TEST_F(GptGolden, sample_tokens_are_equal) {
  for_each_case([](const Case& c) {
    const auto& expected = c.tensors.at("sample_text");
    std::vector<int32_t> text(static_cast<size_t>(expected.elements()));
    const auto width = static_cast<size_t>(expected.shape[1]);
    for (int64_t i = 0; i < expected.shape[0]; ++i) c.dataset->read(i, std::span(text).subspan(static_cast<size_t>(i) * width, width));
    EXPECT_EQ(text, expected.as<int32_t>());
  });
}

// Labels with -100 where Megatron's loss mask is 0.
std::vector<int32_t> masked(const std::vector<int32_t>& labels, const std::vector<float>& loss_mask) {
  std::vector<int32_t> out = labels;
  for (size_t i = 0; i < out.size(); ++i)
    if (loss_mask[i] == 0) out[i] = sdk::kIgnoredLabel;
  return out;
}

TEST_F(GptGolden, tokens_labels_loss_positions_and_attention_are_equal) {
  int compared = 0;
  for_each_case([&](const Case& c) {
    if (!c.tensors.has("plain.tokens")) return;  // samples without extra token have only sample_text
    for (const std::string kind : {"plain.", "reset."}) {
      const bool reset = kind == "reset.";
      const MaskOptions options{reset, reset, reset, 0};
      const int64_t rows = c.tensors.at(kind + "tokens").shape[0], seq = c.request.seq_length;
      const auto n = static_cast<size_t>(rows * seq);
      std::vector<int32_t> tokens(n), labels(n), positions(n), segments(n), text(static_cast<size_t>(seq) + 1);
      std::vector<uint8_t> allowed;
      for (int64_t i = 0; i < rows; ++i) {
        c.dataset->read(i, text);
        int32_t* s = segments.data() + i * seq;
        write_row(text, seq, options, {tokens.data() + i * seq, labels.data() + i * seq, positions.data() + i * seq, s});
        for (int64_t q = 0; q < seq; ++q)
          for (int64_t k = 0; k < seq; ++k) allowed.push_back(k <= q && s[k] == s[q]);
      }
      EXPECT_EQ(tokens, c.tensors.at(kind + "tokens").as<int32_t>());
      EXPECT_EQ(labels, masked(c.tensors.at(kind + "labels").as<int32_t>(), c.tensors.at(kind + "loss_mask").as<float>()));
      EXPECT_EQ(positions, c.tensors.at(kind + "position_ids").as<int32_t>());
      EXPECT_EQ(allowed, c.tensors.at(kind + "attention_allowed").as<uint8_t>());
      ++compared;
    }
  });
  EXPECT_EQ(compared, 22);
}

TEST(GptIndex, too_little_data_says_what_was_found_and_needed) {
  const auto length = [](int64_t) { return 3; };
  GptIndexRequest request{0, 4, 16, 0, 1, 1, LastSample::kDrop};
  EXPECT_EQ(message_of(NEMO_CODE_CONFIG_INVALID, [&] { (void)build_gpt_index(request, length, "/d/x (train)"); }),
            "/d/x (train) has 12 tokens in 4 documents, but one sample needs 17; give more data, another split, or a smaller seq_length");
  request.num_samples = 5;  // several epochs make up for it
  EXPECT_GE(build_gpt_index(request, length, "x").shuffle.size(), 5u);
  request.end_document = 0;
  EXPECT_NE(message_of(NEMO_CODE_CONFIG_INVALID, [&] { (void)build_gpt_index(request, length, "x"); }).find("has 0 tokens in 0 documents"),
            std::string::npos);
}

TEST(GptIndex, empty_documents_are_passed_over_and_may_end_the_last_sample) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const GptIndexRequest request{0, 6, 4, 0, seed, 1, LastSample::kKeep};
    const GptIndex index = build_gpt_index(
        request, [](int64_t d) { return d % 2 == 0 ? 0 : 5; }, "x");
    ASSERT_EQ(index.samples.size(), 5u);
    int64_t end = 0;
    for (uint32_t d = 0; d < index.samples.back().document; ++d) end += index.documents[d] % 2 == 0 ? 0 : 5;
    EXPECT_EQ(end + index.samples.back().offset + 1, 15);
  }
}

TEST(GptIndex, is_built_in_linear_time) {
  const auto start = std::chrono::steady_clock::now();
  const GptIndex index = build_gpt_index(
      {0, 2000000, 512, 0, 1, 1, LastSample::kDrop}, [](int64_t d) { return static_cast<int32_t>(d % 1000); }, "x");
  EXPECT_GT(index.shuffle.size(), 1900000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Split, wrong_splits_are_refused_with_the_text) {
  for (const std::string bad : {"", "a,b", "1,2,3,4", "0,0,0", "-1,2"})
    EXPECT_NE(message_of(NEMO_CODE_CONFIG_INVALID, [&] { (void)parse_split(bad); }).find("split = \"" + bad + "\""), std::string::npos);
  const auto shares = parse_split("90, 10");
  EXPECT_TRUE(shares[0].present());
  EXPECT_TRUE(shares[1].present());
  EXPECT_FALSE(shares[2].present());
}

TEST(Split, boundaries_are_rounded_half_to_even) {
  EXPECT_EQ(documents_of({0, 0.5}, 5).end, 2);
  EXPECT_EQ(documents_of({0, 0.5}, 7).end, 4);
}

}  // namespace
}  // namespace nemo::megatron
