// core/planner/planner.hpp - what a run would take and how fast it would be, for any number of ranks, without a device.
//
// The passes that compile a run compile it here too, once for each distinct role (pipeline ranks that hold the same kinds of stages), never
// for every rank. Memory is the memory plan of those graphs. Time is the sum over their ops by the rates of a hardware file, put on the
// pipeline's schedule by simulation. Closed formulas stand in only where there is no graph: gradient and parameter exchange between data
// ranks, and the optimizer.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/graph/builder.hpp"
#include "core/passes/compile.hpp"
#include "core/planner/hardware.hpp"
#include "core/runtime/memory_report.hpp"
#include "core/runtime/state.hpp"

namespace nemo::planner {

struct Request {
  std::function<graph::Graph(const graph::BuildFacts&)> build;  // the model's forward graph
  std::function<void(graph::Graph&)> edit{};                    // null: no PEFT method
  graph::BuildFacts facts;                                      // micro_batch_size of one data rank
  int64_t global_batch_size = 1;
  passes::Plan plan;
  passes::Precision precision;
  passes::Recompute recompute = passes::Recompute::kNone;
  bool regather = true;
  runtime::Keep keep = runtime::Keep::kTwoMoments;
  bool judge = true;  // look for bad choices, which may take a second plan
};

// Pipeline ranks that are alike in everything but the micro-batches that they hold; `memory` is that of the first of them, which holds
// most.
struct Role {
  int64_t first_rank = 0, last_rank = 0;
  int64_t parameters = 0;  // held by one rank
  runtime::MemoryReport memory;
};

// Communication along mesh axes, of the busiest rank, over a step.
struct Traffic {
  std::string axes;  // "tp", "dp+cp"
  int64_t size = 1, nodes = 1;
  double bytes = 0;    // sent
  double seconds = 0;  // if nothing were hidden
  double exposed = 0;  // not hidden behind computation
};

struct Split {
  double compute = 0;  // of the slowest stage's micro-batches
  double exposed = 0;  // communication that is not hidden, within and behind them
  double bubble = 0;
  double optimizer = 0;
  double host = 0;
  double spread = 0;  // waiting for the slowest of all devices
  [[nodiscard]] double total() const { return compute + exposed + bubble + optimizer + host + spread; }
};

struct Report {
  int64_t world = 1, data_ranks = 1, micro_batches = 1;
  int64_t pipeline_ranks = 1, virtual_stages = 1;
  std::vector<int64_t> blocks;  // of each stage
  std::vector<passes::MeshAxis> mesh;
  int64_t parameters = 0;  // of the whole model
  double tokens = 0;       // of a step
  double model_flops = 0;  // of a step, causal
  double peak_flops = 0;   // of one device
  std::vector<Role> roles;
  std::vector<Traffic> traffic;
  double bubble = 0;         // idle over busy time of the pipeline
  Split split;               // seconds of a step
  double expert_room = 1;    // for rows of experts, over those that balanced routers send
  double product_share = 0;  // achieved of the large products' rate
  std::vector<std::string> warnings, assumptions;

  [[nodiscard]] bool fits() const;
  [[nodiscard]] const Role& largest() const;  // by memory
  [[nodiscard]] double step_seconds() const { return split.total(); }
  [[nodiscard]] double tokens_per_second_per_device() const { return tokens / step_seconds() / static_cast<double>(world); }
  [[nodiscard]] double flops_per_device() const { return model_flops / step_seconds() / static_cast<double>(world); }
  [[nodiscard]] double mfu() const { return flops_per_device() / peak_flops; }
};

// Throws nemo::Error(kConfig) with the numbers for layouts that cannot work. One that does not fit the device's memory is no error.
[[nodiscard]] Report make_report(const Request& request, const Hardware& hardware);

[[nodiscard]] std::string render(const Report& report, const Hardware& hardware);

}  // namespace nemo::planner
