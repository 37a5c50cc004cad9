// Generation's attention against that of whole sequences.
#include <gtest/gtest.h>

#include "tests/backend_cpu/device.hpp"

namespace nemo::backend_cpu {
namespace {

constexpr nemo_dtype F64 = NEMO_DTYPE_F64, F32 = NEMO_DTYPE_F32, I32 = NEMO_DTYPE_I32;
constexpr int64_t kBatch = 2, kTokens = 21, kHeads = 6, kGroups = 2, kHead = 12, kWide = 20;

// Positions [begin, end) of a [batch, tokens, heads, width] array.
Array part(const Array& whole, int64_t begin, int64_t end) {
  Array out(whole.dtype(), {whole.shape()[0], end - begin, whole.shape()[2], whole.shape()[3]});
  const int64_t row = whole.shape()[2] * whole.shape()[3];
  for (int64_t b = 0; b < whole.shape()[0]; ++b)
    for (int64_t i = 0; i < (end - begin) * row; ++i)
      out.set(b * (end - begin) * row + i, whole.get((b * whole.shape()[1] + begin) * row + i));
  return out;
}

class CachedAttention : public ::testing::TestWithParam<Attrs> {};

void expect_same_in_pieces(const Attrs& attrs, const Array& sinks) {
  const Array q = normal_array(F64, {kBatch, kTokens, kHeads, kHead}, 1), k = normal_array(F64, {kBatch, kTokens, kGroups, kHead}, 2),
              v = normal_array(F64, {kBatch, kTokens, kGroups, kWide}, 3);
  const Shape out{kBatch, kTokens, kHeads, kWide};
  const Array whole = device().apply("attention", {q, k, v, {}, sinks}, {Array(F64, out), Array(F64, {kBatch, kHeads, kTokens})}, attrs)[0];
  for (const std::vector<int64_t>& cuts : std::vector<std::vector<int64_t>>{{0, 21}, {0, 8, 16, 21}, {0, 7, 8, 9, 20, 21}}) {
    Arrays k_cache{normal_array(F64, {kBatch, 32, kGroups, kHead}, 4)}, v_cache{normal_array(F64, {kBatch, 32, kGroups, kWide}, 5)};
    for (size_t c = 0; c + 1 < cuts.size(); ++c) {
      const int64_t begin = cuts[c], end = cuts[c + 1];
      const Array start(I32, {kBatch}, {double(begin), double(begin)});
      device().run("cache_write", {part(k, begin, end), start}, k_cache);
      device().run("cache_write", {part(v, begin, end), start}, v_cache);
      const Array got = device().apply("attention_cached", {part(q, begin, end), k_cache[0], v_cache[0], start, sinks},
                                       {Array(F64, {kBatch, end - begin, kHeads, kWide})}, attrs)[0];
      const Array want = part(whole, begin, end);
      for (int64_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got.get(i), want.get(i), 1e-12) << begin << " " << i;
    }
  }
}

TEST_P(CachedAttention, equals_attention_of_the_whole_however_the_tokens_are_cut) { expect_same_in_pieces(GetParam(), {}); }

TEST_P(CachedAttention, with_sinks_equals_attention_of_the_whole) { expect_same_in_pieces(GetParam(), normal_array(F64, {kHeads}, 6)); }

INSTANTIATE_TEST_SUITE_P(, CachedAttention,
                         ::testing::Values(Attrs{{"scale", 0.3}}, Attrs{{"scale", 0.3}, {"window", 5}},
                                           Attrs{{"scale", 0.3}, {"softcap", 2.0}, {"window", 9}},
                                           Attrs{{"scale", 0.3}, {"alibi", int64_t{12}}, {"alibi_first", int64_t{3}}, {"window", 9}}));

// The bias of whole sequences is relative_bias of the table; the cached form looks it up by distance.
TEST(CachedTable, of_distances_equals_attention_with_its_bias) {
  const Array q = normal_array(F64, {kBatch, kTokens, kHeads, kHead}, 1), k = normal_array(F64, {kBatch, kTokens, kGroups, kHead}, 2),
              v = normal_array(F64, {kBatch, kTokens, kGroups, kWide}, 3), table = normal_array(F64, {8, kHeads}, 7);
  for (const int64_t both_ways : {0, 1}) {
    const Attrs buckets{{"bidirectional", both_ways}, {"max_distance", int64_t{12}}};
    Attrs of_bias = buckets;
    of_bias.push_back({"s", kTokens});
    of_bias.push_back({"t", kTokens});
    const Array bias = device().apply("relative_bias", {table}, {Array(F64, {kHeads, kTokens, kTokens})}, of_bias)[0];
    const Array whole =
        device().apply("attention", {q, k, v, {}, {}, bias},
                       {Array(F64, {kBatch, kTokens, kHeads, kWide}), Array(F64, {kBatch, kHeads, kTokens})}, {{"scale", 1.0}})[0];
    Attrs attrs = buckets;
    attrs.push_back({"scale", 1.0});
    Arrays k_cache{normal_array(F64, {kBatch, 32, kGroups, kHead}, 4)}, v_cache{normal_array(F64, {kBatch, 32, kGroups, kWide}, 5)};
    for (int64_t begin = 0; begin < kTokens; begin += 4) {
      const int64_t end = std::min(begin + 4, kTokens);
      const Array start(I32, {kBatch}, {double(begin), double(begin)});
      device().run("cache_write", {part(k, begin, end), start}, k_cache);
      device().run("cache_write", {part(v, begin, end), start}, v_cache);
      const Array got = device().apply("attention_cached", {part(q, begin, end), k_cache[0], v_cache[0], start, {}, table},
                                       {Array(F64, {kBatch, end - begin, kHeads, kWide})}, attrs)[0];
      const Array want = part(whole, begin, end);
      for (int64_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got.get(i), want.get(i), 1e-12) << begin << " " << i;
    }
  }
}

TEST(CacheWrite, drops_what_lies_behind_the_end) {
  Arrays cache{Array(F32, {1, 4, 1, 1}, {1, 2, 3, 4})};
  device().run("cache_write", {Array(F32, {1, 3, 1, 1}, {7, 8, 9}), Array(I32, {1}, {2})}, cache);
  EXPECT_EQ(cache[0].values(), (std::vector<double>{1, 2, 7, 8}));
}

}  // namespace
}  // namespace nemo::backend_cpu
