#include "core/plugin/host_table.hpp"

#include <gmock/gmock.h>

#include "core/plugin/error.hpp"

namespace nemo::plugin {
namespace {

struct Lines {
  std::vector<std::string> all;
  LogSink sink() {
    return [this](nemo_log_level level, std::string_view component, std::string_view message) {
      all.push_back(std::to_string(level) + " " + std::string(component) + ": " + std::string(message));
    };
  }
};

TEST(host_table, an_error_of_a_plugin_arrives_with_its_facts) {
  HostTable table({});
  nemo_host* host = table.host_of("/p/lib.so");
  nemo_error* error = table.api()->error_new(host, NEMO_CODE_CONFIG_INVALID, NEMO_STR("must be even"));
  table.api()->error_set(error, NEMO_STR("path"), NEMO_STR("heads"));
  EXPECT_EQ(table.api()->error_code(error), NEMO_CODE_CONFIG_INVALID);
  EXPECT_EQ(std::string(table.api()->error_message(error).ptr, table.api()->error_message(error).len), "must be even");
  try {
    check(error);
    FAIL() << "check returned";
  } catch (const PluginError& e) {
    EXPECT_EQ(e.code(), Code::kConfig);
    EXPECT_EQ(e.plugin_code(), NEMO_CODE_CONFIG_INVALID);
    EXPECT_STREQ(e.what(), "must be even");
    EXPECT_EQ(e.fact("path"), "heads");
    EXPECT_EQ(e.fact("library"), "/p/lib.so");
    EXPECT_EQ(e.fact("absent"), "");
  }
  check(nullptr);
  table.api()->error_free(nullptr);
}

TEST(host_table, log_lines_know_their_plugin) {
  Lines lines;
  HostTable table({.log = lines.sink(), .cancelled = nullptr, .fill_config = nullptr, .extensions = {}});
  nemo_host* host = table.host_of("/p/lib.so");
  table.api()->log(host, NEMO_LOG_WARNING, NEMO_STR("llama"), NEMO_STR("hello"));
  table.api()->log(host, NEMO_LOG_INFO, nemo_str{nullptr, 0}, NEMO_STR("from nobody"));
  EXPECT_THAT(lines.all, testing::ElementsAre("3 llama: hello", "2 lib.so: from nobody"));
  EXPECT_EQ(table.host_of("/p/lib.so"), host);
  EXPECT_NE(table.host_of("/q/lib.so"), host);
}

TEST(host_table, nothing_that_a_log_sink_throws_reaches_a_plugin) {
  HostTable table({.log = [](nemo_log_level, std::string_view, std::string_view) { throw std::runtime_error("disk full"); },
                   .cancelled = nullptr,
                   .fill_config = nullptr,
                   .extensions = {}});
  table.api()->log(table.host_of("/p/lib.so"), NEMO_LOG_INFO, NEMO_STR("x"), NEMO_STR("y"));
}

TEST(host_table, tells_cancellation_and_extensions) {
  std::atomic<bool> stop = false;
  const int power = 3;
  HostTable table({.log = {},
                   .cancelled = &stop,
                   .fill_config = [](nemo_host_api& api) { api.config_has = [](const nemo_config*, nemo_str) { return uint8_t{7}; }; },
                   .extensions = {{"nemo.clock/1", &power}}});
  nemo_host* host = table.host_of("/p/lib.so");
  EXPECT_EQ(table.api()->cancelled(host), 0);
  stop = true;
  EXPECT_EQ(table.api()->cancelled(host), 1);
  EXPECT_EQ(table.api()->get_extension(host, NEMO_STR("nemo.clock/1")), &power);
  EXPECT_EQ(table.api()->get_extension(host, NEMO_STR("nemo.clock/2")), nullptr);
  EXPECT_EQ(table.api()->config_has(nullptr, NEMO_STR("x")), 7);
}

TEST(guard, turns_exceptions_into_errors_and_back_without_loss) {
  EXPECT_EQ(guard([] {}), nullptr);
  const auto round_trip = [](auto thrown) {
    try {
      check(guard([&] { throw thrown; }));
    } catch (const PluginError& e) {
      return std::to_string(e.plugin_code()) + " " + e.what() + " " + std::string(e.fact("tensor"));
    }
    return std::string("nothing was thrown");
  };
  EXPECT_EQ(round_trip(Error(Code::kDataLoss, "cut")), "4 cut ");
  EXPECT_EQ(round_trip(PluginError(NEMO_CODE_UNSUPPORTED_FIELD, "new", {{"tensor", "w"}})), "6 new w");
  EXPECT_EQ(round_trip(std::bad_alloc()), "7 out of host memory ");
  EXPECT_EQ(round_trip(std::runtime_error("odd")), "11 odd ");
  EXPECT_EQ(round_trip(5), "11 unknown exception in the host ");
}

TEST(guard, every_code_survives_the_way_to_a_plugin_and_back) {
  for (int i = 0; i <= static_cast<int>(Code::kInternal); ++i) EXPECT_EQ(to_code(to_nemo_code(static_cast<Code>(i))), static_cast<Code>(i));
  EXPECT_EQ(to_code(99), Code::kInternal);
}

}  // namespace
}  // namespace nemo::plugin
