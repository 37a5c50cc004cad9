#include "numpy_random.hpp"

#include <numeric>

#include "tests/data/golden.hpp"

namespace nemo::megatron {
namespace {

TEST(NumpyRandom, raw_words_shuffles_and_permutations_are_those_of_numpy) {
  const auto cases = golden_json("random/random_state.json");
  ASSERT_GT(cases.size(), 1u);
  for (const auto& c : cases) {
    const auto seed = c["seed"].get<uint32_t>();
    NumpyRandom raw(seed);
    for (const auto& word : c["raw_uint32"]) ASSERT_EQ(raw.next_u32(), word.get<uint32_t>()) << seed;
    NumpyRandom shuffles(seed);
    for (const auto& expected : c["shuffles"]) {
      std::vector<int64_t> x(expected.size());
      std::iota(x.begin(), x.end(), 0);
      shuffles.shuffle(std::span<int64_t>(x));
      ASSERT_EQ(x, expected.get<std::vector<int64_t>>()) << seed << " n=" << expected.size();
    }
    NumpyRandom permutation(seed);
    std::vector<int> x(20);
    std::iota(x.begin(), x.end(), 0);
    permutation.shuffle(std::span<int>(x));
    ASSERT_EQ(x, c["permutation_20"].get<std::vector<int>>()) << seed;
  }
}

TEST(NumpyRandom, an_interval_above_32_bits_takes_two_words_high_first) {
  NumpyRandom a(5), b(5);
  const uint64_t max = (uint64_t{1} << 40) - 1;
  const uint64_t high = b.next_u32(), low = b.next_u32();
  EXPECT_EQ(a.interval(max), (high << 32 | low) & max);
  EXPECT_EQ(a.interval(0), 0u);
  EXPECT_EQ(a.next_u32(), b.next_u32()) << "an interval of one value takes no word";
}

}  // namespace
}  // namespace nemo::megatron
