#include "core/runtime/lr_schedule.hpp"

#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace nemo::runtime {
namespace {

using nlohmann::json;

json curves() { return json::parse(std::ifstream(NEMO_SOURCE_DIR "/tests/golden/numerics/lr/lr_curves.json"))["curves"]; }

LrSchedule schedule(const json& args) {
  LrSchedule s;
  s.lr = args["max_lr"];
  s.min_lr = args["min_lr"];
  s.warmup_steps = args["warm"];
  return s;
}

void expect_curve(const LrSchedule& s, const json& curve) {
  for (size_t step = 0; step < curve["lr"].size(); ++step) {
    const double expected = curve["lr"][step];
    ASSERT_NEAR(s.at(static_cast<int64_t>(step)), expected, 1e-6 * expected) << curve["args"] << " step " << step;
  }
}

TEST(LrSchedule, cosine_equals_nemo) {
  int compared = 0;
  for (const json& c : curves()) {
    if (c["scheduler"] != "nemo_cosine_annealing") continue;
    LrSchedule s = schedule(c["args"]);
    s.type = LrSchedule::Type::kCosine;
    s.constant_steps = c["args"]["const"];
    s.max_steps = c["args"]["max_steps"];
    expect_curve(s, c);
    ++compared;
  }
  EXPECT_EQ(compared, 5);
}

TEST(LrSchedule, linear_constant_and_wsd_equal_megatron) {
  int compared = 0;
  for (const json& c : curves()) {
    const json& args = c["args"];
    if (c["scheduler"] != "megatron" || args["init_lr"] != 0.0) continue;
    LrSchedule s = schedule(args);
    s.max_steps = args["decay"];
    if (args["style"] == "linear")
      s.type = LrSchedule::Type::kLinear;
    else if (args["style"] == "constant")
      s.type = LrSchedule::Type::kConstant;
    else if (args["style"] == "WSD" && args["wsd_style"] == "linear")
      s.type = LrSchedule::Type::kWsd, s.decay_steps = args["wsd"];
    else
      continue;
    expect_curve(s, c);
    ++compared;
  }
  EXPECT_EQ(compared, 5);
}

}  // namespace
}  // namespace nemo::runtime
