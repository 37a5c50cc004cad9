#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "tests/loggers/host.hpp"

namespace nemo::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

const Logger::Metrics kStep = {{"loss", 2.12341}, {"lr", 1e-3}, {"tokens_per_s", 12345.2}, {"grad_norm", 1}};

// What `body` prints on standard output.
template <class Body>
std::string printed(Body&& body) {
  testing::internal::CaptureStdout();
  body();
  return testing::internal::GetCapturedStdout();
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) all.push_back(line);
  return all;
}

TEST(console, prints_plain_lines_every_n_steps_the_last_and_validated_ones) {
  const std::vector<std::string> out = split(printed([] {
    Logger logger("console", ".", {.max_steps = 250, .settings = {{"every_n_steps", "100"}}});
    for (int step = 1; step <= 250; ++step) {
      Logger::Metrics metrics = kStep;
      if (step == 150) metrics.push_back({"val_loss", 1.98771});
      logger.metrics(step, metrics);
    }
  }));
  EXPECT_THAT(out, ElementsAre("step 100/250  loss 2.1234  lr 1.0e-03  tok/s 12345  eta 0:00",
                               "step 150/250  loss 2.1234  lr 1.0e-03  tok/s 12345  val_loss 1.9877  eta 0:00",
                               "step 200/250  loss 2.1234  lr 1.0e-03  tok/s 12345  eta 0:00",
                               "step 250/250  loss 2.1234  lr 1.0e-03  tok/s 12345  eta 0:00"));
}

TEST(console, prints_about_twenty_lines_by_itself) {
  const std::vector<std::string> out = split(printed([] {
    Logger logger("console", ".", {.max_steps = 2000});
    for (int step = 1; step <= 2000; ++step) logger.metrics(step, kStep);
  }));
  EXPECT_EQ(out.size(), 21u);
  EXPECT_THAT(out[0], AllOf(StartsWith("step 1/2000"), EndsWith("eta --:--")));
  EXPECT_THAT(out[1], StartsWith("step 100/2000"));
}

TEST(console, eta_is_the_mean_step_time_times_the_steps_left) {
  const std::vector<std::string> out = split(printed([] {
    Logger logger("console", ".", {.first_step = 50, .max_steps = 150, .settings = {{"every_n_steps", "1"}}});
    logger.metrics(50, kStep);
    ::usleep(200000);
    logger.metrics(51, kStep);
  }));
  EXPECT_THAT(out[1], MatchesRegex(".*eta 0:(19|[2-5][0-9])"));  // 0.2 s x 99 on an idle machine
}

TEST(console, terminal_gets_one_line_redrawn_at_most_ten_times_a_second) {
  const std::string out = printed([] {
    Logger logger("console", ".", {.max_steps = 100000, .terminal = true});
    logger.metrics(1, {{"loss", 3}, {"val_loss", 2.5}});
    for (int step = 2; step <= 1000; ++step) logger.metrics(step, kStep);
    ::usleep(110000);
    logger.metrics(1001, kStep);
  });
  const auto redraws = std::count(out.begin(), out.end(), '\r');
  EXPECT_GE(redraws, 2);
  EXPECT_LE(redraws, 5);
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 0);
  EXPECT_THAT(out.substr(out.rfind('\r')),
              StartsWith("\r\x1b[K[>                   ]   1%  1001/100000  loss 2.1234  lr 1.0e-03  tok/s 12345  "
                         "val_loss 2.5000  eta "));
}

TEST(console, text_stands_above_the_bar) {
  const std::string out = printed([] {
    Logger logger("console", ".", {.max_steps = 4, .terminal = true});
    logger.metrics(1, kStep);
    logger.text("saved checkpoint");
  });
  const size_t text = out.find("\r\x1b[Ksaved checkpoint\n");
  ASSERT_NE(text, std::string::npos);
  EXPECT_THAT(out.substr(text), HasSubstr("\n[=====>              ]  25%  1/4"));
  const std::string plain = printed([] { Logger("console", ".").text("saved checkpoint"); });
  EXPECT_EQ(plain, "saved checkpoint\n");
}

TEST(console, finish_prints_one_line_of_summary) {
  const std::string out = printed([] {
    Logger logger("console", ".", {.max_steps = 2});
    logger.metrics(1, {{"loss", 3}, {"val_loss", 2.5}});
    logger.metrics(2, {{"loss", 1.5}});
    logger.finish();
  });
  EXPECT_EQ(split(out).back(), "done: 2 steps in 0:00, loss 1.5000, val_loss 2.5000");
  const std::string failed = printed([] {
    Logger logger("console", ".", {.first_step = 5, .max_steps = 20});
    logger.metrics(5, {{"loss", 3}});
    logger.finish("failed", "device lost");
  });
  EXPECT_EQ(split(failed).back(), "failed after step 5/20: 1 steps in 0:00, loss 3.0000: device lost");
}

TEST(console, closed_output_is_an_error_with_reason) {
  const int saved = ::dup(STDOUT_FILENO), full = ::open("/dev/full", O_WRONLY);
  std::fflush(stdout);
  ::dup2(full, STDOUT_FILENO);
  std::string message;
  try {
    Logger("console", ".").text("a line");
  } catch (const PluginError& e) {
    message = e.what();
  }
  ::dup2(saved, STDOUT_FILENO);
  ::close(saved), ::close(full);
  EXPECT_EQ(message, "cannot write to standard output: No space left on device");
}

}  // namespace
}  // namespace nemo::test
