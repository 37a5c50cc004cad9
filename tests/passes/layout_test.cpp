// Where parameters lie.
#include "core/passes/layout.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/passes/group.hpp"
#include "tests/passes/draft.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes {
namespace {

using graph::Graph;
using testing::Draft;
using testing::Use;

// Grouped Llama with every third parameter frozen and norms undecayed.
Graph mixed() {
  Graph g = testing::llama({.layers = 3});
  for (size_t p = 0; p < g.parameters.size(); ++p) {
    g.parameters[p].decay = g.parameters[p].name.find("norm") == std::string::npos;
    g.parameters[p].trainable = p % 7 != 3;
  }
  group(g);
  return g;
}

std::vector<uint32_t> by_offset(const Graph& g, const FlatLayout& flat) {
  std::vector<uint32_t> order(g.parameters.size());
  for (uint32_t p = 0; p < order.size(); ++p) order[p] = p;
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return flat.offset[a] < flat.offset[b]; });
  return order;
}

TEST(Layout, parameters_are_disjoint_and_within_the_buffer) {
  const Graph g = mixed();
  const FlatLayout flat = layout(g);
  int64_t end = 0;
  for (const uint32_t p : by_offset(g, flat)) {
    EXPECT_GE(flat.offset[p], end) << g.parameters[p].name;
    end = flat.offset[p] + element_count(g.parameters[p].dims);
  }
  EXPECT_LE(end, flat.total);
}

TEST(Layout, members_of_a_group_touch) {
  const Graph g = mixed();
  const FlatLayout flat = layout(g);
  int64_t groups = 0;
  for (const graph::Value& v : g.values) {
    if (v.kind != graph::ValueKind::kParameter || v.members.size() < 2) continue;
    ++groups;
    for (size_t m = 1; m < v.members.size(); ++m)
      EXPECT_EQ(flat.offset[v.members[m]], flat.offset[v.members[m - 1]] + element_count(g.parameters[v.members[m - 1]].dims)) << v.name;
  }
  EXPECT_GT(groups, 2);
}

TEST(Layout, blocks_are_contiguous_decay_comes_first_and_frozen_last) {
  const Graph g = mixed();
  const FlatLayout flat = layout(g);
  const graph::Parameter* last = nullptr;
  for (const uint32_t p : by_offset(g, flat)) {
    const graph::Parameter& now = g.parameters[p];
    EXPECT_EQ(now.trainable, flat.offset[p] < flat.trainable) << now.name;
    if (last != nullptr && last->trainable == now.trainable) {
      EXPECT_LE(last->block, now.block) << now.name;
      EXPECT_TRUE(last->block != now.block || last->decay || !now.decay) << now.name;
    }
    last = &now;
  }
}

TEST(Layout, segments_cover_the_trainable_range_once_and_agree_with_their_parameters) {
  const Graph g = mixed();
  const FlatLayout flat = layout(g);
  int64_t at = 0;
  for (const Segment& s : flat.segments) {
    EXPECT_EQ(s.begin, at);
    EXPECT_LT(s.begin, s.end);
    at = s.end;
    for (uint32_t p = 0; p < g.parameters.size(); ++p)
      if (flat.offset[p] >= s.begin && flat.offset[p] < s.end) {
        EXPECT_EQ(g.parameters[p].decay, s.decay);
        EXPECT_EQ(g.parameters[p].block, s.block);
        EXPECT_TRUE(g.parameters[p].trainable);
      }
  }
  EXPECT_EQ(at, flat.trainable);
}

TEST(Layout, starts_are_aligned_for_vector_loads) {
  const Graph g = testing::gpt();
  const FlatLayout flat = layout(g);
  for (const int64_t offset : flat.offset) EXPECT_EQ(offset % 64, 0);
  EXPECT_EQ(flat.total % 64, 0);
}

TEST(Layout, of_an_empty_and_of_a_frozen_model) {
  EXPECT_EQ(layout(Graph{}).total, 0);
  Draft d;
  d.weight("w", {{5, "embed", {}}}, Use::kFrozen);
  const FlatLayout flat = layout(d.graph);
  EXPECT_EQ(flat.trainable, 0);
  EXPECT_TRUE(flat.segments.empty());
  EXPECT_GE(flat.total, 5);
}

}  // namespace
}  // namespace nemo::passes
