#include "core/runtime/initialize.hpp"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "core/runtime/philox.hpp"

namespace nemo::runtime {
namespace {

using graph::Init;

TEST(Philox, known_answers_of_the_random123_distribution) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Initialize, any_part_has_the_values_of_the_whole) {
  const Init normal{Init::Kind::kNormal, 0, 0.02};
  std::vector<float> whole(1001);
  initialize(whole, 0, "w", normal, 5);
  for (const int64_t first : {1, 2, 3, 4, 7, 500, 999}) {
    std::vector<float> part(static_cast<size_t>(std::min<int64_t>(60, 1001 - first)));
    initialize(part, first, "w", normal, 5);
    for (size_t i = 0; i < part.size(); ++i) ASSERT_EQ(part[i], whole[static_cast<size_t>(first) + i]) << first << " + " << i;
  }
}

TEST(Initialize, normal_draws_have_the_asked_mean_and_deviation) {
  std::vector<float> values(200000);
  initialize(values, 0, "w", {Init::Kind::kNormal, 1.5, 0.25}, 1);
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  double variance = 0;
  for (const float v : values) variance += (v - mean) * (v - mean) / static_cast<double>(values.size());
  EXPECT_NEAR(mean, 1.5, 4 * 0.25 / std::sqrt(200000.0));
  EXPECT_NEAR(std::sqrt(variance), 0.25, 0.25 * 0.01);
}

TEST(Initialize, uniform_draws_stay_in_the_half_open_interval) {
  std::vector<float> values(10000);
  initialize(values, 0, "w", {Init::Kind::kUniform, -1, 3}, 1);
  for (const float v : values) ASSERT_TRUE(v >= -1 && v < 3);
}

TEST(Initialize, names_and_seeds_give_other_draws) {
  std::vector<float> a(8), b(8), c(8);
  const Init normal{Init::Kind::kNormal, 0, 1};
  initialize(a, 0, "a", normal, 1);
  initialize(b, 0, "b", normal, 1);
  initialize(c, 0, "a", normal, 2);
  EXPECT_NE(a, b);
  EXPECT_NE(a, c);
}

}  // namespace
}  // namespace nemo::runtime
