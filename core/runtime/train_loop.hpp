// core/runtime/train_loop.hpp - a training run: resume, steps, validation, metrics, checkpoints.
//
// The loop has no branch on op, strategy or precision: it feeds programs, launches them, and tells loggers. Gradients are summed over the
// unmasked tokens of the global batch and divided once, before clipping, so micro-batch size never changes the mathematics. A run that is
// killed and started again with the same recipe continues from its last checkpoint and ends with the same bits.
#pragma once

#include <array>
#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "core/runtime/data_source.hpp"
#include "core/runtime/engine.hpp"
#include "core/runtime/logger_set.hpp"
#include "core/runtime/lr_schedule.hpp"
#include "core/runtime/saver.hpp"
#include "core/runtime/snapshot.hpp"

namespace nemo::runtime {

// What the program around the run provides.
struct RunContext {
  const nemo_host_api* host = nullptr;
  const std::atomic<bool>* interrupted = nullptr;
  dist::World* world = nullptr;  // of several processes; NULL where there is one
  std::function<void(const std::string&)> info;
  std::function<void(const std::string&)> warn;
  std::function<void(std::string_view pass, const graph::Graph&)> observe;
};

enum class Outcome { kDone, kInterrupted };

[[nodiscard]] OptimizerSettings optimizer_settings(const config::Section& optim);
[[nodiscard]] LrSchedule lr_schedule(const config::Section& optim, int64_t max_steps);
// Batch sizes and axes of one rank of `world` (null: of the recipe's devices); throws nemo::Error(kConfig) where global_batch_size is not a
// multiple of micro_batch_size.
[[nodiscard]] graph::BuildFacts build_facts(const Setup& setup, const text::Tokenizer* tokenizer, const dist::World* world = nullptr);
// Of each rank, in a step; throws nemo::Error(kConfig) where the global batch is no whole number of them.
[[nodiscard]] int64_t micro_batches_of_step(const Setup& setup, const Engine& engine);

class TrainLoop {
 public:
  TrainLoop(const Setup& setup, RunContext context);
  // The engine as planned, before memory is taken: for --dry-run.
  [[nodiscard]] const Engine& engine() const { return *engine_; }
  Outcome run();

 private:
  struct StepTimes {
    double data = 0, compute = 0, optimizer = 0;
  };
  void prepare_folder();
  bool resume();  // whether there was a checkpoint
  void open_sources();
  void start_loggers();
  void meet(const char* name) const;
  void note(const char* doing) const;
  [[nodiscard]] bool is_chief() const { return engine_->ranks().rank() == 0; }
  const Batch& take_batch();
  void fetch_ahead();
  int64_t accumulate(StepTimes& times);
  int64_t accumulate_staged(PipelineProgram& program, StepTimes& times);
  Metrics step(int64_t step);
  void watch_memory();
  double validate();
  void save_checkpoint(const Metrics& metrics);
  [[nodiscard]] bool saves() const;
  [[nodiscard]] Snapshot snapshot() const;
  void tell_saved();
  void prune(const checkpoint::Store& store) const;
  [[nodiscard]] KeptState kept() const { return {&engine_->state_layout(), engine_->kept_state(), &engine_->ranks()}; }
  [[nodiscard]] bool due(const char* section, const char* every, int64_t step) const;

  const Setup& setup_;
  RunContext context_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<DataSource> train_, validation_;
  std::unique_ptr<LoggerSet> loggers_;  // on rank 0 alone
  std::unique_ptr<Saver> saver_;
  LrSchedule schedule_;
  Progress progress_;
  std::unique_ptr<LossScaler> scaler_;
  const Batch* ahead_ = nullptr;                // read while the device worked
  std::exception_ptr ahead_failed_;             // that read's failure, told when its batch is due
  std::array<Mark, 3> marks_;                   // of a step: begin, gradients done, update done
  int64_t planned_bytes_ = 0, most_bytes_ = 0;  // most_: as the device counts them; 0: it cannot
  int64_t watched_steps_ = 0;
  double save_ms_ = 0;  // that the last save kept the loop; 0: told already
  bool stop_ = false;   // a rank was interrupted: agreed on with the step's totals
  int64_t global_batch_size_, micro_batches_, max_steps_;
  std::filesystem::path directory_;
};

// Mean loss per unmasked token over the recipe's validation split (limit_val_batches global batches), with the parameters of a checkpoint
// (from find_checkpoint, which verifies it).
[[nodiscard]] double validate_checkpoint(const Setup& setup, const RunContext& context, const std::filesystem::path& checkpoint);

}  // namespace nemo::runtime
