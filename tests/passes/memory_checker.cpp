#include "tests/passes/memory_checker.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace nemo::passes::testing {
namespace {

using graph::Dims;
using graph::Graph;
using graph::Op;
using graph::ValueId;
using graph::ValueKind;

const std::set<std::string, std::less<>> kElementwise{
    "add", "mul",        "scale", "activation",         "activation_grad",         "dropout", "softmax_grad", "cast",
    "glu", "all_reduce", "rope",  "cross_entropy_grad", "cross_entropy_shard_grad"};
// Kernels that are asked to read or write memory whose rows do not follow each other.
const std::set<std::string, std::less<>> kStrided{"linear",         "linear_dgrad", "linear_wgrad", "bias_grad", "rope",  "attention",
                                                  "attention_grad", "glu",          "glu_grad",     "add",       "slice", "concat"};

int64_t bytes_of(const Graph& g, ValueId v) { return element_count(g.value(v).dims) * size_of(g.value(v).dtype); }

class Machine {
 public:
  Machine(const Graph& g, const MemoryPlan& plan)
      : g_(g), plan_(plan), memory_(static_cast<size_t>(plan.arena_bytes), 0), tags_(g.values.size()) {}

  std::vector<std::string> run() {
    for (size_t i = 0; i < g_.ops.size() && faults_.size() < 10; ++i) {
      at_ = i;
      if (plan_.is_view[i])
        view(g_.ops[i]);
      else
        execute(g_.ops[i]);
    }
    for (const auto& [name, v] : g_.outputs) read(v, "output " + name);
    return std::move(faults_);
  }

 private:
  [[nodiscard]] bool in_arena(ValueId v) const { return v != 0 && plan_.placements[v].region == Region::kArena; }

  void fault(const std::string& what) {
    faults_.push_back("op " + std::to_string(at_) + " " + g_.ops[std::min(at_, g_.ops.size() - 1)].row->name + ": " + what);
  }

  // Byte addresses of the elements in row-major order.
  [[nodiscard]] std::vector<int64_t> addresses(ValueId v) const {
    const Dims& dims = g_.value(v).dims;
    const Placement& p = plan_.placements[v];
    std::vector<int64_t> out{p.offset};
    for (size_t d = 0; d < dims.size(); ++d) {
      std::vector<int64_t> next;
      next.reserve(out.size() * static_cast<size_t>(dims[d].size));
      for (const int64_t base : out)
        for (int64_t i = 0; i < dims[d].size; ++i) next.push_back(base + i * p.strides[d] * size_of(g_.value(v).dtype));
      out = std::move(next);
    }
    return out;
  }

  // An element of a value that is part of another one is that one's.
  [[nodiscard]] uint64_t tag(ValueId v, size_t e) const {
    if (!tags_[v].empty()) return tags_[v][e];
    const graph::Value& value = g_.value(v);
    if (value.home != 0) return tag(value.home, static_cast<size_t>(value.home_offset) + e);
    return (uint64_t{v} << 32 | e) + 1;
  }

  void read(ValueId v, const std::string& who) {
    if (!in_arena(v)) return;
    const std::vector<int64_t> where = addresses(v);
    const int64_t size = size_of(g_.value(v).dtype);
    for (size_t e = 0; e < where.size(); ++e)
      for (int64_t b = 0; b < size; ++b)
        if (where[e] < 0 || where[e] + size > plan_.arena_bytes || memory_[static_cast<size_t>(where[e] + b)] != tag(v, e))
          return fault(who + " reads %" + std::to_string(v) + ", whose element " + std::to_string(e) + " is no longer there");
  }

  [[nodiscard]] bool contiguous(ValueId v) const {
    int64_t step = 1;
    for (size_t d = g_.value(v).dims.size(); d-- > 0; step *= g_.value(v).dims[d].size)
      if (g_.value(v).dims[d].size > 1 && plan_.placements[v].strides[d] != step) return false;
    return true;
  }

  void execute(const Op& op) {
    std::map<int64_t, size_t> read_from;
    for (const ValueId v : op.inputs) {
      read(v, "it");
      if (v != 0 && !contiguous(v) && !kStrided.contains(op.name())) fault("reads strided %" + std::to_string(v));
      if (!in_arena(v)) continue;
      const auto where = addresses(v);
      for (size_t e = 0; e < where.size(); ++e) read_from.emplace(where[e], e);
    }
    for (const ValueId v : op.outputs) {
      if (v != 0 && !contiguous(v) && !kStrided.contains(op.name())) fault("writes strided %" + std::to_string(v));
      if (in_arena(v)) write(op, v, read_from);
    }
    for (const ValueId v : op.outputs) read(v, "after the op, who");
  }

  void write(const Op& op, ValueId v, const std::map<int64_t, size_t>& read_from) {
    const auto where = addresses(v);
    const int64_t size = size_of(g_.value(v).dtype);
    for (size_t e = 0; e < where.size(); ++e) {
      if (where[e] < 0 || where[e] + size > plan_.arena_bytes) return fault("writes %" + std::to_string(v) + " outside the arena");
      const auto source = read_from.find(where[e]);
      if (source != read_from.end() && (source->second != e || !kElementwise.contains(op.name())))
        return fault("writes %" + std::to_string(v) + " over an input that it still reads");
      std::fill_n(memory_.begin() + where[e], size, tag(v, e));
    }
  }

