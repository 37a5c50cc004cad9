#include "core/passes/memory.hpp"

#include <algorithm>
#include <unordered_set>

#include "core/base/error.hpp"
#include "core/passes/arena.hpp"

namespace nemo::passes {

using namespace graph;

namespace {

// Ops whose kernels take any stride on all but the last dimension.
bool takes_strides(std::string_view op) {
  static const std::unordered_set<std::string_view> ops{"linear",
                                                        "linear_dgrad",
                                                        "linear_wgrad",
                                                        "linear_activation",
                                                        "linear_dgrad_activation",
                                                        "linear_wgrad_bias",
                                                        "bias_grad",
                                                        "rope",
                                                        "attention",
                                                        "attention_grad",
                                                        "glu",
                                                        "glu_grad",
                                                        "add",
                                                        "slice",
                                                        "concat",
                                                        "amax",
                                                        "quantize",
                                                        "linear_fp8",
                                                        "linear_dgrad_fp8",
                                                        "glu_amax",
                                                        "glu_grad_amax"};
  return ops.contains(op);
}

// Elementwise ops that may write over an input of the same size and dtype.
bool works_in_place(std::string_view op) {
  static const std::unordered_set<std::string_view> ops{
      "add", "mul", "scale", "activation_grad", "dropout", "softmax_grad", "all_reduce", "cross_entropy_grad", "cross_entropy_shard_grad"};
  return ops.contains(op);
}

class Planner {
 public:
  Planner(const Graph& graph, const FlatLayout& layout, StateLayout& state, const Phases* phases, const StreamPlan* streams)
      : graph_(graph),
        layout_(layout),
        state_(state),
        phases_(phases),
        streams_(streams),
        uses_(analyse_uses(graph)),
        root_(graph.values.size()),
        shift_(graph.values.size(), 0) {
    plan_.placements.resize(graph.values.size());
    plan_.is_view.resize(graph.ops.size(), false);
    for (size_t v = 0; v < root_.size(); ++v) root_[v] = static_cast<ValueId>(v);
  }

  MemoryPlan run() {
    for (size_t v = 1; v < graph_.values.size(); ++v) {
      plan_.placements[v].strides = contiguous_strides(graph_.values[v].dims);
      place_fixed(static_cast<ValueId>(v));
    }
    for (size_t i = graph_.ops.size(); i-- > 0;)
      if (graph_.ops[i].name() == "concat") try_concat(i);
    for (size_t i = graph_.ops.size(); i-- > 0;)
      if (graph_.ops[i].name() == "add") try_join_chunks(i);
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      if (graph_.ops[i].name() == "slice") try_slice(i);
      if (graph_.ops[i].name() == "take_chunks") try_take_chunks(i);
      if (graph_.ops[i].name() == "copy_to") try_same(i);
      if (graph_.ops[i].name() == "rope") try_turn_in_place(i);
    }
    measure_lifetimes();
    measure_holds();
    if (phases_ != nullptr) find_slotted();
    allocate();
    finish();
    return std::move(plan_);
  }

 private:
  [[nodiscard]] int64_t bytes(ValueId v) const { return element_count(graph_.value(v).dims) * size_of(graph_.value(v).dtype); }

  void place_fixed(ValueId v) {
    const Value& value = graph_.value(v);
    Placement& p = plan_.placements[v];
    if (value.home != 0) {
      root_[v] = value.home;
      shift_[v] = value.home_offset * size_of(value.dtype);
    } else if (value.kind == ValueKind::kParameter || value.kind == ValueKind::kGradient) {
      p.region = value.kind == ValueKind::kParameter ? Region::kParameters : Region::kGradients;
      p.offset = (value.members.empty() ? value.home_offset : layout_.offset[value.members[0]]) * size_of(value.dtype);
    } else if (value.kind == ValueKind::kInput) {
      if (phases_ != nullptr && phases_->value_chunk[v] >= 0) return;  // in the slot
      p.region = Region::kInputs;
      p.offset = plan_.input_bytes;
      plan_.input_bytes += (bytes(v) + 255) / 256 * 256;
    } else if (value.kind == ValueKind::kState) {
      p.region = Region::kState;
      p.offset = state_.place(value.name, bytes(v), value.dtype).offset;
    }
  }

