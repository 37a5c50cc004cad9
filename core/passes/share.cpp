#include "core/passes/share.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace nemo::passes {

using namespace graph;

namespace {

constexpr size_t kKept = 2;  // a gathered unit is read by regions up to so many later

class Sharer {
 public:
  Sharer(Graph& graph, const FlatLayout& layout, const Plan& plan) : graph_(graph), layout_(layout), plan_(plan) {
    for (size_t i = 0; i < graph.ops.size(); ++i)
      if (i == 0 || graph.ops[i].block != graph.ops[i - 1].block) regions_.push_back(i);
  }

  void run() {
    before_.resize(graph_.ops.size() + 1);
    if (plan_.zero_stage() == 3) gather_parameters();
    collect_gradients();
    weave();
  }

 private:
  [[nodiscard]] size_t unit_of(uint32_t parameter) const {
    const auto after = std::upper_bound(layout_.units.begin(), layout_.units.end(), layout_.offset[parameter],
                                        [](int64_t at, const Unit& unit) { return at < unit.begin; });
    return static_cast<size_t>(after - layout_.units.begin()) - 1;
  }
  [[nodiscard]] int64_t length(size_t unit) const { return layout_.units[unit].end - layout_.units[unit].begin; }

  ValueId flat(ValueKind kind, size_t unit, DType dtype, int64_t elements, std::string name = {}) {
    Value value{kind, std::move(name), dtype, {{elements, "flat", {}}}, {}};
    if (kind == ValueKind::kParameter || kind == ValueKind::kGradient) value.home_offset = layout_.units[unit].begin / layout_.shards;
    return graph_.add_value(std::move(value));
  }

  // An op to be placed in front of op `at`.
  ValueId insert(size_t at, std::string_view name, std::vector<ValueId> inputs, Attrs attrs, ValueId output, size_t unit,
                 const char* what) {
    Op op = make_op(graph_, {name, std::move(inputs), std::move(attrs), {output}}, "unit." + std::to_string(unit) + "." + what);
    op.stream = op.row->attribute("mesh") != nullptr ? 1 : 0;
    op.phase = at < graph_.ops.size() ? graph_.ops[at].phase : graph_.ops.back().phase;
    before_[at].push_back(std::move(op));
    return output;
  }

  void gather_parameters() {
    for (size_t r = 0; r < regions_.size(); ++r) {
      const size_t end = r + 1 < regions_.size() ? regions_[r + 1] : graph_.ops.size();
      for (size_t i = regions_[r]; i < end; ++i)
        for (ValueId& v : graph_.ops[i].inputs)
          if (v != 0 && graph_.value(v).kind == ValueKind::kParameter) v = part_of_gathered(v, r);
    }
  }

  // Products fill a device's multiprocessors from their first moment to their last, so that a collective launched beside one starts when
  // it ends; attention gives way to it. In front of the region's attention where it has one and the collective is not needed before it,
  // else at its beginning.
  [[nodiscard]] size_t roomy_place(size_t region, size_t needed) const {
    const size_t begin = regions_[region];
    if (region == needed) return begin;
    const size_t end = region + 1 < regions_.size() ? regions_[region + 1] : graph_.ops.size();
    for (size_t i = begin; i < end; ++i)
      if (graph_.ops[i].name().starts_with("attention")) return i;
    return begin;
  }

  // Of the reduction of gradients whose last writer is op `last`: within the next region, or right behind.
  [[nodiscard]] size_t reduce_place(size_t last) const {
    const auto next = std::upper_bound(regions_.begin(), regions_.end(), last);
    if (next == regions_.end() || *next != last + 1) return last + 1;
    return roomy_place(static_cast<size_t>(next - regions_.begin()), SIZE_MAX);
  }

  struct Gathered {
    ValueId whole = 0;
    size_t region = 0;  // last to read it
    std::map<ValueId, ValueId> parts;
  };

