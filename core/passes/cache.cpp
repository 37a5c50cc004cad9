#include "core/passes/cache.hpp"

#include <algorithm>
#include <map>

#include "core/base/error.hpp"
#include "core/graph/shape.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

constexpr size_t kQuery = 0, kKey = 1, kValue = 2, kSegments = 3, kSinks = 4, kBias = 5, kLengths = 6;

bool is_scan(const Op& op) { return op.name() == "ssd_scan" || op.name() == "selective_scan"; }
size_t initial_input(const Op& op) { return op.row->inputs.size() - 1; }

bool is_source(const Value& value) { return value.kind == ValueKind::kInput && value.name.starts_with("encoder_"); }

// By value: what it is computed from.
struct Origins {
  std::vector<bool> tokens, source;  // depends on the sequence that grows; on what the encoder reads
  explicit Origins(const Graph& graph) : tokens(graph.values.size()), source(graph.values.size()) {
    for (size_t v = 1; v < graph.values.size(); ++v)
      if (graph.values[v].kind == ValueKind::kInput) (is_source(graph.values[v]) ? source : tokens)[v] = true;
    for (const Op& op : graph.ops)
      for (const ValueId in : op.inputs)
        for (const ValueId out : op.outputs) {
          if (in == 0 || out == 0) continue;
          tokens[out] = tokens[out] || tokens[in];
          source[out] = source[out] || source[in];
        }
  }
  [[nodiscard]] bool of_encoder(ValueId v) const { return source[v] && !tokens[v]; }
  [[nodiscard]] bool grows(const Op& op) const {
    return std::any_of(op.inputs.begin(), op.inputs.end(), [&](ValueId v) { return v != 0 && tokens[v]; });
  }
};

bool crosses(const Op& op, const Origins& origins) {
  return op.name() == "attention" && origins.tokens[op.inputs[kQuery]] && origins.of_encoder(op.inputs[kKey]) &&
         origins.of_encoder(op.inputs[kValue]);
}

// The op that makes the attention's bias of a table by distances within one sequence; null where it is made otherwise.
const Op* bias_by_distance(const Graph& graph, const Uses& uses, const Op& attention) {
  const int32_t producer = uses.producer[attention.inputs[kBias]];
  if (producer < 0) return nullptr;
  const Op& op = graph.ops[static_cast<size_t>(producer)];
  return op.name() == "relative_bias" && op.int_attr("s") == op.int_attr("t") ? &op : nullptr;
}

class Cacher {
 public:
  Cacher(Graph& graph, const CacheOptions& options) : graph_(graph), options_(options), origins_(graph) {}

  void run() {
    find_biases();
    add_inputs();
    std::vector<Op> ops = std::move(graph_.ops);
    graph_.ops.clear();
    const bool encoder = options_.part == CachePart::kEncoder;
    for (Op& op : ops) encoder ? keep(op) : rewrite(op);
    if (encoder) graph_.outputs.clear();
  }

 private:
  void rewrite(Op& op) {
    if (op.name() == "attention" && origins_.grows(op)) op.inputs[kBias] = 0;  // of whole sequences: looked up in its table instead
    infer_shapes(op);
    if (!origins_.grows(op))
      graph_.ops.push_back(std::move(op));
    else if (crosses(op, origins_))
      to_encoder(op);
    else if (op.name() == "attention")
      through_cache(op);
    else if (op.name() == "causal_conv1d")
      behind_window(op);
    else if (is_scan(op))
      behind_state(op);
    else
      graph_.ops.push_back(std::move(op));
  }

  // The encoder's program: the graph as it is, with what the decoder attends to written down. Caches are numbered as in the others.
  void keep(Op& op) {
    if (origins_.grows(op) && (op.name() == "attention" || op.name() == "causal_conv1d" || is_scan(op))) {
      const std::string name = next_name();
      if (crosses(op, origins_))
        for (const auto& [input, word] : kCrossing) write(op, input, of_encoder(op, input, name + word));
    }
    graph_.ops.push_back(std::move(op));
  }

