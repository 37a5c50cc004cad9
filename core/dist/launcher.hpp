// core/dist/launcher.hpp - starts the ranks of one node as processes of this program and looks after them.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/dist/environment.hpp"

namespace nemo::dist {

struct LaunchPlan {
  int64_t devices = 1, nodes = 1;
  std::optional<Node> node;            // of several; nothing: this node is the only one
  std::vector<std::string> arguments;  // of the program, without its name
};

struct LaunchResult {
  int exit_code = 0;    // of the first rank that failed, 128 + signal if one killed it; else the highest of all ranks
  std::string failure;  // empty, or who failed first and how
};

// Runs all ranks of this node to their end. An interrupt (`interrupted` becomes true) is passed on once. When a rank fails, the message
// goes to `error` at once, the others get a moment to end by themselves and are then killed: all are gone within ten seconds.
[[nodiscard]] LaunchResult launch(const LaunchPlan& plan, const std::atomic<bool>& interrupted,
                                  const std::function<void(const std::string&)>& error);

}  // namespace nemo::dist
