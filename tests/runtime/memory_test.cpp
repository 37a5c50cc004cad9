// The memory plan is what the process takes: growth of the peak resident set over loading, allocation and training steps against
// MemoryReport::total().
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/runtime/session.hpp"

namespace nemo::runtime_test {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Kilobytes of a field of /proc/self/status.
int64_t status_kib(const std::string& field) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(field + ":")) return std::stoll(line.substr(field.size() + 1));
  return -1;
}

std::string recipe(const std::string& precision) {
  return "[model]\nplugin = \"gpt\"\nvocab_size = 20000\nmax_position_embeddings = 256\nnum_layers = 6\nhidden_size = "
         "512\nnum_attention_heads = 8\n[data]\nplugin = \"mock\"\nseq_length = 256\n"
         "micro_batch_size = 4\nglobal_batch_size = 4\n[trainer]\naccelerator = \"cpu\"\n[log]\nloggers = []\n[precision]\nplugin = \"" +
         precision + "\"\n";
}

class MemoryPlan : public ::testing::TestWithParam<std::string> {};

TEST_P(MemoryPlan, measured_growth_is_within_five_percent_of_the_plan) {
  if (kSanitized) GTEST_SKIP() << "sanitizers take memory of their own";
  Plugins plugins;
  std::ofstream("/proc/self/clear_refs") << 5;  // the peak starts from the present size
  const int64_t before = status_kib("VmRSS");
  Session s(plugins, recipe(GetParam()), {passes::Purpose::kTrain});
  s.engine->state().initialize(1);
  std::vector<int32_t> tokens(1024), labels(1024);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 13), labels[i] = static_cast<int32_t>(i * 7);
  const runtime::Batch batch = Session::batch(tokens, labels);
  for (int step = 1; step <= 2; ++step) {
    s.loss(passes::Purpose::kTrain, batch);
    s.optimizer->step(1e-3, step, static_cast<double>(batch.unmasked_tokens));
  }
  const auto grown = static_cast<double>(status_kib("VmHWM") - before) * 1024, planned = static_cast<double>(s.engine->report().total());
  std::printf("planned %.1f MiB, measured growth %.1f MiB\n%s", planned / 1048576, grown / 1048576, render(s.engine->report()).c_str());
  EXPECT_NEAR(grown / planned, 1.0, 0.05);
}

INSTANTIATE_TEST_SUITE_P(, MemoryPlan, ::testing::Values("fp32", "bf16-mixed"),
                         [](const auto& info) { return info.param == "fp32" ? "fp32" : "bf16_mixed"; });

}  // namespace
}  // namespace nemo::runtime_test
