// What happens to the others when one rank ends, stalls or is interrupted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "tests/distributed/runner.hpp"

namespace nemo::distributed_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

const Overrides kLong{"strategy.plugin=ddp", "trainer.devices=2", "trainer.max_steps=1000000", "checkpoint.every_n_steps=20",
                      "checkpoint.keep_top_k=1"};

// The process of a rank: the one whose environment says so and that works in the folder.
pid_t process_of(const Folder& folder, const std::string& rank) {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::error_code gone;
    if (fs::read_symlink(entry.path() / "cwd", gone) != folder.path()) continue;
    std::ifstream file(entry.path() / "environ");
    const std::string environment{std::istreambuf_iterator<char>(file), {}};
    if (environment.find(std::string(1, '\0') + "RANK=" + rank + '\0') != std::string::npos) return std::stoi(entry.path().filename());
  }
  return -1;
}

void wait_for_steps(const Folder& folder, const std::string& run, size_t steps) {
  for (int i = 0; i < 3000 && (!fs::exists(folder.path() / run / "metrics.jsonl") || steps_of(folder, run).size() < steps); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

size_t complete_checkpoints(const Folder& folder, const std::string& run) {
  size_t n = 0;
  for (const auto& entry : fs::directory_iterator(folder.path() / run / "checkpoints"))
    n += entry.path().filename().string().find('.') == std::string::npos && fs::exists(entry.path() / "manifest.json");
  return n;
}

TEST(Failure, the_others_end_within_ten_seconds_of_a_killed_rank_which_is_named_first) {
  const Folder folder;
  e2e::Process process(command(folder, "gpt", "run", kLong));
  wait_for_steps(folder, "run", 30);
  const pid_t victim = process_of(folder, "1");
  ASSERT_GT(victim, 0);
  const auto start = std::chrono::steady_clock::now();
  kill(victim, SIGKILL);
  const e2e::Finished f = process.wait(60);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_EQ(f.exit_code, 128 + SIGKILL);
  EXPECT_THAT(f.err, HasSubstr("error: rank 1 was killed by signal 9"));
  EXPECT_EQ(f.err.find("error:"), f.err.find("error: rank 1 was killed by signal 9")) << f.err;
  EXPECT_GT(complete_checkpoints(folder, "run"), 0U);
}

TEST(Failure, the_watchdog_names_the_rank_that_stands_still) {
  const Folder folder;
  Overrides overrides = kLong;
  // A run makes no progress before its first step, and how long that takes is up to the machine (instrumented: 10 times as long): the
  // watchdog's patience is a multiple of it.
  const auto start = std::chrono::steady_clock::now();
  overrides.push_back("trainer.max_steps=1");
  (void)train(folder, "gpt", "first", overrides);
  const auto took = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start).count();
  overrides.back() = "trainer.watchdog_timeout=" + std::to_string(2 + 4 * took);
  e2e::Process process(command(folder, "gpt", "run", overrides));
  wait_for_steps(folder, "run", 5);
  const pid_t victim = process_of(folder, "1");
  ASSERT_GT(victim, 0);
  kill(victim, SIGSTOP);
  const e2e::Finished f = process.wait(60 + 8 * static_cast<int>(took));
  EXPECT_FALSE(f.timed_out);
  EXPECT_NE(f.exit_code, 0);
  EXPECT_THAT(f.err, HasSubstr("rank 1 does not answer"));
}

TEST(Failure, an_interrupted_run_saves_on_all_ranks_and_goes_on_later) {
  const Folder folder;
  Overrides overrides = kLong;
  overrides.push_back("checkpoint.save_last=true");
  e2e::Process process(command(folder, "gpt", "run", overrides));
  wait_for_steps(folder, "run", 5);
  process.send(SIGINT);
  const e2e::Finished f = process.wait(60);
  EXPECT_EQ(f.exit_code, 130) << f.err;
  EXPECT_EQ(complete_checkpoints(folder, "run"), 1U);
  overrides.push_back("trainer.max_steps=" + std::to_string(steps_of(folder, "run").size() + 3));
  const size_t before = steps_of(folder, "run").size();
  EXPECT_EQ(train(folder, "gpt", "run", overrides).size(), before + 3);
}

TEST(Failure, a_killed_run_is_started_again_from_its_newest_checkpoint) {
  const Folder folder;
  Overrides overrides = kLong;
  overrides[2] = "trainer.max_steps=400";
  overrides.insert(overrides.end(), {"trainer.max_restarts=1", "checkpoint.save_last=true"});
  e2e::Process process(command(folder, "gpt", "run", overrides));
  wait_for_steps(folder, "run", 50);
  kill(process_of(folder, "0"), SIGKILL);
  const e2e::Finished f = process.wait(120);
  EXPECT_EQ(f.exit_code, 0) << f.err;
  EXPECT_THAT(f.err, HasSubstr("restart 1 of 1"));
  EXPECT_EQ(steps_of(folder, "run").size(), 400U);
}

TEST(Failure, a_mistake_in_the_recipe_is_told_once) {
  const Folder folder;
  const e2e::Finished f = e2e::run(command(folder, "gpt", "run", {"strategy.plugin=ddp", "trainer.devices=2", "data.global_batch_size=3"}));
  EXPECT_EQ(f.exit_code, 2) << f.err;
  const size_t first = f.err.find("is no multiple of micro_batch_size");
  ASSERT_NE(first, std::string::npos) << f.err;
  EXPECT_EQ(f.err.find("is no multiple of micro_batch_size", first + 1), std::string::npos) << f.err;
}

}  // namespace
}  // namespace nemo::distributed_test
