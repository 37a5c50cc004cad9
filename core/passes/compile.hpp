// core/passes/compile.hpp - the compile pipeline: named passes in a fixed order, each timed, each result verified.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/passes/differentiate.hpp"
#include "core/passes/layout.hpp"
#include "core/passes/memory.hpp"
#include "core/passes/overlap.hpp"
#include "core/passes/partition.hpp"
#include "core/passes/plan.hpp"
#include "core/passes/stage.hpp"
#include "core/passes/type.hpp"

namespace nemo::passes {

struct CompileOptions {
  Plan plan;
  Coordinates coordinates{};  // of this rank in the plan's mesh
  Precision precision;
  Recompute recompute = Recompute::kNone;
  bool regather = true;  // what was gathered from other ranks (passes/differentiate.hpp)
  int64_t prefill_chunk = 1, context = 0;  // of kPrefill and kDecode: tokens read at once, tokens that a sequence may have
  std::function<bool(std::string_view op)> supports = [](std::string_view) { return false; };  // optional fused rows that the backend has
  StateLayout* state = nullptr;             // shared by the programs of one engine; null: a program by itself
  std::function<void(graph::Graph&)> edit;  // null: no PEFT method
  std::function<void(std::string_view pass, const graph::Graph&)> observe;  // called after each pass, for --print-graph
};

struct PassTime {
  std::string name;
  double milliseconds;
};

// One program, ready to be bound to memory.
struct Compiled {
  graph::Graph graph;
  FlatLayout layout;
  MemoryPlan memory;
  StreamPlan streams;     // of a program that is not cut into stages; else empty: one stream
  Stages stages;          // of a pipeline's rank; else not cut
  Phases phases;          // likewise; else empty
  SequencePart sequence;  // of batch fields
  std::vector<PassTime> times;
};

// What a program is for: forward and backward; forward to the loss; forward to the logits of whole sequences, of the next tokens of a
// prompt, of the next token, the last two with cached keys and values (passes/cache.hpp); the encoder's part of those, which leaves its
// keys and values there.
enum class Purpose { kTrain, kEvaluate, kLogits, kPrefill, kDecode, kEncode };
[[nodiscard]] std::string_view to_string(Purpose purpose);

// The passes by name, in order: build edit type cache partition stage group differentiate fuse quantize schedule share memory.
[[nodiscard]] const std::vector<std::string>& pass_names();

// Runs the passes behind "build" on a forward graph.
[[nodiscard]] Compiled compile(graph::Graph forward, Purpose purpose, const CompileOptions& options);

// Memory for activations of one phase of a training program in pipeline stages. Behind a step it takes in turn the gradients of shared
// parameters that this rank adds up, so it is no smaller than the largest of them.
[[nodiscard]] int64_t pipeline_arena_bytes(const Compiled& compiled);

}  // namespace nemo::passes
