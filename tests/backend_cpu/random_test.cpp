#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {
namespace {

Array ones(int64_t n) { return Array(F32, {n}, std::vector<double>(static_cast<size_t>(n), 1)); }
Array dropped(int64_t n, double seed, double step, int64_t key, double p) {
  return device().apply("dropout", {ones(n), Array(I64, {2}, {seed, step})}, {Array(F32, {n})}, {{"p", p}, {"key", key}})[0];
}

// Philox4x32-10 written out from the paper (Salmon et al. 2011), to state the mapping that the kernel documents.
std::vector<uint32_t> philox(uint32_t k0, uint32_t k1, std::vector<uint32_t> c) {
  for (int i = 0; i < 10; ++i) {
    const uint64_t a = 0xD2511F53ull * c[0], b = 0xCD9E8D57ull * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(b), static_cast<uint32_t>(a >> 32) ^ c[3] ^ k1,
         static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return c;
}

TEST(Dropout, philox_gives_the_published_known_answers) {
  EXPECT_EQ(philox(0, 0, {0, 0, 0, 0}), (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(0xffffffff, 0xffffffff, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
            (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Dropout, draws_element_i_from_word_i_mod_4_of_counter_i_div_4) {
  const Array y = dropped(1003, 77, 9, 13, 0.4);
  const auto threshold = static_cast<uint64_t>(0.4 * 4294967296.0);
  for (int64_t i = 0; i < y.size(); ++i) {
    const uint32_t word = philox(77, 13, {static_cast<uint32_t>(i / 4), 0, 9, 0})[static_cast<size_t>(i % 4)];
    EXPECT_FLOAT_EQ(static_cast<float>(y.get(i)), word < threshold ? 0.0f : 1 / 0.6f) << i;
  }
}

TEST(Dropout, keeps_the_stated_share_and_depends_on_seed_step_and_key) {
  const int64_t n = 200000;
  const Array y = dropped(n, 1, 2, 3, 0.1);
  double kept = 0;
  for (double v : y.values()) kept += v != 0;
  EXPECT_NEAR(kept / n, 0.9, 0.003);
  EXPECT_NE(y.values(), dropped(n, 2, 2, 3, 0.1).values());
  EXPECT_NE(y.values(), dropped(n, 1, 3, 3, 0.1).values());
  EXPECT_NE(y.values(), dropped(n, 1, 2, 4, 0.1).values());
  EXPECT_EQ(dropped(100, 1, 2, 3, 0).values(), ones(100).values());
  EXPECT_EQ(dropped(100, 1, 2, 3, 1).values(), std::vector<double>(100, 0));
}

}  // namespace
}  // namespace nemo::backend_cpu
