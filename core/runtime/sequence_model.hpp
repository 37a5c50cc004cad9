// core/runtime/sequence_model.hpp - the logits that follow token sequences, for generation.
//
// CachedModel keeps keys, values and running states of what it has seen, so that a further token costs one token's work (passes/cache.hpp);
// WholeModel computes every sequence anew and serves models that have no cached form. Both see at most context() tokens of a sequence:
// older ones are dropped. One thread at a time.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/runtime/engine.hpp"

namespace nemo::runtime {

class SequenceModel {
 public:
  explicit SequenceModel(Engine& engine) : engine_(engine) {}
  virtual ~SequenceModel() = default;
  SequenceModel(const SequenceModel&) = delete;
  SequenceModel& operator=(const SequenceModel&) = delete;

  using Sequences = std::span<const std::vector<int32_t>>;
  // Logits [vocab] that follow the last token of each sequence. At most batch() sequences, none empty.
  [[nodiscard]] virtual std::vector<std::vector<float>> next_logits(Sequences sequences) = 0;
  [[nodiscard]] int64_t context() const { return engine_.facts().seq_length; }
  [[nodiscard]] int64_t batch() const { return engine_.facts().micro_batch_size; }

 protected:
  // The part of a sequence that the model sees.
  [[nodiscard]] std::span<const int32_t> seen(const std::vector<int32_t>& sequence) const;
  // Feeds "tokens" and "positions" [batch, columns] and runs.
  void run(Program& program, std::vector<int32_t> tokens, std::vector<int32_t> positions);
  [[nodiscard]] std::vector<float> logits_at(const Program& program, int64_t row, int64_t column);
  Engine& engine_;
};

class WholeModel final : public SequenceModel {
 public:
  using SequenceModel::SequenceModel;  // an engine with purpose kLogits
  [[nodiscard]] std::vector<std::vector<float>> next_logits(Sequences sequences) override;
};

class CachedModel final : public SequenceModel {
 public:
  explicit CachedModel(Engine& engine);  // an engine with purposes kPrefill and kDecode
  [[nodiscard]] std::vector<std::vector<float>> next_logits(Sequences sequences) override;

 private:
  // What one run adds to each sequence.
  struct Turn {
    std::vector<int32_t> tokens, positions, start, count;
  };
  void forget_what_differs(Sequences sequences);
  [[nodiscard]] Turn take(Sequences sequences, int64_t columns) const;
  // Feeds and runs one turn; the logits of rows that it completes are kept.
  void advance(Sequences sequences, Program& program);
  std::vector<std::vector<int32_t>> cached_;  // tokens that the cache has seen, by row
  std::vector<std::vector<float>> logits_;    // behind these, where they were computed
  bool running_state_;                        // a row's cache can be extended or begun anew, not cut back
};

// The purposes that generation from this model needs: prefill and decode, or whole sequences where it has no cached form.
[[nodiscard]] std::set<passes::Purpose> generation_purposes(const Setup& setup, const graph::BuildFacts& facts);
[[nodiscard]] std::unique_ptr<SequenceModel> make_sequence_model(Engine& engine);

}  // namespace nemo::runtime
