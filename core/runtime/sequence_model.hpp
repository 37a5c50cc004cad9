// core/runtime/sequence_model.hpp - the logits that follow token sequences, for generation.
//
// CachedModel keeps keys, values and running states of what it has seen, so that a further token costs one token's work (passes/cache.hpp);
// WholeModel computes every sequence anew and serves models that have no cached form. Both see at most context() tokens of a sequence:
// older ones are dropped. A model with an encoder answers sources: read() comes first, and sequences are what the decoder has written, its
// start token in front. Where positions depend on the length of sequences (passes/positions.hpp), each has those of its own length,
// whatever others are beside it; one that outgrows the short ones is read anew. One thread at a time.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/runtime/data_source.hpp"
#include "core/runtime/engine.hpp"

namespace nemo::runtime {

class SequenceModel {
 public:
  explicit SequenceModel(Engine& engine);
  virtual ~SequenceModel() = default;
  SequenceModel(const SequenceModel&) = delete;
  SequenceModel& operator=(const SequenceModel&) = delete;

  using Sequences = std::span<const std::vector<int32_t>>;
  // Logits [vocab] that follow the last token of each sequence. At most batch() sequences, none empty.
  [[nodiscard]] virtual std::vector<std::vector<float>> next_logits(Sequences sequences) = 0;
  // What the encoder reads for each of the sequences that come: at most source_length() tokens each, none empty. Throws
  // nemo::Error(kInvalidArgument) where there is no encoder or a source is too long.
  void read(Sequences sources);
  [[nodiscard]] bool has_encoder() const { return has_encoder_; }
  [[nodiscard]] int64_t source_length() const;
  [[nodiscard]] int64_t context() const { return engine_.facts().seq_length; }
  [[nodiscard]] int64_t batch() const { return engine_.facts().micro_batch_size; }

 protected:
  // The part of a sequence that the model sees.
  [[nodiscard]] std::span<const int32_t> seen(const std::vector<int32_t>& sequence) const;
  // Feeds "tokens" and "positions" [batch, columns] and runs.
  void run(Program& program, std::vector<int32_t> tokens, std::vector<int32_t> positions);
  [[nodiscard]] std::vector<float> logits_at(const Program& program, int64_t row, int64_t column);
  // Called behind read(): the encoder's fields are in source_.
  virtual void forget() {}
  Engine& engine_;
  bool has_encoder_ = false;
  Batch source_;  // "encoder_tokens", "encoder_lengths"
};

class WholeModel final : public SequenceModel {
 public:
  using SequenceModel::SequenceModel;  // an engine with purpose kLogits
  [[nodiscard]] std::vector<std::vector<float>> next_logits(Sequences sequences) override;
};

class CachedModel final : public SequenceModel {
 public:
  explicit CachedModel(Engine& engine);  // an engine with purposes kPrefill and kDecode, and kEncode where there is an encoder
  [[nodiscard]] std::vector<std::vector<float>> next_logits(Sequences sequences) override;

 private:
  // What one run adds to each sequence.
  struct Turn {
    std::vector<int32_t> tokens, positions, start, count;
  };
  void forget() override;  // runs the encoder
  void forget_what_differs(Sequences sequences);
  // Tokens of the row that its cache has not seen, where the row has the positions asked for; else 0.
  [[nodiscard]] size_t missing(Sequences sequences, size_t row, bool short_positions) const;
  [[nodiscard]] Turn take(Sequences sequences, int64_t columns, bool short_positions) const;
  // Feeds and runs one turn of the rows with these positions; the logits of rows that it completes are kept.
  void advance(Sequences sequences, passes::Purpose purpose, bool short_positions);
  std::vector<std::vector<int32_t>> cached_;  // tokens that the cache has seen, by row
  std::vector<std::vector<float>> logits_;    // behind these, where they were computed
  std::vector<bool> short_;                   // by row: its cache was made with the positions of short sequences
  bool running_state_;                        // a row's cache can be extended or begun anew, not cut back
};

// The purposes that generation from this model needs: prefill and decode (and encode), or whole sequences where it has no cached form.
// Throws nemo::Error(kUnsupported) for a model whose tokens see later ones: it has nothing to go on from.
[[nodiscard]] std::set<passes::Purpose> generation_purposes(const Setup& setup, const graph::BuildFacts& facts);
[[nodiscard]] std::unique_ptr<SequenceModel> make_sequence_model(Engine& engine);

}  // namespace nemo::runtime