  ValueId part_of_gathered(ValueId parameter, size_t region) {
    const size_t unit = unit_of(graph_.value(parameter).members[0]);
    Gathered& g = gathered_[unit];
    if (g.whole == 0 || (!plan_.keep_gathered && region > g.region + kKept)) {
      const DType dtype = graph_.value(parameter).dtype;
      const ValueId mine = flat(ValueKind::kParameter, unit, dtype, length(unit) / layout_.shards, "unit." + std::to_string(unit));
      const ValueId whole = flat(ValueKind::kResult, unit, dtype, length(unit));
      const auto ahead = static_cast<size_t>(plan_.prefetch);
      insert(roomy_place(region > ahead ? region - ahead : 0, region), "all_gather", {mine},
             {{"mesh", plan_.zero_axis()}, {"dim", int64_t{0}}}, whole, unit, "gather");
      g = {whole, region, {}};
    }
    g.region = region;
    ValueId& part = g.parts[parameter];
    if (part == 0) {
      Value copy = graph_.value(parameter);
      copy.home = g.whole;
      copy.home_offset = layout_.offset[copy.members[0]] - layout_.units[unit].begin;
      part = graph_.add_value(std::move(copy));
    }
    return part;
  }

  // Gradient buffers of a unit and the ops between which they are written.
  struct Writes {
    size_t first = 0, last = 0;
    std::set<ValueId> values;
  };

  void collect_gradients() {
    std::map<size_t, Writes> writes;
    for (size_t i = 0; i < graph_.ops.size(); ++i)
      for (const ValueId v : graph_.ops[i].outputs) {
        if (v == 0 || graph_.value(v).kind != ValueKind::kGradient) continue;
        const auto [at, fresh] = writes.try_emplace(unit_of(graph_.value(v).members[0]), Writes{i, i, {}});
        at->second.last = i;
        at->second.values.insert(v);
      }
    for (const auto& [unit, w] : writes) reduce_unit(unit, w);
  }

  void reduce_unit(size_t unit, const Writes& w) {
    const DType dtype = graph_.value(*w.values.begin()).dtype;
    const ValueId whole = flat(ValueKind::kScratch, unit, dtype, length(unit));
    std::map<int64_t, int64_t> written;  // begin -> end, within the unit
    for (const ValueId v : w.values) {
      Value& value = graph_.value(v);
      value.home = whole;
      value.home_offset = layout_.offset[value.members[0]] - layout_.units[unit].begin;
      written[value.home_offset] = value.home_offset + element_count(value.dims);
    }
    clear_gaps(unit, whole, dtype, written, w.first);
    const int64_t share = length(unit) / layout_.shards;
    const ValueId sum = flat(ValueKind::kResult, unit, dtype, share),
                  mine = flat(ValueKind::kGradient, unit, dtype, share, "grad:unit." + std::to_string(unit));
    const size_t place = reduce_place(w.last);
    insert(place, "reduce_scatter", {whole}, {{"mesh", plan_.zero_axis()}, {"dim", int64_t{0}}}, sum, unit, "reduce");
    insert(place, "accumulate_grad", {sum}, {{"accumulate", int64_t{0}}}, mine, unit, "reduce");
    before_[place].back().stream = 1;  // nothing else waits for the sum
  }

  // What no op writes counts in the norm all the same, so it must be zero.
  void clear_gaps(size_t unit, ValueId whole, DType dtype, const std::map<int64_t, int64_t>& written, size_t at) {
    int64_t end = 0;
    const auto clear = [&](int64_t begin) {
      if (begin <= end) return;
      Value gap{ValueKind::kResult, "", dtype, {{begin - end, "flat", {}}}, {}};
      gap.home = whole, gap.home_offset = end;
      insert(at, "zeros", {}, {}, graph_.add_value(std::move(gap)), unit, "reduce");
    };
    for (const auto& [begin, stop] : written) {
      clear(begin);
      end = std::max(end, stop);
    }
    clear(length(unit));
  }

  void weave() {
    std::vector<Op> ops;
    for (size_t i = 0; i <= graph_.ops.size(); ++i) {
      for (Op& op : before_[i]) ops.push_back(std::move(op));
      if (i < graph_.ops.size()) ops.push_back(std::move(graph_.ops[i]));
    }
    graph_.ops = std::move(ops);
  }

  Graph& graph_;
  const FlatLayout& layout_;
  const Plan& plan_;
  std::vector<size_t> regions_;          // first op of each
  std::vector<std::vector<Op>> before_;  // ops to be placed in front of each op
  std::map<size_t, Gathered> gathered_;  // by unit
};

}  // namespace

void share(Graph& graph, const FlatLayout& layout, const Plan& plan) {
  if (plan.zero_stage() < 2 || layout.shards == 1) return;
  Sharer(graph, layout, plan).run();
}

}  // namespace nemo::passes
