// core/hub/golden.hpp - outputs of a reference implementation for one model folder: golden.safetensors with golden.json beside it.
//
// The layout is that of the project's model fixtures: batches as input_ids, labels ... (plain, pad_* and train_* [step, ...]), logits,
// grad.NAME, after3.NAME, gen.*; scalars, norms and training hyperparameters in golden.json. What is absent is not checked.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/hub/json_text.hpp"
#include "core/hub/safetensors.hpp"
#include "core/runtime/data_source.hpp"

namespace nemo::hub {

class Golden {
 public:
  explicit Golden(const std::filesystem::path& file);

  [[nodiscard]] bool has(const std::string& name) const { return file_.tensors().contains(name); }
  [[nodiscard]] const std::vector<int64_t>& shape(const std::string& name) const { return at(name).shape; }
  [[nodiscard]] std::vector<float> floats(const std::string& name) const;
  [[nodiscard]] std::vector<int32_t> ints(const std::string& name) const;
  // Names that begin with `prefix`, without it.
  [[nodiscard]] std::vector<std::string> names(const std::string& prefix) const;
  [[nodiscard]] const Json& facts() const { return facts_; }
  // A number of golden.json.
  [[nodiscard]] std::optional<double> number(const std::string& name) const;

 private:
  [[nodiscard]] const StoredTensor& at(const std::string& name) const;
  SafetensorsFile file_;
  Json facts_;
};

// One batch of a golden: its names begin with `prefix` ("", "pad_", "train_"), `step` picks one of [step, ...], -1: there is no such axis.
struct GoldenBatch {
  std::string prefix;
  int64_t step = -1;
};

// The fields of a batch for the inputs that `graph` has, from the tensors that the golden has. Which feeds which is a table in golden.cpp.
// Throws Error(kUnsupported) where an input has no row in it or no tensor.
[[nodiscard]] runtime::Batch batch_of(const Golden& golden, const GoldenBatch& which, const graph::Graph& graph);
// [batch, seq] of the model's tokens in that batch.
[[nodiscard]] std::vector<int64_t> token_shape(const Golden& golden);

}  // namespace nemo::hub
