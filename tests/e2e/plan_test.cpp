// `nemo-host plan --search` as a user meets it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

class Search : public Sandbox {};

// The layout that its authors published (context parallel 2, bf16 gradients) is one of those tried, so the first is no slower.
TEST_F(Search, ranks_first_what_is_no_slower_than_the_published_layout) {
  for (const int nodes : {1, 8}) {
    const std::vector<std::string> settings{"plan",
                                            "--recipe",
                                            "llama3_8b",
                                            "--json",
                                            "strategy.plugin=megatron",
                                            "trainer.devices=8",
                                            "trainer.num_nodes=" + std::to_string(nodes),
                                            "data.micro_batch_size=1",
                                            "data.global_batch_size=" + std::to_string(128 * nodes),
                                            "precision.grad_dtype=bf16"};
    auto published = settings, searched = settings;
    published.push_back("strategy.context_parallel_size=2");
    searched.push_back("--search");
    const Finished one = nemo(published), all = nemo(searched);
    ASSERT_THAT(one, succeeds());
    ASSERT_THAT(all, succeeds());
    const auto ranked = nlohmann::json::parse(all.out);
    const auto rate = [](const nlohmann::json& plan) { return plan.at("tokens_per_second_per_device").get<double>(); };
    ASSERT_GT(ranked.size(), 10u);
    EXPECT_GE(rate(ranked.at(0).at("plan")), 0.98 * rate(nlohmann::json::parse(one.out)));
    for (size_t i = 1; i < ranked.size(); ++i) EXPECT_LE(rate(ranked.at(i).at("plan")), rate(ranked.at(i - 1).at("plan")));
  }
}

}  // namespace
}  // namespace nemo::e2e