  // Elements [start, start + length) of dimension `dim` of the whole are those of the part.
  template <class F>
  void for_each_pair(ValueId whole, ValueId part, int64_t dim, int64_t start, F body) const {
    const Dims& dims = g_.value(whole).dims;
    const int64_t inner = element_count(Dims(dims.begin() + dim + 1, dims.end())),
                  outer = element_count(Dims(dims.begin(), dims.begin() + dim));
    const int64_t width = dims[static_cast<size_t>(dim)].size * inner, length = element_count(g_.value(part).dims) / outer;
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t c = 0; c < length; ++c) body(static_cast<size_t>(o * width + start * inner + c), static_cast<size_t>(o * length + c));
  }

  // Position of the first chunk that is taken or put.
  [[nodiscard]] int64_t chunk_start(const Op& op, ValueId whole) const {
    const auto& take = std::get<std::vector<double>>(op.attrs.at("take"));
    return g_.value(whole).dims[1].size / op.int_attr("chunks") * static_cast<int64_t>(take.at(0));
  }

  void view(const Op& op) {
    const ValueId out = op.outputs[0];
    std::vector<uint64_t> tags(static_cast<size_t>(element_count(g_.value(out).dims)));
    if (op.name() == "copy_to") {
      for (size_t e = 0; e < tags.size(); ++e) tags[e] = tag(op.inputs[0], e);
    } else if (op.name() == "slice") {
      for_each_pair(op.inputs[0], out, op.int_attr("dim"), op.int_attr("start"),
                    [&](size_t w, size_t p) { tags[p] = tag(op.inputs[0], w); });
    } else if (op.name() == "concat") {
      const int64_t dim = op.int_attr("dim");
      int64_t start = 0;
      for (const ValueId v : op.inputs) {
        if (v == 0) continue;
        read(v, "it");
        for_each_pair(out, v, dim, start, [&](size_t w, size_t p) { tags[w] = tag(v, p); });
        const Dims& dims = g_.value(out).dims;
        start += element_count(g_.value(v).dims) * dims[static_cast<size_t>(dim)].size / element_count(dims);
      }
    } else if (op.name() == "take_chunks") {
      for_each_pair(op.inputs[0], out, 1, chunk_start(op, op.inputs[0]), [&](size_t w, size_t p) { tags[p] = tag(op.inputs[0], w); });
    } else if (op.name() == "put_chunks") {
      return put_.insert_or_assign(out, &op), void();  // what it puts together with others is looked at there
    } else if (op.name() == "add" && put_.contains(op.inputs[0]) && put_.contains(op.inputs[1])) {
      for (const ValueId v : op.inputs) {
        const Op& put = *put_.at(v);
        read(put.inputs[0], "it");
        for_each_pair(out, put.inputs[0], 1, chunk_start(put, out), [&](size_t w, size_t p) { tags[w] = tag(put.inputs[0], p); });
      }
    } else {
      fault("is no op that can be a view");
    }
    tags_[out] = std::move(tags);
    read(out, "its result");
  }

  const Graph& g_;
  const MemoryPlan& plan_;
  std::vector<uint64_t> memory_;
  std::vector<std::vector<uint64_t>> tags_;  // of views; empty: the value's own
  std::map<ValueId, const Op*> put_;         // results of put_chunks that are views
  size_t at_ = 0;
  std::vector<std::string> faults_;
};

// For each value the results whose memory it is.
std::vector<std::set<ValueId>> storage_of(const Graph& g, const MemoryPlan& plan) {
  std::vector<std::set<ValueId>> units(g.values.size());
  for (ValueId v = 1; v < g.values.size(); ++v)
    if (g.value(v).kind == ValueKind::kResult) units[v] = {v};
  for (size_t i = 0; i < g.ops.size(); ++i) {
    const Op& op = g.ops[i];
    const auto place = [&](ValueId v) { return std::pair(plan.placements[v].offset, plan.placements[v].strides); };
    if (op.name() == "rope" && place(op.inputs[0]) == place(op.outputs[0])) units[op.outputs[0]] = units[op.inputs[0]];
    if (!plan.is_view[i]) continue;
    std::set<ValueId>& out = units[g.ops[i].outputs[0]];
    out.clear();
    for (const ValueId v : g.ops[i].inputs) out.insert(units[v].begin(), units[v].end());
  }
  return units;
}

}  // namespace

std::vector<std::string> faults_of(const Graph& graph, const MemoryPlan& plan) { return Machine(graph, plan).run(); }

int64_t needed_bytes(const Graph& g, const MemoryPlan& plan) {
  const auto units = storage_of(g, plan);
  const auto n = static_cast<int64_t>(g.ops.size());
  std::vector<int64_t> born(g.values.size(), -1), last(g.values.size(), -1);
  for (int64_t i = 0; i < n; ++i)
    for (const auto* side : {&g.ops[static_cast<size_t>(i)].outputs, &g.ops[static_cast<size_t>(i)].inputs})
      for (const ValueId v : *side)
        for (const ValueId u : units[v]) born[u] = born[u] < 0 ? i : born[u], last[u] = i;
  for (const auto& [name, v] : g.outputs)
    for (const ValueId u : units[v]) last[u] = n;
  std::vector<int64_t> change(static_cast<size_t>(2 * n + 3), 0);  // two moments per op: its inputs are there; its outputs are there
  for (ValueId u = 1; u < g.values.size(); ++u) {
    if (born[u] < 0) continue;
    const bool elementwise_reader = last[u] < n && kElementwise.contains(g.ops[static_cast<size_t>(last[u])].name());
    change[static_cast<size_t>(2 * born[u] + 1)] += bytes_of(g, u);
    change[static_cast<size_t>(2 * last[u] + (elementwise_reader && last[u] > born[u] ? 1 : 2))] -= bytes_of(g, u);
  }
  int64_t now = 0, most = 0;
  for (const int64_t c : change) most = std::max(most, now += c);
  return most;
}

}  // namespace nemo::passes::testing
