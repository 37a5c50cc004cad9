// A run that is killed or interrupted ends with the bits of one that was left alone.
#include <signal.h>

#include <chrono>
#include <random>
#include <thread>

#include "tests/e2e/same_tensors.hpp"
#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

constexpr int64_t kSteps = 240;
constexpr int kLargestNumberOfStarts = 40;

struct Kills {
  int anywhere = 0, while_saving = 0;
};

class Resume : public Sandbox {
 protected:
  // Of a run that lasts long enough to be hit, with everything that has state: dropout, shuffling, moments, best checkpoints.
  static Words settings(const Words& more) {
    Words all{"trainer.max_steps=" + std::to_string(kSteps), "checkpoint.every_n_steps=8", "trainer.val_check_interval=24",
              "model.hidden_dropout=0.1", "data.sampling=shuffled_windows"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  bool is_saving(const std::string& name) const {
    for (const std::string& folder : checkpoints_now(name))
      if (folder.find(".partial-") != std::string::npos) return true;
    return false;
  }

  // The folder changes while it is listed.
  Words checkpoints_now(const std::string& name) const {
    try {
      return checkpoints(name);
    } catch (const fs::filesystem_error&) {
      return {};
    }
  }

  size_t lines(const std::string& name) const {
    const std::string text = read(run_folder(name) / "metrics.jsonl");
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  template <class Condition>
  void await(Process& process, Condition&& condition) const {
    while (!process.has_ended() && !condition()) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }

  // The same command again and again until it is done, killed by turns at a random moment and in the middle of a checkpoint.
  Kills kill_until_done(const std::string& name, const Words& all, double usual_milliseconds) {
    Kills kills;
    std::mt19937 draw(20);
    for (int start = 0; start < kLargestNumberOfStarts; ++start) {
      Process process(pretraining(name, all));
      const bool hits_saving = start % 2 == 1 && start < 16;
      if (hits_saving) {
        const size_t enough = lines(name) + draw() % 20;
        await(process, [&] { return lines(name) >= enough; });
        await(process, [&] { return is_saving(name); });
      } else if (start < 16) {
        std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(draw() % 1000 * 4e-4 * usual_milliseconds));
      }
      if (start < 16) process.send(SIGKILL);
      const Finished end = process.wait();
      if (end.exit_code == kDone) return kills;
      EXPECT_EQ(end.signal, SIGKILL) << end.err;
      ++(hits_saving ? kills.while_saving : kills.anywhere);
    }
    ADD_FAILURE() << "never done";
    return kills;
  }

  void expect_same_run(const std::string& a, const std::string& b) {
    for (const char* field : {"step", "loss", "grad_norm", "lr", "val_loss", "consumed_samples"})
      EXPECT_EQ(column(a, field), column(b, field)) << field;
    EXPECT_EQ(column(a, "step").size(), static_cast<size_t>(kSteps));
    EXPECT_EQ(checkpoints(a), checkpoints(b));
    for (const std::string& folder : checkpoints(a))
      EXPECT_EQ(tensor_difference(run_folder(a) / "checkpoints" / folder, run_folder(b) / "checkpoints" / folder), "") << folder;
  }

  void expect_kills_to_leave_no_trace(const Words& more) {
    const Words all = settings(more);
    const Finished calm = pretrain("calm", all);
    ASSERT_THAT(calm, succeeds());
    const Kills kills = kill_until_done("killed", all, calm.milliseconds);
    std::printf("killed %d times at a random moment, %d times while saving; undisturbed %.0f ms\n", kills.anywhere, kills.while_saving,
                calm.milliseconds);
    EXPECT_GE(kills.anywhere + kills.while_saving, 3);
    expect_same_run("calm", "killed");
  }

  void expect_interrupt_to_leave_no_trace(int signal) {
    const Words all = settings({});
    ASSERT_THAT(pretrain("calm", all), succeeds());
    Process process(pretraining("interrupted", all));
    await(process, [&] { return lines("interrupted") >= 3; });
    process.send(signal);
    ASSERT_EQ(process.wait().exit_code, kInterrupted);
    const std::vector<double> steps = column("interrupted", "step");
    ASSERT_LT(steps.size(), static_cast<size_t>(kSteps));
    EXPECT_TRUE(fs::exists(checkpoint("interrupted", static_cast<int64_t>(steps.back())))) << "the last step that was logged was not saved";
    const Finished again = pretrain("interrupted", all);
    EXPECT_THAT(again, succeeds("resumed from"));
    for (const char* field : {"step", "loss", "grad_norm", "lr", "val_loss", "consumed_samples"})
      EXPECT_EQ(column("calm", field), column("interrupted", field)) << field;
    EXPECT_EQ(tensor_difference(checkpoint("calm", kSteps), checkpoint("interrupted", kSteps)), "");
  }
};

TEST_F(Resume, kills_leave_no_trace_in_an_fp32_run) { expect_kills_to_leave_no_trace({}); }

TEST_F(Resume, kills_leave_no_trace_in_a_bf16_run_that_accumulates_gradients) {
  expect_kills_to_leave_no_trace(
      {"precision.plugin=bf16-mixed", "data.micro_batch_size=4", "data.sampling=random", "checkpoint.keep_top_k=1"});
}

TEST_F(Resume, ctrl_c_finishes_the_step_saves_and_the_same_command_goes_on) { expect_interrupt_to_leave_no_trace(SIGINT); }

TEST_F(Resume, a_terminated_run_saves_as_well) { expect_interrupt_to_leave_no_trace(SIGTERM); }

TEST_F(Resume, an_interrupt_at_any_early_moment_leaves_a_run_that_can_go_on) {
  ASSERT_THAT(pretrain("calm", settings({})), succeeds());
  for (int delay_ms = 0; delay_ms <= 24; delay_ms += 4) {
    Process process(pretraining("early", settings({})));
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
    process.send(SIGINT);
    const Finished end = process.wait();
    EXPECT_TRUE(end.exit_code == kInterrupted || end.exit_code == kDone || end.signal == SIGINT) << end.exit_code << " " << end.err;
  }
  ASSERT_EQ(pretrain("early", settings({})).exit_code, kDone);
  EXPECT_EQ(column("early", "loss"), column("calm", "loss"));
  EXPECT_EQ(tensor_difference(checkpoint("calm", kSteps), checkpoint("early", kSteps)), "");
}

TEST_F(Resume, a_finished_run_is_left_as_it_is) {
  ASSERT_THAT(pretrain("run"), succeeds());
  const std::string before = read(run_folder("run") / "metrics.jsonl");
  EXPECT_EQ(pretrain("run").exit_code, kDone);
  EXPECT_EQ(read(run_folder("run") / "metrics.jsonl"), before);
}

TEST_F(Resume, a_start_removes_what_a_killed_run_left_behind) {
  ASSERT_THAT(pretrain("run"), succeeds());
  const Words before = checkpoints("run");
  const fs::path folder = run_folder("run") / "checkpoints";
  fs::create_directory(folder / "step_00000002.deleting-1");
  fs::create_directory(folder / "step_00000016.partial-1");
  fs::copy(checkpoint("run", 12), checkpoint("run", 3), fs::copy_options::recursive);  // a fourth, no better than the three to keep
  ASSERT_EQ(pretrain("run").exit_code, kDone);
  EXPECT_EQ(checkpoints("run").size(), before.size());
  for (const std::string& name : checkpoints("run")) EXPECT_EQ(name.size(), before[0].size()) << name;
}

TEST_F(Resume, more_steps_continue_a_finished_run) {
  const Words constant{"optim.schedule.type=constant", "trainer.val_check_interval=0"};
  ASSERT_THAT(pretrain("whole", constant), succeeds());
  ASSERT_THAT(pretrain("parts", {constant[0], constant[1], "trainer.max_steps=5"}), succeeds());
  ASSERT_EQ(pretrain("parts", constant).exit_code, kDone);
  EXPECT_EQ(column("parts", "loss"), column("whole", "loss"));
}

TEST_F(Resume, never_starts_anew_and_keeps_the_earlier_run) {
  ASSERT_THAT(pretrain("run"), succeeds());
  const std::vector<double> before = column("run", "loss");
  EXPECT_THAT(pretrain("run", {"checkpoint.resume=never"}), succeeds("run.old-1"));
  EXPECT_EQ(column("run.old-1", "loss"), before);
  EXPECT_EQ(column("run", "loss"), before);
}

TEST_F(Resume, another_seed_is_refused_and_placed) {
  ASSERT_EQ(pretrain("run", {"trainer.max_steps=2"}).exit_code, kDone);
  const Finished end = pretrain("run", {"trainer.max_steps=4", "job.seed=77"});
  EXPECT_EQ(end.exit_code, kUsage) << testing::PrintToString(end);
  EXPECT_THAT(end.err, AllOf(HasSubstr("command line: job.seed"), HasSubstr("77"), HasSubstr("job.name")));
}

TEST_F(Resume, must_is_an_error_where_there_is_no_checkpoint) {
  EXPECT_THAT(pretrain("run", {"checkpoint.resume=must"}),
              fails_with(kUsage, "checkpoint.resume=must", "no checkpoint", "runs/run/checkpoints"));
}

TEST_F(Resume, a_checkpoint_of_another_model_is_refused_by_name_and_shape) {
  ASSERT_THAT(pretrain("run"), succeeds());
  EXPECT_THAT(pretrain("run", {"model.hidden_size=64"}),
              fails_with(kUsage, "checkpoint.h5", "embedding.word.weight", "32]", "64]", "model settings differ"));
  EXPECT_THAT(pretrain("run", {"model.num_layers=3"}), fails_with(kUsage, "layers.2."));
}

}  // namespace
}  // namespace nemo::e2e