  void add_inputs() {
    Dims batch;
    for (Value& value : graph_.values) {
      if (value.kind != ValueKind::kInput) continue;
      for (Dim& dim : value.dims) {
        if (dim.axis == "seq" && !is_source(value) && options_.part == CachePart::kDecoder) dim.size = options_.chunk;
        if (dim.axis == "batch") batch = {dim};
      }
    }
    if (batch.empty()) throw Error(Code::kUnsupported, "generation needs a model that reads input 'tokens'");
    start_ = graph_.add_input("cache_start", DType::kI32, batch);
    const auto running = [&](const Op& op) { return (op.name() == "causal_conv1d" || is_scan(op)) && origins_.grows(op); };
    if (std::any_of(graph_.ops.begin(), graph_.ops.end(), running)) count_ = graph_.add_input("cache_count", DType::kI32, batch);
  }

  void find_biases() {
    const Uses uses = analyse_uses(graph_);
    for (const Op& op : graph_.ops)
      if (op.name() == "attention" && op.inputs[kBias] != 0 && origins_.grows(op))
        biases_.emplace(op.outputs[0], *bias_by_distance(graph_, uses, op));
  }

  // The row's shape rule over the inputs' new dimensions; dimensions that the inputs do not give follow the axis word.
  void infer_shapes(const Op& op) {
    const Factors factors = bind_factors(graph_, op);
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      if (op.outputs[i] == 0) continue;
      std::string missing;
      Dims dims = dims_of(op.row->outputs[i], factors, &missing);
      if (missing.empty()) {
        graph_.value(op.outputs[i]).dims = std::move(dims);
        continue;
      }
      for (Dim& dim : graph_.value(op.outputs[i]).dims)
        if (dim.axis == "seq") dim.size = options_.chunk;
    }
  }

  ValueId state_for(const Op& attention, size_t input, const std::string& name, int64_t rows) {
    Dims dims = graph_.value(attention.inputs[input]).dims;
    dims[1].size = rows;
    return graph_.add_state(name, graph_.value(attention.inputs[input]).dtype, std::move(dims));
  }

  void write(const Op& attention, size_t input, ValueId state) {
    push(attention, make_op(graph_, {"cache_write", {attention.inputs[input], start_}, {}, {state}}, attention.scope));
  }

  void through_cache(const Op& op) {
    const std::string name = next_name();
    Attrs attrs;
    for (const char* kept : {"scale", "window", "softcap", "alibi", "alibi_first"})
      if (const auto found = op.attrs.find(kept); found != op.attrs.end()) attrs.insert(*found);
    ValueId table = 0;
    if (const auto bias = biases_.find(op.outputs[0]); bias != biases_.end()) {
      table = bias->second.inputs[0];
      for (const char* of : {"bidirectional", "max_distance"}) attrs[of] = bias->second.int_attr(of);
    }
    const ValueId k = state_for(op, kKey, name + ".k", options_.context), v = state_for(op, kValue, name + ".v", options_.context);
    write(op, kKey, k), write(op, kValue, v);
    push(op, make_op(graph_,
                     {"attention_cached", {op.inputs[kQuery], k, v, start_, op.inputs[kSinks], table}, std::move(attrs), {op.outputs[0]}},
                     op.scope));
  }

  static constexpr std::pair<size_t, const char*> kCrossing[] = {{kKey, ".k"}, {kValue, ".v"}};

  ValueId of_encoder(const Op& op, size_t input, const std::string& name) {
    return state_for(op, input, name, graph_.value(op.inputs[input]).dims[1].size);
  }

  // Keys and values of the encoder are those that its own program has left.
  void to_encoder(Op& op) {
    const std::string name = next_name();
    for (const auto& [input, word] : kCrossing) op.inputs[input] = of_encoder(op, input, name + word);
    graph_.ops.push_back(std::move(op));
  }

  void behind_window(const Op& op) {
    const Dims& x = graph_.value(op.inputs[0]).dims;
    const int64_t taps = graph_.value(op.inputs[1]).dims.back().size;
    Dims dims{x[0], Dim{std::max<int64_t>(taps - 1, 1), "", {}}};
    dims.insert(dims.end(), x.begin() + 2, x.end());
    const ValueId window = graph_.add_state(next_name() + ".window", graph_.value(op.inputs[0]).dtype, std::move(dims));
    push(op,
         make_op(graph_,
                 {"causal_conv1d_cached", {op.inputs[0], op.inputs[1], op.inputs[2], start_, count_}, op.attrs, {op.outputs[0], window}},
                 op.scope));
  }

  // The inputs are those of the scan, with start and count for its initial state.
  void behind_state(const Op& op) {
    const Value& last = graph_.value(op.outputs[1]);
    const ValueId state = graph_.add_state(next_name() + ".state", last.dtype, last.dims);
    std::vector<ValueId> inputs = op.inputs;
    inputs[initial_input(op)] = start_;
    inputs.push_back(count_);
    push(op, make_op(graph_, {op.row->name + "_cached", std::move(inputs), op.attrs, {op.outputs[0], state}}, op.scope));
  }

  std::string next_name() { return "cache." + std::to_string(caches_++); }

  void push(const Op& like, Op op) {
    op.block = like.block;
    graph_.ops.push_back(std::move(op));
  }

  Graph& graph_;
  const CacheOptions& options_;
  const Origins origins_;
  std::map<ValueId, Op> biases_;  // relative_bias by the result of the attention that adds it
  ValueId start_ = 0, count_ = 0;
  int caches_ = 0;
};

}  // namespace

