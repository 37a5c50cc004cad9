// The example logger, loaded by the real registry and driven as the host drives loggers.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/plugin/error.hpp"
#include "core/plugin/registry.hpp"

namespace nemo::plugin {
namespace {

namespace fs = std::filesystem;

nemo_str view(const std::string& s) { return {s.data(), s.size()}; }

// The settings are one string, the file's name.
void fill_config(nemo_host_api& api) {
  api.config_string = [](const nemo_config* config, nemo_str, nemo_str* out) -> nemo_error* {
    *out = view(*reinterpret_cast<const std::string*>(config));
    return nullptr;
  };
}

class StepLog : public testing::Test {
 protected:
  StepLog() {
    SearchSources sources;
    sources.environment = STEP_LOG_FOLDER;
    registry_ = std::make_unique<Registry>(SearchPath(sources), table_);
    std::string pattern = (fs::temp_directory_path() / "nemo_step_log_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~StepLog() override { fs::remove_all(folder_); }

  void write_steps(int64_t first_step, std::vector<double> losses, const std::string& file = "loss.csv") {
    const Component& c = registry_->find(NEMO_KIND_LOGGER, "org.example.step_log");
    const auto& api = c.api<nemo_logger_api>();
    const std::string folder = folder_.string();
    const nemo_run_info run{sizeof(nemo_run_info), 0, {}, view(folder), {}, first_step, 9, 0, {}};
    nemo_logger* logger = nullptr;
    check(api.start(c.host, reinterpret_cast<const nemo_config*>(&file), &run, &logger));
    for (const double loss : losses) {
      const nemo_metric metrics[] = {{NEMO_STR("lr"), 0.1}, {NEMO_STR("loss"), loss}};
      check(api.metrics(logger, first_step++, metrics, 2, sizeof(nemo_metric)));
    }
    check(api.finish(logger, NEMO_STR("done"), NEMO_STR("")));
    api.destroy(logger);
    api.destroy(nullptr);
  }
  std::string written() {
    std::ifstream file(folder_ / "loss.csv");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  HostTable table_{HostOptions{.log = {}, .cancelled = nullptr, .fill_config = fill_config, .extensions = {}}};
  std::unique_ptr<Registry> registry_;
  fs::path folder_;
};

TEST_F(StepLog, writes_a_line_per_step) {
  write_steps(1, {3.5, 2.25});
  EXPECT_EQ(written(), "step,loss\n1,3.5\n2,2.25\n");
}

TEST_F(StepLog, of_a_resumed_run_replaces_the_steps_that_are_taken_again) {
  write_steps(1, {3.5, 2.25, 2.0});
  write_steps(3, {1.75, 1.5});
  EXPECT_EQ(written(), "step,loss\n1,3.5\n2,2.25\n3,1.75\n4,1.5\n");
}

TEST_F(StepLog, of_a_fresh_run_starts_anew) {
  write_steps(1, {3.5});
  write_steps(1, {1.0});
  EXPECT_EQ(written(), "step,loss\n1,1\n");
}

TEST_F(StepLog, names_the_file_that_it_cannot_write) {
  try {
    write_steps(1, {}, "absent/loss.csv");
    FAIL() << "no error";
  } catch (const PluginError& e) {
    EXPECT_EQ(std::string(e.what()), "cannot write " + (folder_ / "absent/loss.csv").string() + ": No such file or directory");
    EXPECT_EQ(e.fact("path"), "file");
  }
}

}  // namespace
}  // namespace nemo::plugin