  // Strides of a value that occupies some columns of `whole`: the leading dimensions step as in `whole`, the rest is contiguous.
  [[nodiscard]] std::vector<int64_t> column_strides(ValueId part, ValueId whole) const {
    std::vector<int64_t> strides = contiguous_strides(graph_.value(part).dims);
    const std::vector<int64_t>& outer = plan_.placements[whole].strides;
    std::copy(outer.begin(), outer.end() - 1, strides.begin());
    return strides;
  }

  // Chunks that will be views read what their source's memory is, and so must their own readers.
  [[nodiscard]] bool all_take_strides(const std::vector<int32_t>& ops) const {
    return std::all_of(ops.begin(), ops.end(), [&](int32_t i) {
      const Op& op = graph_.ops[i];
      if (op.name() == "take_chunks" && is_one_run(op) && !is_output(op.outputs[0])) return all_take_strides(uses_.readers[op.outputs[0]]);
      return takes_strides(op.name());
    });
  }

  [[nodiscard]] bool is_output(ValueId v) const {
    return std::any_of(graph_.outputs.begin(), graph_.outputs.end(), [&](const auto& o) { return o.second == v; });
  }

  void make_view(ValueId part, ValueId whole, int64_t elements) {
    plan_.placements[part].strides = column_strides(part, whole);
    root_[part] = whole;
    shift_[part] = elements * size_of(graph_.value(part).dtype);
  }

  // The inputs of a concat are written where its output wants them.
  void try_concat(size_t i) {
    const Op& op = graph_.ops[i];
    const ValueId whole = op.outputs[0];
    if (op.int_attr("dim") + 1 != static_cast<int64_t>(graph_.value(whole).dims.size())) return;
    for (const ValueId v : op.inputs) {
      if (v == 0) continue;
      const int32_t p = uses_.producer[v];
      if (p < 0 || graph_.value(v).kind != ValueKind::kResult || root_[v] != v || uses_.readers[v].size() != 1 || is_output(v)) return;
      if (!takes_strides(graph_.ops[p].name()) || graph_.ops[p].name() == "slice" || graph_.ops[p].name() == "concat") return;
    }
    int64_t start = 0;
    const size_t rank = graph_.value(whole).dims.size();
    for (const ValueId v : op.inputs) {
      if (v == 0) continue;
      make_view(v, whole, start);
      const Dims& dims = graph_.value(v).dims;
      start += element_count(Dims(dims.begin() + static_cast<int64_t>(rank) - 1, dims.end()));
    }
    plan_.is_view[i] = true;
  }

  void try_slice(size_t i) {
    const Op& op = graph_.ops[i];
    const ValueId part = op.outputs[0], whole = op.inputs[0];
    if (root_[part] != part || is_output(part) || !all_take_strides(uses_.readers[part])) return;
    if (op.int_attr("dim") + 1 != static_cast<int64_t>(graph_.value(whole).dims.size())) return;
    make_view(part, whole, op.int_attr("start"));
    plan_.is_view[i] = true;
  }

  // The chunks that take_chunks takes or put_chunks puts.
  [[nodiscard]] static std::vector<int64_t> chunks_of(const Op& op) {
    const auto& take = std::get<std::vector<double>>(op.attrs.at("take"));
    return {take.begin(), take.end()};
  }

  // Whether they are neighbours, so that they are one range of dimension 1.
  [[nodiscard]] static bool is_one_run(const Op& op) {
    const std::vector<int64_t> chosen = chunks_of(op);
    for (size_t i = 1; i < chosen.size(); ++i)
      if (chosen[i] != chosen[i - 1] + 1) return false;
    return !chosen.empty();
  }