bool has_encoder(const Graph& graph) { return graph.find_input("encoder_tokens") != 0; }

std::string sees_later_tokens(const Graph& graph) {
  const Origins origins(graph);
  for (const Op& op : graph.ops)
    if (op.name() == "attention" && op.int_attr("causal") == 0 && origins.grows(op) && !crosses(op, origins)) return op.scope;
  return "";
}

namespace {

std::string why_not_cached(const Graph& graph, const Uses& uses, const Origins& origins, const Op& op) {
  if (is_scan(op) && op.inputs[initial_input(op)] != 0) return "its scan begins with a state of the model's own";
  if (is_scan(op) && !uses.readers[op.outputs[1]].empty()) return "the state behind its scan is read by other ops";
  if (op.name() != "attention") {
    for (const ValueId v : op.inputs)
      if (v != 0 && origins.of_encoder(v)) return "it reads the encoder otherwise than by attention";
    return "";
  }
  const bool crossing = crosses(op, origins);
  if (crossing == (op.int_attr("causal") != 0))
    return crossing ? "its attention to the encoder is causal" : "its attention sees later tokens";
  for (size_t i = kSegments; i < op.inputs.size(); ++i) {
    if (op.inputs[i] == 0 || i == kSinks) continue;
    if (i == kBias && !crossing && bias_by_distance(graph, uses, op) != nullptr) continue;
    if (i == kLengths && crossing && is_source(graph.value(op.inputs[i]))) continue;
    return "its attention has input '" + op.row->inputs[i].name + "', which has no cached form";
  }
  return "";
}

}  // namespace

std::string why_not_cached(const Graph& graph) {
  const Uses uses = analyse_uses(graph);
  const Origins origins(graph);
  for (const Op& op : graph.ops) {
    if (!origins.grows(op)) continue;
    if (const std::string why = why_not_cached(graph, uses, origins, op); !why.empty()) return op.scope + ": " + why;
  }
  return "";
}

bool has_running_state(const Graph& graph) { return graph.find_input("cache_count") != 0; }

void cache(Graph& graph, const CacheOptions& options) {
  if (const std::string why = why_not_cached(graph); !why.empty()) throw Error(Code::kUnsupported, "no cache for generation: " + why);
  Cacher(graph, options).run();
}

}  // namespace nemo::passes
