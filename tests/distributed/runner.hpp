// tests/distributed/runner.hpp - runs the built nemo-host with small recipes, as one process or several, and reads what it has logged.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "tests/e2e/command.hpp"

namespace nemo::distributed_test {

// One optimizer step as the jsonl logger wrote it.
struct Step {
  double loss = 0, grad_norm = 0;
};

using Overrides = std::vector<std::string>;  // "section.key=value"

struct Layout {
  const char* name;
  int ranks;
  Overrides overrides;
};
// Strategy megatron with settings "key=value" of its section.
[[nodiscard]] Overrides megatron(std::initializer_list<const char*> settings);

// A folder of its own for runs, removed at the end.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A small model of a family ("gpt", "llama", "mixtral") that trains within moments; heads and sequence divide by 8.
[[nodiscard]] std::string recipe(const std::string& model);

[[nodiscard]] e2e::Command command(const Folder& folder, const std::string& model, const std::string& run, const Overrides& overrides);
// Runs to the end; throws std::runtime_error with the program's words where it fails.
[[nodiscard]] std::vector<Step> train(const Folder& folder, const std::string& model, const std::string& run, const Overrides& overrides);
[[nodiscard]] std::vector<Step> steps_of(const Folder& folder, const std::string& run);

// Largest |a - b| / |a|.
struct Difference {
  double loss = 0, grad_norm = 0;
};
[[nodiscard]] Difference difference(const std::vector<Step>& a, const std::vector<Step>& b);

}  // namespace nemo::distributed_test
