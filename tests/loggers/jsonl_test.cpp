#include <signal.h>
#include <sys/wait.h>

#include <cmath>

#include "tests/loggers/host.hpp"

namespace nemo::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(jsonl, writes_one_object_a_step_in_the_order_given) {
  const TemporaryFolder run;
  Logger logger("jsonl", run.path());
  logger.metrics(1, {{"loss", 4.25}, {"lr", 1e-5}, {"odd \"name\"\n", 3}});
  logger.metrics(2, {{"loss", NAN}, {"grad_norm", INFINITY}, {"x", -INFINITY}});
  logger.metrics(3, {});
  logger.finish();
  EXPECT_THAT(lines(run.path() / "metrics.jsonl"),
              ElementsAre("{\"step\":1,\"loss\":4.25,\"lr\":1e-05,\"odd \\\"name\\\"\\u000a\":3}",
                          "{\"step\":2,\"loss\":\"nan\",\"grad_norm\":\"inf\",\"x\":\"-inf\"}", "{\"step\":3}"));
}

TEST(jsonl, numbers_read_back_exactly) {
  const TemporaryFolder run;
  Logger logger("jsonl", run.path());
  for (const double value : {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, -2.2250738585072014e-308, 123456789012345680.0}) {
    logger.metrics(1, {{"v", value}});
    const std::string line = lines(run.path() / "metrics.jsonl").back();
    EXPECT_EQ(std::strtod(line.c_str() + line.find("\"v\":") + 4, nullptr), value) << line;
  }
}

TEST(jsonl, kill_minus_nine_loses_no_finished_line) {
  const TemporaryFolder run;
  const pid_t child = ::fork();
  if (child == 0) {
    Logger logger("jsonl", run.path());
    for (int step = 1; step <= 50; ++step) logger.metrics(step, {{"loss", 1}});
    ::raise(SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(lines(run.path() / "metrics.jsonl").size(), 50u);
}

TEST(jsonl, resumed_run_drops_the_steps_it_repeats_and_a_torn_line) {
  const TemporaryFolder run;
  const auto file = run.path() / "metrics.jsonl";
  write(file, "{\"step\":9,\"loss\":3}\n{\"step\":10,\"loss\":2}\n{\"step\":11,\"loss\":1}\n{\"step\":12,\"lo");
  Logger logger("jsonl", run.path(), {.first_step = 11});
  EXPECT_THAT(lines(file), ElementsAre("{\"step\":9,\"loss\":3}", "{\"step\":10,\"loss\":2}"));
  logger.metrics(11, {{"loss", 7}});
  EXPECT_THAT(lines(file), ElementsAre("{\"step\":9,\"loss\":3}", "{\"step\":10,\"loss\":2}", "{\"step\":11,\"loss\":7}"));
  EXPECT_FALSE(std::filesystem::exists(file.string() + ".tmp"));
}

TEST(jsonl, torn_line_of_an_earlier_step_is_dropped_too) {
  const TemporaryFolder run;
  const auto file = run.path() / "metrics.jsonl";
  write(file, "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2}");
  Logger logger("jsonl", run.path(), {.first_step = 50});
  EXPECT_THAT(lines(file), ElementsAre("{\"step\":1,\"loss\":3}"));
}

TEST(jsonl, fresh_run_starts_a_fresh_file) {
  const TemporaryFolder run;
  write(run.path() / "metrics.jsonl", "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":3}\n");
  Logger logger("jsonl", run.path());
  EXPECT_EQ(content(run.path() / "metrics.jsonl"), "");
}

TEST(jsonl, lines_that_are_no_metrics_are_dropped_with_a_warning) {
  const TemporaryFolder run;
  write(run.path() / "metrics.jsonl", "{\"step\":1,\"loss\":3}\nhello\n");
  Logger logger("jsonl", run.path(), {.first_step = 5});
  EXPECT_THAT(lines(run.path() / "metrics.jsonl"), ElementsAre("{\"step\":1,\"loss\":3}"));
  EXPECT_THAT(warnings().back(), AllOf(HasSubstr("metrics.jsonl"), HasSubstr("1 lines")));
}

TEST(jsonl, full_disk_is_an_error_with_file_and_reason) {
  const TemporaryFolder run;
  std::filesystem::create_symlink("/dev/full", run.path() / "metrics.jsonl");
  Logger logger("jsonl", run.path());
  try {
    logger.metrics(1, {{"loss", 1}});
    FAIL() << "writing to /dev/full succeeded";
  } catch (const PluginError& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr((run.path() / "metrics.jsonl").string()), HasSubstr("No space left")));
    EXPECT_EQ(e.facts.at("file"), (run.path() / "metrics.jsonl").string());
  }
}

TEST(jsonl, full_disk_while_resuming_keeps_the_old_file) {
  const TemporaryFolder run;
  std::string old;
  for (int step = 1; step <= 1000; ++step) old += "{\"step\":" + std::to_string(step) + "}\n";
  write(run.path() / "metrics.jsonl", old);
  with_file_size_limit(4096, [&] { EXPECT_THROW(Logger("jsonl", run.path(), {.first_step = 900}), PluginError); });
  EXPECT_EQ(content(run.path() / "metrics.jsonl"), old);
}

TEST(jsonl, folder_that_is_missing_is_an_error_with_file_and_reason) {
  try {
    Logger logger("jsonl", "/nonexistent/run");
    FAIL();
  } catch (const PluginError& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("/nonexistent/run/metrics.jsonl"), HasSubstr("No such file")));
  }
}

}  // namespace
}  // namespace nemo::test