  // `part` is a range of positions of `whole`, from chunk `first` of `chunks` on.
  void make_range(ValueId part, ValueId whole, int64_t first, int64_t chunks) {
    const Dims& dims = graph_.value(whole).dims;
    plan_.placements[part].strides = plan_.placements[whole].strides;
    root_[part] = whole;
    shift_[part] = dims[1].size / chunks * first * plan_.placements[whole].strides[1] * size_of(graph_.value(part).dtype);
  }

  void try_take_chunks(size_t i) {
    const Op& op = graph_.ops[i];
    const ValueId part = op.outputs[0], whole = op.inputs[0];
    if (root_[part] != part || is_output(part) || !is_one_run(op) || !all_take_strides(uses_.readers[part])) return;
    make_range(part, whole, chunks_of(op)[0], op.int_attr("chunks"));
    plan_.is_view[i] = true;
  }

  // Chunks put side by side by adding them up are written where the sum wants them.
  void try_join_chunks(size_t i) {
    const Op& op = graph_.ops[i];
    const ValueId whole = op.outputs[0];
    std::vector<bool> covered;
    for (const ValueId padded : op.inputs) {
      const int32_t p = padded == 0 ? -1 : uses_.producer[padded];
      if (p < 0 || graph_.ops[p].name() != "put_chunks" || !is_one_run(graph_.ops[p]) || uses_.readers[padded].size() != 1 ||
          is_output(padded) || !may_be_written_elsewhere(graph_.ops[p].inputs[0]))
        return;
      covered.resize(static_cast<size_t>(graph_.ops[p].int_attr("chunks")), false);
      for (const int64_t chunk : chunks_of(graph_.ops[p])) {
        if (covered[static_cast<size_t>(chunk)]) return;
        covered[static_cast<size_t>(chunk)] = true;
      }
    }
    if (std::find(covered.begin(), covered.end(), false) != covered.end()) return;
    for (const ValueId padded : op.inputs) {
      const Op& put = graph_.ops[uses_.producer[padded]];
      make_range(padded, whole, 0, 1);
      make_range(put.inputs[0], whole, chunks_of(put)[0], put.int_attr("chunks"));
      plan_.is_view[uses_.producer[padded]] = true;
    }
    plan_.is_view[i] = true;
  }

  // A result that nothing has placed yet, whose producer writes and whose readers read it at any strides.
  [[nodiscard]] bool may_be_written_elsewhere(ValueId v) const {
    const int32_t p = uses_.producer[v];
    if (p < 0 || graph_.value(v).kind != ValueKind::kResult || root_[v] != v || is_output(v)) return false;
    const std::string_view name = graph_.ops[p].name();
    if (!takes_strides(name) || name == "slice" || name == "concat") return false;
    const auto& readers = uses_.readers[v];
    const auto strided = std::count_if(readers.begin(), readers.end(), [&](int32_t r) { return takes_strides(graph_.ops[r].name()); });
    return strided + 1 == static_cast<std::ptrdiff_t>(readers.size());  // and the one that puts it
  }

  // The output is the input under another name.
  void try_same(size_t i) {
    const ValueId out = graph_.ops[i].outputs[0], in = graph_.ops[i].inputs[0];
    const auto& strides = plan_.placements[in].strides;
    const bool contiguous = strides == contiguous_strides(graph_.value(in).dims);
    if (root_[out] != out || is_output(out) || (!contiguous && !all_take_strides(uses_.readers[out]))) return;
    plan_.placements[out].strides = strides;
    root_[out] = in;
    plan_.is_view[i] = true;
  }

