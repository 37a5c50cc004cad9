// nemo-host profile: a table that adds up, on the CPU backend as well, and a trace that a browser reads.
#include <gmock/gmock.h>

#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

class Profile : public Sandbox {};

TEST_F(Profile, names_time_rate_and_ceiling_of_every_kind_of_op_and_the_three_largest_gaps) {
  const Finished end = nemo({"profile", "--recipe", "tiny.toml", "--steps", "1", "trainer.accelerator=cpu"});
  EXPECT_EQ(end.exit_code, kDone) << testing::PrintToString(end);
  EXPECT_THAT(end.out,
              AllOf(HasSubstr("ceilings of this run: copy"), HasSubstr("linear_wgrad"), HasSubstr("attention_grad"), HasSubstr("adamw"),
                    HasSubstr("all kernels"), HasSubstr("roofline"), HasSubstr("largest gaps to the roofline")));
  EXPECT_FALSE(fs::exists(folder() / "runs")) << "profile leaves no run behind";
}

TEST_F(Profile, writes_a_trace_of_one_step_whose_events_follow_each_other) {
  const Finished end =
      nemo({"profile", "--recipe", "tiny.toml", "--steps", "1", "--trace", (folder() / "trace.json").string(), "trainer.accelerator=cpu"});
  ASSERT_EQ(end.exit_code, kDone) << testing::PrintToString(end);
  const auto events = nlohmann::json::parse(read("trace.json")).at("traceEvents");
  ASSERT_GT(events.size(), 10u);
  double at = 0;
  for (const auto& event : events) {
    EXPECT_EQ(event.at("ph"), "X");
    EXPECT_GE(event.at("ts").get<double>(), at - 0.01);
    at = event.at("ts").get<double>() + event.at("dur").get<double>();
  }
}

TEST_F(Profile, of_several_ranks_tells_what_the_step_takes_beyond_computation_and_traces_each_rank) {
  for (const char* strategy : {"zero1", "fsdp"}) {
    const Finished end =
        nemo({"profile", "--recipe", "tiny.toml", "--steps", "1", "--rank", "1", "--trace", (folder() / "trace.json").string(),
              "trainer.accelerator=cpu", "trainer.devices=2", "data.micro_batch_size=4", std::string("strategy.plugin=") + strategy});
    ASSERT_EQ(end.exit_code, kDone) << testing::PrintToString(end);
    EXPECT_THAT(end.out, AllOf(HasSubstr("rank 1 of 2"), HasSubstr("all_gather"), HasSubstr("reduce_scatter"),
                               HasSubstr("communication alone"), HasSubstr("beyond computation")));
    for (const int rank : {0, 1}) {
      const auto events = nlohmann::json::parse(read("trace.rank" + std::to_string(rank) + ".json")).at("traceEvents");
      ASSERT_GT(events.size(), 10u);
      EXPECT_EQ(events[0].at("pid"), rank);
    }
  }
}

TEST_F(Profile, of_a_rank_that_is_not_there_says_which_are) {
  const Finished end = nemo({"profile", "--recipe", "tiny.toml", "--rank", "2", "trainer.accelerator=cpu"});
  EXPECT_EQ(end.exit_code, kUsage);
  EXPECT_THAT(end.err, HasSubstr("--rank 2: the recipe has ranks 0 to 0"));
}

TEST_F(Profile, without_a_recipe_says_what_it_needs) {
  const Finished end = nemo({"profile"});
  EXPECT_EQ(end.exit_code, kUsage);
  EXPECT_THAT(end.err, HasSubstr("profile needs --recipe"));
}

}  // namespace
}  // namespace nemo::e2e
