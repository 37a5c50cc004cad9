// nemo/cpp/model.hpp - what language-model plugins share: the function table around a build function, and rules on settings.
//
//   void build(Graph& g, const Config& c) { Llama(g, c).build(); }
//   constexpr nemo_model_api api = model_api<build>();
#pragma once

#include <algorithm>

#include "nemo/cpp/config.hpp"
#include "nemo/cpp/graph.hpp"

namespace nemo::sdk {
inline namespace v1 {

template <void (*Build)(Graph&, const Config&)>
nemo_error* build_model(nemo_host*, const nemo_config* config, const nemo_graph_api* api, nemo_graph* graph) {
  return guard([&] {
    Graph g(api, graph);
    Build(g, Config(config));
  });
}

template <void (*Build)(Graph&, const Config&)>
constexpr nemo_model_api model_api() {
  nemo_model_api api{};
  api.struct_size = sizeof(nemo_model_api);
  api.build = build_model<Build>;
  return api;
}

// Rows of the token table, from the fields "vocab_size" (0: the tokenizer's) and "make_vocab_size_divisible_by" (padding rows at the end).
inline int64_t vocabulary_rows(const Graph& g, const Config& c) {
  const int64_t asked = c.integer("vocab_size"), tokenizer = g.vocab_size(), multiple = c.integer("make_vocab_size_divisible_by");
  if (asked == 0 && tokenizer == 0)
    config_fault("vocab_size", "the vocabulary size is unknown: set vocab_size, or a [tokenizer] that has one");
  if (asked != 0 && asked < tokenizer)
    config_fault("vocab_size", "vocab_size = " + std::to_string(asked) + " is smaller than the tokenizer's " + std::to_string(tokenizer) +
                                   "; raise it, or set 0 to take the tokenizer's");
  return (std::max(asked, tokenizer) + multiple - 1) / multiple * multiple;
}

// Positions that the model is made for, from the field "max_position_embeddings" (0: the run's sequence length).
inline int64_t position_count(const Graph& g, const Config& c) {
  const int64_t asked = c.integer("max_position_embeddings"), seq = g.axis_size("seq");
  if (asked != 0 && seq > asked)
    config_fault("max_position_embeddings", "data.seq_length = " + std::to_string(seq) + " exceeds max_position_embeddings = " +
                                                std::to_string(asked) + "; shorten the sequences or raise it");
  return asked == 0 ? seq : asked;
}

// Fault of `path` unless `part` divides `whole`.
inline void require_divides(const char* path, int64_t part, const char* whole_name, int64_t whole) {
  if (whole % part != 0)
    config_fault(path, std::string(path) + " = " + std::to_string(part) + " does not divide " + whole_name + " = " + std::to_string(whole));
}

}  // namespace v1
}  // namespace nemo::sdk