  // Queries and keys are turned where the product of their group left them: what lies beside them (values) is kept for the backward region,
  // which would keep the unturned ones as well. Nobody else may read these columns.
  void try_turn_in_place(size_t i) {
    const ValueId in = graph_.ops[i].inputs[0], out = graph_.ops[i].outputs[0], whole = root_[in];
    if (whole == in || root_[whole] != whole || root_[out] != out || is_output(out) || is_output(whole)) return;
    if (graph_.value(whole).kind != ValueKind::kResult || uses_.readers[in].size() != 1 || !all_take_strides(uses_.readers[out])) return;
    const int32_t cut = uses_.producer[in];
    if (graph_.ops[cut].name() != "slice" || graph_.ops[cut].inputs[0] != whole) return;
    const auto columns = [&](int32_t op) {
      return std::pair(graph_.ops[op].int_attr("start"), graph_.ops[op].int_attr("start") + graph_.ops[op].int_attr("length"));
    };
    const auto [begin, end] = columns(cut);
    for (const int32_t reader : uses_.readers[whole]) {
      if (graph_.ops[reader].name() != "slice" || !plan_.is_view[reader]) return;
      if (const auto [from, to] = columns(reader); reader != cut && from < end && begin < to) return;
    }
    plan_.placements[out].strides = plan_.placements[in].strides;
    root_[out] = in;
  }

  [[nodiscard]] ValueId root(ValueId v) const {
    while (root_[v] != v) v = root_[v];
    return v;
  }

  void touch(ValueId v, int32_t at) {
    if (v == 0) return;
    const ValueId r = root(v);
    if (first_[r] < 0) first_[r] = at;
    last_[r] = std::max(last_[r], at);
  }

  void measure_lifetimes() {
    first_.assign(graph_.values.size(), -1);
    last_.assign(graph_.values.size(), -1);
    const auto end = static_cast<int32_t>(graph_.ops.size());
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      for (const ValueId v : graph_.ops[i].outputs) touch(v, static_cast<int32_t>(i));
      for (const ValueId v : graph_.ops[i].inputs) touch(v, runs_last(i) ? end : static_cast<int32_t>(i));
    }
    for (const auto& [name, v] : graph_.outputs) touch(v, end);
    for (const Op& op : graph_.ops)
      if (op.once_per_step)
        for (const ValueId v : op.outputs) touch(v, 0), touch(v, end), first_[root(v)] = 0;
    if (phases_ == nullptr) return;
    for (ValueId v = 1; v < graph_.values.size(); ++v)  // filled before the micro-batch's first phase
      if (graph_.value(v).kind == ValueKind::kInput && phases_->value_chunk[v] >= 0) first_[v] = 0, last_[v] = end;
  }

  // An op of stream 1 may still run while those of stream 0 behind it do, up to the one that waits for it.
  void measure_holds() {
    held_ = last_;
    if (streams_ == nullptr) return;
    for (size_t i = 0; i < graph_.ops.size(); ++i)
      for (const auto* list : {&graph_.ops[i].inputs, &graph_.ops[i].outputs})
        for (const ValueId v : *list)
          if (v != 0) held_[root(v)] = std::max(held_[root(v)], streams_->joined[i]);
  }
  [[nodiscard]] bool beside(size_t op) const { return streams_ != nullptr && streams_->stream[op] == 1; }

  // The weight gradients of a phase of their own run when everything else of the micro-batch is done.
  [[nodiscard]] bool runs_last(size_t op) const { return phases_ != nullptr && phases_->phase[op] == StagePhase::kBackwardWeight; }

  // Roots that more than one phase, or the world outside the programs, touches.
  void find_slotted() {
    slotted_.assign(graph_.values.size(), false);
    std::vector<int8_t> phase(graph_.values.size(), -1);
    for (size_t i = 0; i < graph_.ops.size(); ++i)
      for (const auto* list : {&graph_.ops[i].inputs, &graph_.ops[i].outputs})
        for (const ValueId v : *list) {
          if (v == 0) continue;
          int8_t& seen = phase[root(v)];
          const auto now = static_cast<int8_t>(phases_->phase[i]);
          if (seen >= 0 && seen != now) slotted_[root(v)] = true;
          seen = now;
        }
    for (const auto& [name, v] : graph_.outputs) slotted_[root(v)] = true;
    for (const Op& op : graph_.ops)
      if (op.once_per_step)
        for (const ValueId v : op.outputs) slotted_[root(v)] = false;  // one for all micro-batches
    for (ValueId v = 1; v < graph_.values.size(); ++v)
      if (graph_.value(v).kind == ValueKind::kInput) slotted_[v] = phases_->value_chunk[v] >= 0;
  }

