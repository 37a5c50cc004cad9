// f16, TF32, 8-bit floats and narrow optimizer state: the CUDA backend against the CPU backend.
#include "tests/backend_cuda/parity.hpp"

namespace nemo::backend_cuda {
namespace {

using backend_cpu::E4M3;
using backend_cpu::E5M2;
using backend_cpu::F16;
using backend_cpu::normal_array;

std::string case_name(const ::testing::TestParamInfo<OpCase>& info) { return info.param.name; }

class CudaF16 : public ::testing::TestWithParam<OpCase> {
 protected:
  void SetUp() override {
    NEMO_NEEDS_GPU();
    if (is_missing(GetParam())) GTEST_SKIP() << "no kernel yet: " << GetParam().op << " as in " << GetParam().name;
  }
};
INSTANTIATE_TEST_SUITE_P(table, CudaF16, ::testing::ValuesIn(backend_cpu::op_cases()), case_name);

// As for bf16, with 2^-11 in place of 2^-8; products may be split into parts that are added in another order.
TEST_P(CudaF16, agrees_with_the_cpu) {
  const OpCase& c = GetParam();
  for (const uint32_t flags : {0u, NEMO_LAUNCH_ACCUMULATE}) {
    if (flags != 0 && !c.accumulates) continue;
    const Arrays got = on_gpu(c, F16, flags), want = on_cpu(c, F16, flags);
    const bool staged = c.op.find("attention") != std::string::npos || c.op.find("linear") != std::string::npos;
    for (size_t i = 0; i < want.size(); ++i)
      if (want[i].present())
        expect_close(got[i], want[i], {staged ? 4.0 / 2048 : 1e-4, 1.01 / 1024}, c.name + ", output " + std::to_string(i));
  }
}

class CudaNarrow : public ::testing::TestWithParam<OpCase> {
 protected:
  void SetUp() override { NEMO_NEEDS_GPU(); }
};
INSTANTIATE_TEST_SUITE_P(table, CudaNarrow, ::testing::ValuesIn(backend_cpu::narrow_cases(BF16)), case_name);

const OpCase& same_case(nemo_dtype compute, const std::string& name) {
  static std::map<nemo_dtype, std::vector<OpCase>> all;
  if (all[compute].empty()) all[compute] = backend_cpu::narrow_cases(compute);
  for (const OpCase& c : all[compute])
    if (c.name == name) return c;
  static const OpCase none;
  return none;
}

bool is_exact(const OpCase& c) { return c.op == "amax" || c.op == "quantize" || c.op == "recent_amax"; }

// Codes, factors and histories to the bit; products within the rounding of the result and, forward, of the tensor core's accumulator.
TEST_P(CudaNarrow, agrees_with_the_cpu) {
  for (const nemo_dtype dtype : {BF16, F16, F32}) {
    const OpCase& c = same_case(dtype, GetParam().name);
    if (c.op.empty()) continue;  // f32 products have no bias
    for (const uint32_t flags : {0u, NEMO_LAUNCH_ACCUMULATE}) {
      if (flags != 0 && !c.accumulates) continue;
      const Arrays got = on_gpu(c, dtype, flags), want = on_cpu(c, dtype, flags);
      if (is_exact(c))
        expect_same_bits(got, want, c.name);
      else
        for (size_t i = 0; i < want.size(); ++i)
          expect_close(got[i], want[i], {2e-3, 1.01 / 128}, c.name + ", output " + std::to_string(i));
    }
  }
}

TEST_P(CudaNarrow, repeat_and_replay_give_the_same_bits) {
  const OpCase& c = GetParam();
  const Arrays first = on_gpu(c, BF16);
  expect_same_bits(on_gpu(c, BF16), first, "repeated");
  expect_same_bits(on_gpu(c, BF16, 0, How::replayed), first, "replayed");
}

TEST_P(CudaNarrow, strided_rows_give_what_contiguous_ones_give) {
  const OpCase& c = GetParam();
  if (!c.strided || !is_exact(c)) GTEST_SKIP() << "contiguous tensors only, or a form of an op that the other table has";
  Arrays inputs = make_inputs(c, BF16), outputs = make_outputs(c, BF16);
  for (size_t i = 0; i < inputs.size(); ++i)
    if (c.inputs[i].role == Role::compute) inputs[i] = inputs[i].strided();
  gpu()->run(c.op, inputs, outputs, c.attrs);
  expect_same_bits(outputs, on_cpu(c, BF16), c.name);
}

// Every bit pattern of bf16, infinities and NaN among them, and odd tile edges.
TEST(CudaQuantize, every_bf16_number_has_the_code_of_the_cpu) {
  NEMO_NEEDS_GPU();
  static const backend_cpu::Device cpu(0);
  Array x(BF16, {256, 256});
  for (int64_t i = 0; i < 65536; ++i) {
    x.data()[2 * i] = static_cast<char>(i & 0xff);
    x.data()[2 * i + 1] = static_cast<char>(i >> 8);
  }
  for (const nemo_dtype format : {E4M3, E5M2})
    for (const double amax : {0.0, 3.0, 1e-30, 3e38}) {
      const Arrays inputs{x, Array(F32, {}, {amax})};
      const backend_cpu::Attrs attrs{{"dtype", format == E4M3 ? "e4m3" : "e5m2"}};
      Arrays got{Array(format, {256, 256}), Array(format, {256, 256}), Array(F32, {})}, want = got;
      gpu()->run("quantize", inputs, got, attrs);
      cpu.run("quantize", inputs, want, attrs);
      EXPECT_EQ(got[2].get(0), want[2].get(0));
      for (size_t copy = 0; copy < 2; ++copy)
        for (int64_t i = 0; i < 65536; ++i) {
          const double a = got[copy].get(i), b = want[copy].get(i);
          ASSERT_TRUE(std::isnan(b) ? std::isnan(a) : a == b) << copy << " " << i << " amax " << amax << ": " << a << " for " << b;
        }
    }
}

TEST(CudaTf32, rounds_operands_and_nothing_else) {
  NEMO_NEEDS_GPU();
  const Array x = normal_array(F32, {256, 512}, 1), w = normal_array(F32, {384, 512}, 2), dy = normal_array(F32, {256, 384}, 3);
  const auto both = [&](const std::string& op, const Arrays& in, const Array& like) {
    Arrays exact{like}, rounded{like};
    gpu()->run(op, in, exact);
    gpu()->run(op, in, rounded, {{"tf32", int64_t{1}}});
    expect_close(rounded[0], exact[0], {2e-3, 0}, op);
    double most = 0;
    for (int64_t i = 0; i < like.size(); ++i) most = std::max(most, std::fabs(rounded[0].get(i) - exact[0].get(i)));
    EXPECT_GT(most, 1e-4) << op << ": the tensor cores were not used";
  };
  both("linear", {x, w, Array()}, Array(F32, {256, 384}));
  both("linear_dgrad", {dy, w}, Array(F32, {256, 512}));
  both("linear_wgrad", {dy, x}, Array(F32, {384, 512}));
}

struct StateDtypes {
  nemo_dtype grad, param, moment, second;
};

TEST(CudaOptimizer, every_mix_of_state_dtypes_agrees_with_the_cpu) {
  NEMO_NEEDS_GPU();
  static const backend_cpu::Device cpu(0);
  const int64_t n = 10007;
  const Array hyper(F64, {8}, {0.01, 0.9, 0.95, 1e-8, 0.1, 0.05, 0.5, 0});
  for (const StateDtypes& t : {StateDtypes{F32, BF16, F32, F32}, StateDtypes{F32, BF16, BF16, BF16}, StateDtypes{BF16, BF16, BF16, BF16},
                               StateDtypes{F32, F16, F32, F32}, StateDtypes{F32, BF16, F32, BF16}, StateDtypes{BF16, BF16, F32, F32}}) {
    Array v = normal_array(BF16, {n}, 5).as(t.second);
    for (int64_t i = 0; i < n; ++i) v.set(i, std::fabs(v.get(i)));
    const Arrays inputs{normal_array(BF16, {n}, 1).as(t.grad), hyper};
    Arrays got{normal_array(BF16, {n}, 2).as(t.param), normal_array(F32, {n}, 3), normal_array(BF16, {n}, 4).as(t.moment), v}, want = got;
    gpu()->run("adamw", inputs, got, {{"weight_decay", 0.1}});
    cpu.run("adamw", inputs, want, {{"weight_decay", 0.1}});
    for (size_t i = 0; i < 4; ++i)
      expect_close(got[i], want[i],
                   {2e-6, want[i].dtype() == F32   ? 1e-5
                          : want[i].dtype() == F16 ? 1.01 / 1024
                                                   : 1.01 / 128},
                   std::to_string(t.grad) + std::to_string(t.param) + std::to_string(t.moment) + ", output " + std::to_string(i));
  }
}

}  // namespace
}  // namespace nemo::backend_cuda
