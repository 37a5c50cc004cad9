#include "core/passes/layout.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <tuple>

namespace nemo::passes {

using namespace graph;

namespace {

constexpr int64_t kAlignment = 64;  // elements: 128 bytes or more in every dtype of parameters

int64_t align(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Parameters that must touch, in order; most have one member.
struct Cluster {
  std::vector<uint32_t> members;
  int32_t block;
  bool trainable, decay;
  std::vector<std::string> partial, split;
  bool counts;
  [[nodiscard]] auto key() const { return std::tie(trainable, block, decay, partial, split, counts); }
};

std::vector<std::string> split_axes(const Parameter& p) {
  std::vector<std::string> axes;
  for (const Dim& d : p.dims) axes.insert(axes.end(), d.mesh.begin(), d.mesh.end());
  std::sort(axes.begin(), axes.end());
  return axes;
}

constexpr int32_t kTail = INT32_MAX;

// By parameter: its block, or kTail for those outside blocks that no op reads before the blocks begin.
std::vector<int32_t> blocks_of(const Graph& graph, bool tail_apart) {
  std::vector<int32_t> blocks;
  for (const Parameter& p : graph.parameters) blocks.push_back(tail_apart && p.block < 0 ? kTail : p.block);
  for (const Op& op : graph.ops) {
    if (op.block >= 0) break;
    for (const ValueId v : op.inputs)
      for (const uint32_t m : graph.value(v).members)
        if (blocks[m] == kTail) blocks[m] = -1;
  }
  return blocks;
}

std::vector<Cluster> clusters_of(const Graph& graph, bool tail_apart) {
  const std::vector<int32_t> blocks = blocks_of(graph, tail_apart);
  std::vector<int32_t> group(graph.parameters.size(), -1);
  std::vector<Cluster> clusters;
  const auto add = [&](std::vector<uint32_t> members) {
    const Parameter& p = graph.parameters[members[0]];
    const int32_t block = blocks[members[0]];
    for (const uint32_t m : members) group[m] = static_cast<int32_t>(clusters.size());
    clusters.push_back({std::move(members), block, p.trainable, p.decay, p.gradient_partial, split_axes(p), !p.counted_elsewhere});
  };
  for (const Value& v : graph.values)
    if (v.kind == ValueKind::kParameter && v.members.size() > 1) add(v.members);
  for (uint32_t p = 0; p < graph.parameters.size(); ++p)
    if (group[p] < 0) add({p});
  std::stable_sort(clusters.begin(), clusters.end(), [](const Cluster& a, const Cluster& b) {
    return std::make_tuple(!a.trainable, a.block, !a.decay, std::cref(a.partial), std::cref(a.split), !a.counts, a.members[0]) <
           std::make_tuple(!b.trainable, b.block, !b.decay, std::cref(b.partial), std::cref(b.split), !b.counts, b.members[0]);
  });
  return clusters;
}

class Layouter {
 public:
  explicit Layouter(const LayoutOptions& options) : options_(options) { out_.shards = options.shards; }

  FlatLayout run(const Graph& graph) {
    out_.offset.resize(graph.parameters.size());
    const std::vector<Cluster> clusters = clusters_of(graph, options_.tail_apart);
    for (size_t i = 0; i < clusters.size(); ++i) {
      const bool starts_block = i > 0 && (clusters[i].block != clusters[i - 1].block || clusters[i].trainable != clusters[i - 1].trainable);
      if (starts_block && (at_ - unit_ >= options_.unit_elements || clusters[i].trainable != clusters[i - 1].trainable)) close_unit();
      place(graph, clusters[i]);
    }
    close_unit();
    out_.total = at_;
    return std::move(out_);
  }

 private:
  void place(const Graph& graph, const Cluster& c) {
    const int64_t begin = at_;
    for (const uint32_t m : c.members) {
      out_.offset[m] = at_;
      at_ += element_count(graph.parameters[m].dims);
    }
    at_ = align(at_, kAlignment);
    if (!c.trainable) return;
    out_.trainable = at_;
    if (last_ != nullptr && last_->key() == c.key() && out_.segments.back().end == begin)
      out_.segments.back().end = at_;
    else
      out_.segments.push_back({begin, at_, c.decay, c.block == kTail ? -1 : c.block, c.partial, c.split, c.counts});
    last_ = &c;
  }

  void close_unit() {
    if (at_ == unit_) return;
    const bool trainable = out_.trainable == at_;
    at_ = align(at_ - unit_, kAlignment * options_.shards) + unit_;
    if (trainable) out_.trainable = at_;
    out_.units.push_back({unit_, at_});
    unit_ = at_;
  }

  const LayoutOptions& options_;
  FlatLayout out_;
  int64_t at_ = 0, unit_ = 0;      // end of what is placed, begin of the unit at hand
  const Cluster* last_ = nullptr;  // of the last segment
};

}  // namespace

FlatLayout layout(const Graph& graph, const LayoutOptions& options) { return Layouter(options).run(graph); }

}  // namespace nemo::passes
