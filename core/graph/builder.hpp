// core/graph/builder.hpp - the host's side of nemo/graph.h: a model plugin's calls become a Graph.
#pragma once

#include <map>
#include <set>
#include <string>

#include "core/graph/graph.hpp"
#include "nemo/graph.h"

namespace nemo::graph {

// What a model may ask of the run while it builds.
struct BuildFacts {
  int64_t micro_batch_size = 1;
  int64_t seq_length = 1;
  int64_t vocab_size = 0;                // of the tokenizer; 0 = none
  std::set<std::string> batch_fields{};  // beyond tokens and labels, that the data has: "segments"
  int64_t encoder_seq_length = 0;        // of an encoder beside a decoder; 0 = seq_length
  bool fields_known = false;             // there is data: a model that needs another field is refused
};

// Receives the calls through the table in core/passes/build.cpp; its handle is `handle()`. Calls after an error of an earlier one are the
// plugin's affair: each call checks its own arguments.
class Builder {
 public:
  Builder(Graph& graph, BuildFacts facts);
  [[nodiscard]] nemo_graph* handle() { return reinterpret_cast<nemo_graph*>(this); }

  [[nodiscard]] int64_t axis_size(std::string_view axis) const;
  [[nodiscard]] int64_t vocab_size() const { return facts_.vocab_size; }
  ValueId input(std::string_view name);
  ValueId parameter(const nemo_parameter& parameter);
  std::vector<ValueId> op(std::string_view name, std::vector<ValueId> inputs, Attrs attrs);
  void output(std::string_view name, ValueId value);
  void scope_push(std::string_view name);
  void scope_pop();
  void block_begin(std::string_view kind, int64_t index);
  void block_end();
  [[nodiscard]] const Dims& describe(ValueId value) const;
  // After the plugin's last call: throws kInvalidArgument, naming the block or the scope that is still open.
  void finish() const;

 private:
  [[nodiscard]] std::string scope() const;
  [[nodiscard]] Dims encoder_field(std::string_view name) const;
  Graph& graph_;
  BuildFacts facts_;
  std::vector<std::string> scopes_;
  int32_t block_ = -1;
};

}  // namespace nemo::graph
