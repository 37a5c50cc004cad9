#include "core/passes/cache.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "core/graph/shape.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

constexpr size_t kQuery = 0, kKey = 1, kValue = 2, kSinks = 4;

bool is_scan(const Op& op) { return op.name() == "ssd_scan" || op.name() == "selective_scan"; }
size_t initial_input(const Op& op) { return op.row->inputs.size() - 1; }

class Cacher {
 public:
  Cacher(Graph& graph, const CacheOptions& options) : graph_(graph), options_(options) {}

  void run() {
    shorten_inputs();
    std::vector<Op> ops = std::move(graph_.ops);
    graph_.ops.clear();
    for (Op& op : ops) {
      infer_shapes(op);
      if (op.name() == "attention")
        through_cache(op);
      else if (op.name() == "causal_conv1d")
        behind_window(op);
      else if (is_scan(op))
        behind_state(op);
      else
        graph_.ops.push_back(std::move(op));
    }
  }

 private:
  void shorten_inputs() {
    Dims batch;
    for (Value& value : graph_.values) {
      if (value.kind != ValueKind::kInput) continue;
      for (Dim& dim : value.dims) {
        if (dim.axis == "seq") dim.size = options_.chunk;
        if (dim.axis == "batch") batch = {dim};
      }
    }
    if (batch.empty()) throw Error(Code::kUnsupported, "generation needs a model that reads input 'tokens'");
    start_ = graph_.add_input("cache_start", DType::kI32, batch);
    const auto running = [](const Op& op) { return op.name() == "causal_conv1d" || is_scan(op); };
    if (std::any_of(graph_.ops.begin(), graph_.ops.end(), running)) count_ = graph_.add_input("cache_count", DType::kI32, batch);
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

  ValueId written(const Op& attention, size_t input, const std::string& name) {
    Dims dims = graph_.value(attention.inputs[input]).dims;
    dims[1].size = options_.context;
    const ValueId state = graph_.add_state(name, graph_.value(attention.inputs[input]).dtype, std::move(dims));
    push(attention, make_op(graph_, {"cache_write", {attention.inputs[input], start_}, {}, {state}}, attention.scope));
    return state;
  }

  void through_cache(const Op& op) {
    const std::string name = next_name();
    Attrs attrs;
    for (const char* kept : {"scale", "window", "softcap", "alibi", "alibi_first"})
      if (const auto found = op.attrs.find(kept); found != op.attrs.end()) attrs.insert(*found);
    const ValueId k = written(op, kKey, name + ".k"), v = written(op, kValue, name + ".v");
    push(op, make_op(graph_, {"attention_cached", {op.inputs[kQuery], k, v, start_, op.inputs[kSinks]}, std::move(attrs), {op.outputs[0]}},
                     op.scope));
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
  ValueId start_ = 0, count_ = 0;
  int caches_ = 0;
};

}  // namespace

std::string why_not_cached(const Graph& graph) {
  const Uses uses = analyse_uses(graph);
  for (const Op& op : graph.ops) {
    if (is_scan(op) && op.inputs[initial_input(op)] != 0) return op.scope + ": its scan begins with a state of the model's own";
    if (is_scan(op) && !uses.readers[op.outputs[1]].empty()) return op.scope + ": the state behind its scan is read by other ops";
    if (op.name() != "attention") continue;
    if (op.int_attr("causal") == 0) return op.scope + ": its attention sees later tokens";
    for (size_t i = kValue + 1; i < op.inputs.size(); ++i)
      if (op.inputs[i] != 0 && i != kSinks)
        return op.scope + ": its attention has input '" + op.row->inputs[i].name + "', which has no cached form";
  }
  return "";
}

bool has_running_state(const Graph& graph) { return graph.find_input("cache_count") != 0; }

void cache(Graph& graph, const CacheOptions& options) {
  if (const std::string why = why_not_cached(graph); !why.empty()) throw Error(Code::kUnsupported, "no cache for generation: " + why);
  Cacher(graph, options).run();
}

}  // namespace nemo::passes