  [[nodiscard]] bool is_temporary(ValueId v) const {
    return graph_.value(v).kind == ValueKind::kResult || graph_.value(v).kind == ValueKind::kScratch;
  }
  [[nodiscard]] bool slotted(ValueId r) const { return !slotted_.empty() && slotted_[r]; }
  [[nodiscard]] bool in_arena(ValueId r) const {
    return first_[r] >= 0 && (is_temporary(r) || (slotted(r) && graph_.value(r).kind == ValueKind::kInput));
  }

  // An input of op i that dies here and has the output's size and no views: the output takes its memory over.
  void reuse_dying_input(size_t i, const std::vector<bool>& has_views) {
    const Op& op = graph_.ops[i];
    if (!works_in_place(op.name())) return;
    const ValueId out = op.outputs[0];
    if (root_[out] != out || has_views[out] || first_[out] != static_cast<int32_t>(i)) return;
    for (const ValueId v : op.inputs) {
      if (v == 0 || root_[v] != v || has_views[v] || !in_arena(v)) continue;
      if (slotted(v) != slotted(out) || last_[taken_over(v)] != static_cast<int32_t>(i) || bytes(v) != bytes(out) ||
          graph_.value(v).dtype != graph_.value(out).dtype)
        continue;
      if (!beside(i) && held_[taken_over(v)] > static_cast<int32_t>(i)) continue;  // ops of stream 1 follow each other
      over_[out] = taken_over(v);
      last_[taken_over(v)] = last_[out];
      held_[taken_over(v)] = std::max(held_[taken_over(v)], held_[out]);
      return;
    }
  }

  // What a stage sent is needed no more when its gradient comes back, unless the backward region reads it.
  void give_to_gradient(ValueId sent, ValueId gradient) {
    if (gradient == 0 || root_[sent] != sent || graph_.value(sent).kind != ValueKind::kResult || bytes(sent) != bytes(gradient)) return;
    if (root_[gradient] != gradient || over_[sent] != 0) return;
    for (size_t i = 0; i < graph_.ops.size(); ++i)
      if (phases_->phase[i] != StagePhase::kForward)
        for (const ValueId v : graph_.ops[i].inputs)
          if (v != 0 && taken_over(root(v)) == sent) return;
    over_[gradient] = sent;
  }

  [[nodiscard]] ValueId taken_over(ValueId v) const { return over_[v] == 0 ? v : over_[v]; }

  void allocate() {
    over_.assign(graph_.values.size(), 0);
    std::vector<bool> has_views(graph_.values.size(), false);
    for (size_t v = 1; v < root_.size(); ++v)
      if (root_[v] != v) has_views[root_[v]] = true;
    for (size_t i = 0; i < graph_.ops.size(); ++i) reuse_dying_input(i, has_views);
    if (phases_ != nullptr)
      for (const auto& [name, v] : graph_.outputs)
        if (name.starts_with("send.")) give_to_gradient(v, graph_.find_input("grad." + name));

    std::vector<std::vector<ValueId>> born(graph_.ops.size() + 1), dying(graph_.ops.size() + 1);
    for (ValueId v = 1; v < graph_.values.size(); ++v)
      if (root_[v] == v && in_arena(v) && over_[v] == 0) born[first_[v]].push_back(v), dying[held_[v]].push_back(v);
    Arena arena;
    std::vector<Arena> slots(chunks());
    const auto arena_of = [&](ValueId v) -> Arena& { return slotted(v) ? slots[static_cast<size_t>(phases_->value_chunk[v])] : arena; };
    int64_t peak = -1;
    size_t peak_at = 0;
    for (size_t i = 0; i <= graph_.ops.size(); ++i) {
      for (const ValueId v : born[i]) plan_.placements[v].offset = arena_of(v).allocate(bytes(v));
      if (arena.in_use() > peak) peak = arena.in_use(), peak_at = i;
      for (const ValueId v : dying[i]) arena_of(v).release(plan_.placements[v].offset, bytes(v));
    }
    for (const Arena& slot : slots) plan_.slot_bytes.push_back(slot.size());
    plan_.arena_bytes = arena.size();
    describe_peak(static_cast<int32_t>(peak_at));
  }

