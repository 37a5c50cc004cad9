// tests/e2e/sandbox.hpp - a folder with a small text, a recipe that trains on it within moments, and the host to run there.
#pragma once

#include <algorithm>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/e2e/command.hpp"

namespace nemo::e2e {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

using Words = std::vector<std::string>;

class Sandbox : public testing::Test {
 protected:
  Sandbox();
  ~Sandbox() override;

  [[nodiscard]] const fs::path& folder() const { return folder_; }
  void write(const std::string& name, const std::string& text) const;
  [[nodiscard]] std::string read(const fs::path& name) const;

  // nemo-host with these arguments, in the sandbox's folder.
  [[nodiscard]] Command host(Words arguments) const;
  [[nodiscard]] Finished nemo(Words arguments) const { return run(host(std::move(arguments))); }
  // pretrain of tiny.toml as run `name`, with overrides.
  [[nodiscard]] Command pretraining(const std::string& name, const Words& overrides = {}) const;
  [[nodiscard]] Finished pretrain(const std::string& name, const Words& overrides = {}) const { return run(pretraining(name, overrides)); }

  [[nodiscard]] fs::path run_folder(const std::string& name) const { return folder_ / "runs" / name; }
  // Objects of metrics.jsonl, by line; empty if there is no such file.
  [[nodiscard]] std::vector<nlohmann::json> metrics(const std::string& name) const;
  // One field of every line that has it.
  [[nodiscard]] std::vector<double> column(const std::string& name, const std::string& field) const;
  // Names of everything in checkpoints/, sorted.
  [[nodiscard]] Words checkpoints(const std::string& name) const;
  [[nodiscard]] fs::path checkpoint(const std::string& name, int64_t step) const;

 private:
  fs::path folder_;
};

inline void PrintTo(const Finished& end, std::ostream* out) {
  *out << "exit code " << end.exit_code << ", signal " << end.signal << (end.timed_out ? ", timed out" : "") << "\nstdout: " << end.out
       << "\nstderr: " << end.err;
}

constexpr int kDone = 0, kFailed = 1, kUsage = 2, kInterrupted = 130;

// Ends well, says `parts` on stderr and no error.
MATCHER_P(ends_well, parts, "") {
  return arg.exit_code == kDone && arg.err.find("error: ") == std::string::npos &&
         std::all_of(parts.begin(), parts.end(), [&](const std::string& part) { return arg.err.find(part) != std::string::npos; });
}

// Ends with `code` and one error message on stderr that has all `parts`.
MATCHER_P2(ends_in_error, code, parts, "") {
  const size_t at = arg.err.starts_with("error: ") ? 0 : arg.err.find("\nerror: ");
  if (at == std::string::npos) return false;
  const std::string message = arg.err.substr(at);
  for (const std::string& part : parts)
    if (message.find(part) == std::string::npos) *result_listener << "lacks \"" << part << "\" ";
  return arg.exit_code == code &&
         std::all_of(parts.begin(), parts.end(), [&](const std::string& part) { return message.find(part) != std::string::npos; });
}

template <class... Parts>
auto succeeds(const Parts&... parts) {
  return ends_well(Words{parts...});
}
template <class... Parts>
auto fails_with(int code, const Parts&... parts) {
  return ends_in_error(code, Words{parts...});
}

}  // namespace nemo::e2e
