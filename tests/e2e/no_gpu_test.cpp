// Without a usable GPU one clear line says why, and `auto` goes on with the CPU.
#include <gmock/gmock.h>

#include "tests/e2e/sandbox.hpp"

namespace nemo::e2e {
namespace {

struct Driver {
  const char* name;
  const char* folder;  // put first on LD_LIBRARY_PATH
  const char* words;
};
void PrintTo(const Driver& d, std::ostream* out) { *out << d.name; }

class NoGpu : public Sandbox, public testing::WithParamInterface<Driver> {
 protected:
  void SetUp() override {
    if (!E2E_HAS_CUDA) GTEST_SKIP() << "the CUDA backend is not built";
  }
  [[nodiscard]] Finished pretrain_on(const char* accelerator) const {
    Command command = pretraining("run", {std::string("trainer.accelerator=") + accelerator, "trainer.max_steps=1"});
    command.environment["LD_LIBRARY_PATH"] = std::string(E2E_FIXTURES) + "/" + GetParam().folder;
    return run(command);
  }
};

INSTANTIATE_TEST_SUITE_P(drivers, NoGpu,
                         testing::Values(Driver{"too_old", "old_driver", "driver too old for CUDA"},
                                         Driver{"broken", "broken_driver", "no usable NVIDIA GPU"}),
                         [](const testing::TestParamInfo<Driver>& info) { return info.param.name; });

int64_t lines_with(const std::string& text, const std::string& words) {
  int64_t count = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) count += line.find(words) != std::string::npos;
  return count;
}

TEST_P(NoGpu, auto_warns_in_one_line_and_computes_on_the_cpu) {
  const Finished end = pretrain_on("auto");
  EXPECT_EQ(end.exit_code, kDone) << testing::PrintToString(end);
  EXPECT_EQ(lines_with(end.err, "warning"), 1) << end.err;
  EXPECT_THAT(end.err, AllOf(HasSubstr("no GPU can be used (cuda: "), HasSubstr(GetParam().words), HasSubstr("computing on the CPU")));
}

TEST_P(NoGpu, gpu_is_an_error_of_one_line_that_names_the_cause_and_the_way_out) {
  const Finished end = pretrain_on("gpu");
  EXPECT_EQ(end.exit_code, kUsage) << testing::PrintToString(end);
  EXPECT_EQ(lines_with(end.err, "error"), 1) << end.err;
  EXPECT_THAT(end.err, AllOf(HasSubstr("trainer.accelerator"), HasSubstr(GetParam().words), HasSubstr("trainer.accelerator=cpu")));
}

}  // namespace
}  // namespace nemo::e2e
