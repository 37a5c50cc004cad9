// Laws of the losses over vocabularies of real models: rows that shared memory keeps whole, in part, and not aligned.
#include "tests/backend_cuda/parity.hpp"

namespace nemo::backend_cuda {
namespace {

using backend_cpu::Shape;

constexpr int64_t kIgnored = 7;

class LossRows : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { NEMO_NEEDS_GPU(); }
};
INSTANTIATE_TEST_SUITE_P(vocabularies, LossRows, ::testing::Values(3, 530, 50257, 50304, 128256, 256000),
                         [](const auto& info) { return std::to_string(info.param); });

// The first and the last entry of the vocabulary and its whole breadth are labels; every fourth row has none.
Array labels_of(int64_t rows, int64_t v) {
  Array a(NEMO_DTYPE_I32, {rows});
  for (int64_t i = 0; i < rows; ++i)
    a.set(i, static_cast<double>(i == 0 ? v - 1 : i == 1 ? 0 : i % 4 == 3 ? -kIgnored : (i * 7919 + v / 2) % v));
  return a;
}

Attrs attrs_of(bool terms) {
  Attrs a{{"ignore_index", -kIgnored}};
  if (terms) a.push_back({"label_smoothing", 0.1}), a.push_back({"z_loss", 0.01});
  return a;
}

void expect_law(const std::string& op, const Arrays& inputs, const Arrays& outputs, const Attrs& attrs, uint32_t flags, Tolerance budget,
                const std::string& what) {
  static const backend_cpu::Device cpu(0);
  Arrays want = outputs, first = outputs, again = outputs, replayed = outputs;
  cpu.run(op, inputs, want, attrs, flags);
  gpu()->run(op, inputs, first, attrs, flags);
  for (size_t i = 0; i < want.size(); ++i) expect_close(first[i], want[i], budget, what + ", output " + std::to_string(i));
  gpu()->run(op, inputs, again, attrs, flags);
  expect_same_bits(again, first, what + " repeated");
  gpu()->run(op, inputs, replayed, attrs, flags, How::replayed);
  expect_same_bits(replayed, first, what + " replayed");
}

TEST_P(LossRows, of_given_logits_agree_with_the_cpu) {
  const int64_t rows = 6, v = GetParam();
  const Array logits = backend_cpu::normal_array(BF16, {rows, v}, 1, 3), loss(F32, {rows});
  for (const nemo_dtype dtype : {F32, BF16})
    for (const bool terms : {false, true})
      expect_law("cross_entropy", {logits.as(dtype), labels_of(rows, v)}, {loss, loss}, attrs_of(terms), 0, {1e-4, 0}, name_of(dtype));
}

TEST_P(LossRows, of_strided_logits_agree_with_the_cpu) {
  const int64_t rows = 6, v = GetParam();
  const Array logits = backend_cpu::normal_array(BF16, {rows, v}, 1, 3), loss(F32, {rows});
  for (const nemo_dtype dtype : {F32, BF16})
    expect_law("cross_entropy", {logits.as(dtype).strided(), labels_of(rows, v)}, {loss, loss}, attrs_of(true), 0, {1e-4, 0},
               name_of(dtype));
}

TEST_P(LossRows, of_a_last_linear_and_their_gradients_agree_with_the_cpu) {
  const int64_t v = GetParam(), rows = v < 1000 ? 70 : 12, d = 16;
  const Array x = backend_cpu::normal_array(BF16, {rows, d}, 2), w = backend_cpu::normal_array(BF16, {v, d}, 3, 0.3),
              dloss = backend_cpu::normal_array(BF16, {rows}, 4).as(F32), loss(F32, {rows});
  for (const nemo_dtype dtype : {F32, BF16}) {
    const Tolerance budget = dtype == BF16 ? Tolerance{3.0 / 256, 0} : Tolerance{1e-4, 0};
    const Arrays in{x.as(dtype), w.as(dtype), labels_of(rows, v), dloss};
    const Array dx(dtype, {rows, d}), dw = backend_cpu::normal_array(BF16, {v, d}, 5, 0.1);
    expect_law("linear_cross_entropy_train", in, {loss, dx, dw.as(F32)}, attrs_of(true), NEMO_LAUNCH_ACCUMULATE, budget, name_of(dtype));
    expect_law("linear_cross_entropy", {in[0], in[1], in[2]}, {loss}, attrs_of(true), 0, budget, name_of(dtype));
    if (dtype == BF16)
      expect_law("linear_cross_entropy_train", in, {loss, dx, dw}, attrs_of(false), NEMO_LAUNCH_ACCUMULATE, budget, "bf16 gradients");
  }
}

TEST_P(LossRows, a_label_outside_the_vocabulary_is_told) {
  const int64_t v = GetParam();
  const Array logits = backend_cpu::normal_array(BF16, {2, v}, 1);
  Arrays loss{Array(F32, {2}), Array(F32, {2})};
  EXPECT_THROW(gpu()->run("cross_entropy", {logits, Array(NEMO_DTYPE_I32, {2}, {0, static_cast<double>(v)})}, loss, attrs_of(false)),
               std::runtime_error);
}

TEST_P(LossRows, logits_of_minus_infinity_have_no_weight) {
  const int64_t v = GetParam();
  Array logits(BF16, {1, v});
  for (int64_t i = 0; i < v; ++i) logits.set(i, i == v / 2 || i == v - 1 ? 1.0 : -INFINITY);
  Arrays got{Array(F32, {1}), Array(F32, {1})};
  gpu()->run("cross_entropy", {logits, Array(NEMO_DTYPE_I32, {1}, {static_cast<double>(v - 1)})}, got, attrs_of(false));
  EXPECT_NEAR(got[0].get(0), std::log(2.0), 1e-6);
}

}  // namespace
}  // namespace nemo::backend_cuda
