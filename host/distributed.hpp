// host/distributed.hpp - a command that runs as several processes: who starts them, and how each of them fails.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/runtime/setup.hpp"
#include "core/runtime/train_loop.hpp"

namespace nemo::host {

// Ranks other than the first say nothing but errors.
void quiet_unless_first();

// Where the recipe wants several devices and no launcher has started this process: starts one process per device with the same arguments,
// again from the newest checkpoint up to trainer.max_restarts times, and returns the exit code. Nothing where this process is to do the
// work.
[[nodiscard]] std::optional<int> launch_ranks(const runtime::Setup& setup, const runtime::RunContext& context,
                                              const std::vector<std::string>& arguments);

// Runs `body` with context.world set where this process is one of several. A failure reaches the other ranks; the process then ends here,
// so that nothing waits for ranks that are gone.
int as_rank(const runtime::Setup& setup, runtime::RunContext& context, const std::function<int()>& body);

}  // namespace nemo::host