  [[nodiscard]] size_t chunks() const {
    if (phases_ == nullptr) return 0;
    return static_cast<size_t>(1 + *std::max_element(phases_->value_chunk.begin(), phases_->value_chunk.end()));
  }

  void describe_peak(int32_t at) {
    for (ValueId v = 1; v < graph_.values.size(); ++v) {
      if (root_[v] != v || !in_arena(v) || over_[v] != 0 || first_[v] > at || held_[v] < at) continue;
      if (slotted(v)) continue;
      // A buffer that others are parts of has no producer: its first writer stands for it.
      const int32_t producer =
          uses_.producer[v] >= 0 ? uses_.producer[v] : std::min(first_[v], static_cast<int32_t>(graph_.ops.size()) - 1);
      const Op& op = graph_.ops[static_cast<size_t>(producer)];
      plan_.at_peak.push_back({op.scope, op.row->name, bytes(v)});
    }
    std::stable_sort(plan_.at_peak.begin(), plan_.at_peak.end(),
                     [](const LiveBuffer& a, const LiveBuffer& b) { return a.bytes > b.bytes; });
    if (plan_.at_peak.size() > 10) plan_.at_peak.resize(10);
  }

  void finish() {
    for (ValueId v = 1; v < graph_.values.size(); ++v) {
      if (graph_.value(v).kind == ValueKind::kInput && slotted(v)) plan_.placements[v].region = Region::kSlot;
      if (!is_temporary(v) && graph_.value(v).home == 0) continue;
      int64_t shift = 0;
      ValueId r = v;
      for (; root_[r] != r; r = root_[r]) shift += shift_[r];
      const Placement& base = plan_.placements[taken_over(r)];
      plan_.placements[v].region = slotted(r) ? Region::kSlot : is_temporary(r) ? Region::kArena : base.region;
      plan_.placements[v].offset = base.offset + shift;
    }
    for (ValueId v = 1; v < graph_.values.size(); ++v)  // takers-over of a buffer that was itself placed above
      if (over_[v] != 0) plan_.placements[v].offset = plan_.placements[over_[v]].offset;
  }

  const Graph& graph_;
  const FlatLayout& layout_;
  StateLayout& state_;
  const Phases* phases_;       // null: one program
  const StreamPlan* streams_;  // null: one stream
  const Uses uses_;
  std::vector<ValueId> root_;          // the value whose memory this one is part of; itself if it has its own
  std::vector<int64_t> shift_;         // bytes into that value
  std::vector<ValueId> over_;          // the value whose buffer this one takes over in place; 0 = none
  std::vector<int32_t> first_, last_;  // by root: ops that touch it
  std::vector<int32_t> held_;          // by root: the op up to which its memory is not free
  std::vector<bool> slotted_;          // by root; empty without phases
  MemoryPlan plan_;
};

}  // namespace

std::vector<int64_t> contiguous_strides(const Dims& dims) {
  std::vector<int64_t> strides(dims.size(), 1);
  for (size_t d = dims.size(); d-- > 1;) strides[d - 1] = strides[d] * dims[d].size;
  return strides;
}

const StateLayout::Entry& StateLayout::place(const std::string& name, int64_t bytes_wanted, DType dtype) {
  const auto [found, fresh] = entries.try_emplace(name, Entry{bytes, bytes_wanted, dtype});
  if (fresh) bytes += (bytes_wanted + 255) / 256 * 256;
  if (found->second.bytes != bytes_wanted)
    throw Error(Code::kInternal, "state '" + name + "' has " + std::to_string(bytes_wanted) + " bytes in one program and " +
                                     std::to_string(found->second.bytes) + " in another");
  return found->second;
}

MemoryPlan plan_memory(const Graph& graph, const FlatLayout& layout, StateLayout& state, const Phases* phases, const StreamPlan* streams) {
  return Planner(graph, layout, state, phases, streams).run();
}

}  // namespace nemo::passes
