// core/runtime/engine.hpp - one device with the programs and the state of a run.
//
// Construction opens the device, builds and compiles the programs and prepares their kernels, but allocates no device memory: report() says
// what the run will take. allocate() then takes it and binds the programs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>

#include "core/graph/builder.hpp"
#include "core/passes/compile.hpp"
#include "core/runtime/gradient_sync.hpp"
#include "core/runtime/memory_report.hpp"
#include "core/runtime/optimizer.hpp"
#include "core/runtime/pipeline_program.hpp"
#include "core/runtime/program.hpp"
#include "core/runtime/setup.hpp"
#include "core/runtime/state.hpp"

namespace nemo::runtime {

struct EngineOptions {
  std::set<passes::Purpose> purposes;
  graph::BuildFacts facts;
  Keep keep = Keep::kParametersOnly;
  dist::World* world = nullptr;                  // of several processes; NULL where there is one, or the plan is not run
  std::optional<passes::Recompute> recompute{};  // default: the recipe's trainer.recompute
  std::function<void(std::string_view pass, const graph::Graph&)> observe{};
  // > 0: sequences of up to this many tokens have rotary positions of their own (first_context), and each purpose a program for them.
  int64_t short_sequences = 0;
};

// EngineOptions.short_sequences for runs over sequences of any length up to facts.seq_length: 0 for most models.
[[nodiscard]] int64_t short_sequences(const Setup& setup, const graph::BuildFacts& facts);

// What the recipe's strategy says for the ranks of `world`; null: for the recipe's nodes and devices. Throws nemo::Error(kConfig) at
// strategy.plugin.
[[nodiscard]] passes::Plan make_plan(const Setup& setup, const dist::World* world);

class Engine {
 public:
  Engine(const Setup& setup, EngineOptions options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] MemoryReport report() const;
  // Throws nemo::Error(kOutOfMemory) with the report and the settings that would fit where the plan exceeds the device.
  void check_fits(const Setup& setup) const;
  void allocate();

  [[nodiscard]] Device& device() { return *device_; }
  [[nodiscard]] State& state() { return *state_; }
  [[nodiscard]] const Ranks& ranks() const { return *ranks_; }
  // After allocate(), where gradients are kept.
  [[nodiscard]] GradientSync& sync() { return *sync_; }
  [[nodiscard]] bool has(passes::Purpose purpose) const { return programs_.contains(purpose); }
  // Named state that programs keep between launches, and its device memory. After allocate().
  [[nodiscard]] const passes::StateLayout& state_layout() const { return state_layout_; }
  [[nodiscard]] std::byte* kept_state() const { return kept_.data(); }
  // Throws nemo::Error(kUnsupported) where the plan cuts the model into pipeline stages: those are run by pipeline().
  [[nodiscard]] Program& program(passes::Purpose purpose);
  // The program for sequences of `tokens` tokens: that one, or where they are short the one with their positions.
  [[nodiscard]] Program& program(passes::Purpose purpose, int64_t tokens);
  [[nodiscard]] bool is_short(int64_t tokens) const { return tokens <= options_.short_sequences; }
  // NULL where the plan does not cut the model.
  [[nodiscard]] PipelineProgram* pipeline(passes::Purpose purpose) { return programs_.at(purpose).pipeline.get(); }
  [[nodiscard]] const passes::Compiled& compiled(passes::Purpose purpose) const { return *programs_.at(purpose).compiled; }
  [[nodiscard]] const graph::BuildFacts& facts() const { return options_.facts; }
  [[nodiscard]] const passes::Precision& precision() const { return precision_; }
  [[nodiscard]] const passes::Plan& plan() const { return plan_; }
  // Sum of a number over the ranks that read different samples; all ranks call it.
  [[nodiscard]] double sum_over_data(double mine);
  // Likewise over mesh axes joined by ','.
  [[nodiscard]] double sum_over(const std::string& axes, double mine);
  // True where the loss has a mean over the sequences of a step: its programs need "batch_counts" (labels that count, sequences) of all
  // micro-batches and ranks together, before the first runs.
  [[nodiscard]] bool counts_batches() const { return counts_batches_; }
  // These numbers, for `batches` of this rank that are `sequences` together with the other ranks'; all ranks call it. Returns the labels.
  int64_t count_batches(std::span<Batch> batches, int64_t sequences);
  // Model FLOPs of forward and backward of one micro-batch of all data ranks together (ops/cost.hpp).
  [[nodiscard]] double model_flops() const { return model_flops_; }

 private:
  struct Entry {
    std::unique_ptr<passes::Compiled> compiled;
    std::unique_ptr<Program> program;  // one of the two
    std::unique_ptr<PipelineProgram> pipeline;
    [[nodiscard]] int64_t arena_bytes() const { return pipeline ? pipeline->arena_bytes() : compiled->memory.arena_bytes; }
    [[nodiscard]] int64_t workspace_bytes() const { return program ? program->workspace_bytes() : pipeline->workspace_bytes(); }
  };
  using Entries = std::map<passes::Purpose, Entry>;
  void prepare(passes::Purpose purpose, Entry& entry, int64_t micro_batches);
  void bind(Entries& entries, const Bases& bases);
  [[nodiscard]] int64_t largest(int64_t (*of)(const Entry&)) const;
  [[nodiscard]] const Entry& first() const { return programs_.begin()->second; }

  EngineOptions options_;
  std::unique_ptr<Device> device_;
  passes::Plan plan_;
  std::unique_ptr<Ranks> ranks_;
  passes::Precision precision_;
  Entries programs_, short_programs_;
  passes::StateLayout state_layout_;
  Buffer arena_, workspace_, inputs_, kept_, slots_;
  std::unique_ptr<State> state_;
  std::unique_ptr<GradientSync> sync_;
  Buffer number_;  // of sum_over
  std::map<std::string, std::vector<PreparedKernel>> number_sums_;
  double model_flops_ = 0;
  bool counts_batches_ = false;
};

}  // namespace nemo::runtime
