// tests/passes/memory_checker.hpp - runs a memory plan symbolically: every element of every value has a tag, ops write tags to the planned
// addresses, and every read must find the tags of the value that it reads. Shares no code with the planner.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/passes/memory.hpp"

namespace nemo::passes::testing {

// The faults found, each naming op and value; at most 10.
[[nodiscard]] std::vector<std::string> faults_of(const graph::Graph& graph, const MemoryPlan& plan);

// Bytes that no plan with the same views can do without: the largest sum of results that are needed at one op, counting an elementwise op's
// result and its dying inputs once.
[[nodiscard]] int64_t needed_bytes(const graph::Graph& graph, const MemoryPlan& plan);

}  // namespace nemo::passes::testing
