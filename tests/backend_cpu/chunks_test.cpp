// Chunks of sequences against plain loops.
#include <gtest/gtest.h>

#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {
namespace {

Array counted(Shape shape) {
  Array a(F32, std::move(shape));
  for (int64_t i = 0; i < a.size(); ++i) a.set(i, static_cast<double>(i + 1));
  return a;
}

const std::vector<double> kTake{2, 0};
const Attrs kChunks{{"chunks", 3}, {"take", kTake}};

// [b 2, s 6, i 2] in 3 chunks of 2 tokens: token t of the part is token `source(t)` of the whole.
int64_t source(int64_t t) { return static_cast<int64_t>(kTake[static_cast<size_t>(t / 2)]) * 2 + t % 2; }

TEST(Chunks, are_taken_in_the_order_given) {
  const Array whole = counted({2, 6, 2}), part = device().apply("take_chunks", {whole}, {counted({2, 4, 2})}, kChunks)[0];
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < 4; ++t)
      for (int64_t i = 0; i < 2; ++i) EXPECT_EQ(part.get((b * 4 + t) * 2 + i), whole.get((b * 6 + source(t)) * 2 + i));
}

TEST(Chunks, are_put_back_among_zeros) {
  const Array part = counted({2, 4, 2}), whole = device().apply("put_chunks", {part}, {counted({2, 6, 2})}, kChunks)[0];
  std::vector<double> want(24, 0);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < 4; ++t)
      for (int64_t i = 0; i < 2; ++i) want[static_cast<size_t>((b * 6 + source(t)) * 2 + i)] = part.get((b * 4 + t) * 2 + i);
  for (size_t e = 0; e < want.size(); ++e) EXPECT_EQ(whole.get(static_cast<int64_t>(e)), want[e]) << e;
}

TEST(Chunks, that_the_sequence_does_not_have_are_refused) {
  const Attrs beyond{{"chunks", 3}, {"take", kTake}};
  Arrays out{counted({2, 4, 2})};
  EXPECT_THROW(device().run("take_chunks", {counted({2, 7, 2})}, out, beyond), std::runtime_error);
  static const std::vector<double> fourth{3, 0};
  EXPECT_THROW(device().run("take_chunks", {counted({2, 6, 2})}, out, {{"chunks", 3}, {"take", fourth}}), std::runtime_error);
}

TEST(Zeros, clear_whatever_was_there) {
  const Array got = device().apply("zeros", {Array{}}, {counted({5, 7})})[0];
  for (int64_t i = 0; i < got.size(); ++i) EXPECT_EQ(got.get(i), 0);
}

}  // namespace
}  // namespace nemo::backend_cpu
