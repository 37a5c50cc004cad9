#include "core/passes/schedule.hpp"

#include <set>

namespace nemo::passes {

using namespace graph;

namespace {

class Scheduler {
 public:
  explicit Scheduler(Graph& graph) : graph_(graph) {}

  void run() {
    std::vector<Op> ops = std::move(graph_.ops);
    graph_.ops.clear();
    for (Op& op : ops) {
      if (disagrees(op))
        apart(std::move(op));
      else
        append(std::move(op));
    }
  }

 private:
  [[nodiscard]] bool is_buffer(ValueId v) const { return v != 0 && graph_.value(v).kind == ValueKind::kGradient; }

  // One flag serves all results of an op, so it must not write one buffer first and another one later.
  [[nodiscard]] bool disagrees(const Op& op) const {
    size_t buffers = 0, known = 0;
    for (const ValueId v : op.outputs) buffers += is_buffer(v), known += is_buffer(v) && written_.contains(v);
    return known != 0 && known != buffers;
  }

  void append(Op op) {
    op.stream = op.row->attribute("mesh") != nullptr && op.name() != "copy_to" ? 1 : 0;
    for (const ValueId v : op.outputs)
      if (is_buffer(v)) op.attrs["accumulate"] = int64_t{written_.insert(v).second ? 0 : 1};
    graph_.ops.push_back(std::move(op));
  }

  // The op writes values of its own, which further ops bring into the buffers.
  void apart(Op op) {
    std::vector<Op> writers;
    for (ValueId& v : op.outputs) {
      if (!is_buffer(v)) continue;
      const ValueId buffer = v;
      v = graph_.add_value({ValueKind::kResult, "", graph_.value(buffer).dtype, graph_.value(buffer).dims, {}});
      Op writer = make_op(graph_, {"accumulate_grad", {v}, {}, {buffer}}, op.scope);
      writer.block = op.block;
      writer.phase = op.phase;
      writers.push_back(std::move(writer));
    }
    append(std::move(op));
    for (Op& writer : writers) append(std::move(writer));
  }

  Graph& graph_;
  std::set<ValueId> written_;
};

}  // namespace

void schedule(Graph& graph) { Scheduler(graph).run(); }

}  // namespace nemo::passes
