#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {
namespace {

Arrays op(const std::string& name, const Arrays& in, Arrays out, const Attrs& attrs = {}) {
  return device().apply(name, in, std::move(out), attrs);
}

Array labels(int64_t n, int64_t v) {
  Array a(I32, {n});
  for (int64_t i = 0; i < n; ++i) a.set(i, i % 7 == 3 ? -100 : static_cast<double>(i * 31 % v));
  return a;
}

TEST(LinearCrossEntropy, equals_linear_then_loss_and_their_gradients) {
  const int64_t n = 600, d = 24, v = 61;
  const Attrs attrs{{"label_smoothing", 0.1}, {"z_loss", 0.01}};
  for (nemo_dtype t : {F32, F64}) {
    const Array x = normal_array(t, {n, d}, 1), w = normal_array(t, {v, d}, 2, 0.3), y = labels(n, v), dloss = normal_array(t, {n}, 3),
                per_row(t, {n});
    const Array logits = op("linear", {x, w}, {Array(t, {n, v})})[0];
    const Arrays loss = op("cross_entropy", {logits, y}, {per_row, per_row}, attrs);
    const Array dlogits = op("cross_entropy_grad", {dloss, logits, y, loss[1]}, {Array(t, {n, v})}, attrs)[0];
    const Array dx = op("linear_dgrad", {dlogits, w}, {Array(t, {n, d})})[0], dw = op("linear_wgrad", {dlogits, x}, {Array(t, {v, d})})[0];
    expect_close(op("linear_cross_entropy", {x, w, y}, {per_row}, attrs)[0], loss[0], kReduction, "loss");
    const Arrays fused = op("linear_cross_entropy_train", {x, w, y, dloss}, {per_row, Array(t, {n, d}), Array(t, {v, d})}, attrs);
    expect_close(fused[0], loss[0], kReduction, "loss of the training form");
    expect_close(fused[1], dx, kReduction, "dx");
    expect_close(fused[2], dw, kReduction, "dw");
  }
}

TEST(ShardedLoss, two_shards_equal_the_whole) {
  const int64_t n = 50, v = 90, cut = 40;
  const Attrs z{{"z_loss", 0.02}};
  for (nemo_dtype t : {F32, F64}) {
    const Array logits = normal_array(t, {n, v}, 1, 3), y = labels(n, v), dloss = normal_array(t, {n}, 2), per_row(t, {n});
    const Arrays whole = op("cross_entropy", {logits, y}, {per_row, per_row}, z);
    const Array dwhole = op("cross_entropy_grad", {dloss, logits, y, whole[1]}, {Array(t, {n, v})}, z)[0];
    auto shard = [&](const Array& a, int64_t from, int64_t to) {
      return op("slice", {a}, {Array(t, {n, to - from})}, {{"dim", 1}, {"start", from}, {"length", to - from}})[0];
    };
    const Array half[2] = {shard(logits, 0, cut), shard(logits, cut, v)};
    const int64_t offset[2] = {0, cut};
    Array top = op("row_max", {half[0]}, {per_row})[0], sumexp(t, {n}), target(t, {n});
    const Array other = op("row_max", {half[1]}, {per_row})[0];
    for (int64_t i = 0; i < n; ++i) top.set(i, std::max(top.get(i), other.get(i)));
    for (int r = 0; r < 2; ++r) {
      const Arrays part = op("cross_entropy_parts", {half[r], y, top}, {per_row, per_row}, {{"shard_offset", offset[r]}});
      sumexp = op("add", {sumexp, part[0]}, {per_row})[0];
      target = op("add", {target, part[1]}, {per_row})[0];
    }
    const Arrays joined = op("cross_entropy_join", {sumexp, target, top, y}, {per_row, per_row}, z);
    expect_close(joined[0], whole[0], kReduction, "loss");
    expect_close(joined[1], whole[1], kReduction, "lse");
    for (int r = 0; r < 2; ++r) {
      const Array grad = op("cross_entropy_shard_grad", {dloss, half[r], y, joined[1]}, {Array(t, half[r].shape())},
                            {{"z_loss", 0.02}, {"shard_offset", offset[r]}})[0];
      expect_close(grad, shard(dwhole, r == 0 ? 0 : cut, r == 0 ? cut : v), kReduction, "dlogits");
    }
  }
}

TEST(ShardedEmbedding, two_shards_add_up_to_the_whole) {
  const Array table = normal_array(F32, {10, 6}, 1), ids(I32, {5}, {0, 9, 4, 5, 4});
  const Array whole = op("embedding", {ids, table}, {Array(F32, {5, 6})})[0];
  Array sum(F32, {5, 6});
  for (const int64_t start : {0, 5}) {
    const Array part = op("slice", {table}, {Array(F32, {5, 6})}, {{"dim", 0}, {"start", start}, {"length", 5}})[0];
    sum = op("add", {sum, op("embedding", {ids, part}, {Array(F32, {5, 6})}, {{"shard_offset", start}})[0]}, {Array(F32, {5, 6})})[0];
  }
  EXPECT_EQ(sum.values(), whole.values());
}

TEST(Labels, outside_the_vocabulary_are_an_error) {
  const Array logits = normal_array(F32, {2, 5}, 1), bad(I32, {2}, {1, 5}), per_row(F32, {2});
  EXPECT_THROW(op("cross_entropy", {logits, bad}, {per_row, per_row}), std::runtime_error);
}

}  // namespace
}  // namespace nemo::backend_cpu
