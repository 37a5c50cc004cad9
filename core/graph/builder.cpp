#include "core/graph/builder.hpp"

#include "core/base/error.hpp"

namespace nemo::graph {

Builder::Builder(Graph& graph, BuildFacts facts) : graph_(graph), facts_(std::move(facts)) {}

int64_t Builder::axis_size(std::string_view axis) const {
  if (axis == "batch") return facts_.micro_batch_size;
  if (axis == "seq") return facts_.seq_length;
  if (axis == "encoder_seq") return facts_.encoder_seq_length != 0 ? facts_.encoder_seq_length : facts_.seq_length;
  throw Error(Code::kInvalidArgument, "axis '" + std::string(axis) + "' has no run-wide size; 'batch', 'seq' and 'encoder_seq' have");
}

// Dimensions of what encoders read; empty for another name.
Dims Builder::encoder_field(std::string_view name) const {
  const Dim batch{facts_.micro_batch_size, "batch", {}};
  if (name == "token_types") return {batch, {facts_.seq_length, "seq", {}}};
  if (name == "encoder_tokens") return {batch, {axis_size("encoder_seq"), "seq", {}}};
  if (name == "lengths" || name == "encoder_lengths" || name == "next_sentence_labels") return {batch};
  return {};
}

ValueId Builder::input(std::string_view name) {
  if (const ValueId known = graph_.find_input(name)) return known;
  if (name == "batch_counts") return graph_.add_input("batch_counts", DType::kI32, {{2, "", {}}});
  if (name == "rng") return graph_.add_input("rng", DType::kI64, {{2, "", {}}});
  const Dims dims{{facts_.micro_batch_size, "batch", {}}, {facts_.seq_length, "seq", {}}};
  if (name == "tokens" || name == "labels" || name == "positions") return graph_.add_input(std::string(name), DType::kI32, dims);
  if (const Dims own = encoder_field(name); !own.empty()) {
    if (facts_.fields_known && !facts_.batch_fields.contains(std::string(name)))
      throw Error(Code::kConfig, "the model reads batch field '" + std::string(name) +
                                     "', which the data does not have; choose a data plugin that has it");
    return graph_.add_input(std::string(name), DType::kI32, own);
  }
  if (name == "segments") return facts_.batch_fields.contains("segments") ? graph_.add_input("segments", DType::kI32, dims) : 0;
  throw Error(Code::kInvalidArgument,
              "model input '" + std::string(name) +
                  "' is not a batch field; known: tokens, labels, positions, segments, token_types, lengths, encoder_tokens, "
                  "encoder_lengths, next_sentence_labels, batch_counts, rng");
}

ValueId Builder::parameter(const nemo_parameter& p) {
  Parameter parameter;
  parameter.name = std::string(p.name.ptr, p.name.len);
  if (parameter.name.empty()) throw Error(Code::kInvalidArgument, "parameter " + std::to_string(graph_.parameters.size()) + " has no name");
  for (uint64_t i = 0; i < p.n_dims; ++i) {
    if (p.dims[i].size <= 0)
      throw Error(Code::kInvalidArgument,
                  "parameter '" + parameter.name + "': dimension " + std::to_string(i) + " has size " + std::to_string(p.dims[i].size));
    parameter.dims.push_back({p.dims[i].size, std::string(p.dims[i].axis.ptr, p.dims[i].axis.len), {}});
  }
  if (p.init < NEMO_INIT_CONSTANT || p.init > NEMO_INIT_UNIFORM)
    throw Error(Code::kInvalidArgument, "parameter '" + parameter.name + "': unknown init rule");
  parameter.init = {static_cast<Init::Kind>(p.init), p.init_a, p.init_b};
  parameter.trainable = (p.flags & NEMO_PARAMETER_FROZEN) == 0;
  parameter.decay = (p.flags & NEMO_PARAMETER_NO_DECAY) == 0;
  parameter.block = block_;
  return graph_.add_parameter(std::move(parameter));
}

std::vector<ValueId> Builder::op(std::string_view name, std::vector<ValueId> inputs, Attrs attrs) {
  Op op = make_op(graph_, {name, std::move(inputs), std::move(attrs)}, scope());
  op.block = block_;
  graph_.ops.push_back(op);
  return op.outputs;
}

void Builder::output(std::string_view name, ValueId value) {
  if (value == 0 || value >= graph_.values.size())
    throw Error(Code::kInvalidArgument, "output '" + std::string(name) + "' is no value of this graph");
  if (graph_.find_output(name) != 0) throw Error(Code::kInvalidArgument, "output '" + std::string(name) + "' is named twice");
  graph_.outputs.emplace_back(name, value);
}

void Builder::scope_push(std::string_view name) { scopes_.emplace_back(name); }

void Builder::scope_pop() {
  if (scopes_.empty()) throw Error(Code::kInvalidArgument, "scope_pop without scope_push");
  scopes_.pop_back();
}

void Builder::block_begin(std::string_view kind, int64_t index) {
  if (block_ >= 0) throw Error(Code::kInvalidArgument, "blocks do not nest");
  graph_.blocks.push_back({std::string(kind), index});
  block_ = static_cast<int32_t>(graph_.blocks.size() - 1);
}

void Builder::block_end() {
  if (block_ < 0) throw Error(Code::kInvalidArgument, "block_end without block_begin");
  block_ = -1;
}

const Dims& Builder::describe(ValueId value) const {
  if (value == 0 || value >= graph_.values.size()) throw Error(Code::kInvalidArgument, "no such value");
  return graph_.value(value).dims;
}

void Builder::finish() const {
  if (block_ >= 0) {
    const Block& open = graph_.blocks[static_cast<size_t>(block_)];
    throw Error(Code::kInvalidArgument, "block '" + open.kind + "' " + std::to_string(open.index) + " is not closed: block_end is missing");
  }
  if (!scopes_.empty()) throw Error(Code::kInvalidArgument, "scope '" + scope() + "' is not closed: scope_pop is missing");
}

std::string Builder::scope() const {
  std::string out;
  for (const std::string& s : scopes_) out += (out.empty() ? "" : ".") + s;
  return out;
}

}  // namespace nemo::graph
