#include <cmath>

#include "tests/loggers/host.hpp"

namespace nemo::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(csv, header_comes_from_the_first_step_and_absent_is_empty) {
  const TemporaryFolder run;
  Logger logger("csv", run.path());
  logger.metrics(1, {{"loss", 4.25}, {"lr", 0.001}});
  logger.metrics(2, {{"lr", 0.1}});
  logger.metrics(3, {{"lr", NAN}, {"loss", INFINITY}});
  logger.finish();
  EXPECT_THAT(lines(run.path() / "metrics.csv"), ElementsAre("step,loss,lr", "1,4.25,0.001", "2,,0.1", "3,inf,nan"));
}

TEST(csv, later_metric_gets_a_column_at_the_right) {
  const TemporaryFolder run;
  Logger logger("csv", run.path());
  logger.metrics(1, {{"loss", 3}});
  logger.metrics(2, {{"loss", 2}, {"val_loss", 2.5}, {"a,\"b\"", 1}});
  logger.metrics(3, {{"loss", 1}});
  EXPECT_THAT(lines(run.path() / "metrics.csv"), ElementsAre("step,loss,val_loss,\"a,\"\"b\"\"\"", "1,3,,", "2,2,2.5,1", "3,1,,"));
}

TEST(csv, resumed_run_keeps_the_header_and_drops_the_steps_it_repeats_and_a_torn_row) {
  const TemporaryFolder run;
  const auto file = run.path() / "metrics.csv";
  write(file, "step,loss,\"a,b\"\n9,3,1\n10,2,1\n11,1,1\n12,0.");
  Logger logger("csv", run.path(), {.first_step = 11});
  logger.metrics(11, {{"a,b", 8}, {"loss", 7}, {"new", 6}});
  EXPECT_THAT(lines(file), ElementsAre("step,loss,\"a,b\",new", "9,3,1,", "10,2,1,", "11,7,8,6"));
  EXPECT_FALSE(std::filesystem::exists(file.string() + ".tmp"));
}

TEST(csv, fresh_run_starts_a_fresh_table) {
  const TemporaryFolder run;
  write(run.path() / "metrics.csv", "step,old\n1,2\n");
  Logger logger("csv", run.path());
  logger.metrics(1, {{"loss", 3}});
  EXPECT_THAT(lines(run.path() / "metrics.csv"), ElementsAre("step,loss", "1,3"));
}

TEST(csv, file_of_another_kind_is_not_overwritten) {
  const TemporaryFolder run;
  write(run.path() / "metrics.csv", "name,score\nx,2\n");
  EXPECT_THROW(Logger("csv", run.path(), {.first_step = 2}), PluginError);
  EXPECT_EQ(content(run.path() / "metrics.csv"), "name,score\nx,2\n");
}

TEST(csv, full_disk_is_an_error_with_file_and_reason) {
  const TemporaryFolder run;
  std::filesystem::create_symlink("/dev/full", run.path() / "metrics.csv");
  Logger logger("csv", run.path());
  try {
    logger.metrics(1, {{"loss", 1}});
    FAIL() << "writing to /dev/full succeeded";
  } catch (const PluginError& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr((run.path() / "metrics.csv").string()), HasSubstr("No space left")));
  }
}

TEST(csv, full_disk_while_adding_a_column_keeps_the_table) {
  const TemporaryFolder run;
  Logger logger("csv", run.path());
  for (int step = 1; step <= 1000; ++step) logger.metrics(step, {{"loss", 1}});
  const std::string before = content(run.path() / "metrics.csv");
  with_file_size_limit(4096, [&] { EXPECT_THROW(logger.metrics(1001, {{"val_loss", 1}}), PluginError); });
  EXPECT_EQ(content(run.path() / "metrics.csv"), before);
}

}  // namespace
}  // namespace nemo::test
