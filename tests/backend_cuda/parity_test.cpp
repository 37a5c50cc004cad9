#include <set>

#include "tests/backend_cuda/parity.hpp"

namespace nemo::backend_cuda {
namespace {

class CudaOps : public ::testing::TestWithParam<OpCase> {
 protected:
  void SetUp() override {
    NEMO_NEEDS_GPU();
    if (is_missing(GetParam())) GTEST_SKIP() << "no kernel yet: " << GetParam().op << " as in " << GetParam().name;
  }
};
std::string case_name(const ::testing::TestParamInfo<OpCase>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(table, CudaOps, ::testing::ValuesIn(backend_cpu::op_cases()), case_name);

TEST_P(CudaOps, agrees_with_the_cpu) {
  const OpCase& c = GetParam();
  for (nemo_dtype dtype : {F32, BF16}) expect_agreement(on_gpu(c, dtype), on_cpu(c, dtype), c, dtype, name_of(dtype));
}

TEST_P(CudaOps, accumulates_as_the_cpu_does) {
  const OpCase& c = GetParam();
  if (!c.accumulates) GTEST_SKIP() << "no outputs marked +";
  for (nemo_dtype dtype : {F32, BF16})
    expect_agreement(on_gpu(c, dtype, NEMO_LAUNCH_ACCUMULATE), on_cpu(c, dtype, NEMO_LAUNCH_ACCUMULATE), c, dtype, name_of(dtype));
}

TEST_P(CudaOps, stores_gradients_in_bf16_buffers) {
  const OpCase& c = GetParam();
  if (!c.accumulates || c.op == "sum_squares") GTEST_SKIP() << "no gradient buffer";
  Arrays outputs = make_outputs(c, BF16);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (c.outputs[i].role == Role::grad) outputs[i] = outputs[i].as(BF16);
  gpu()->run(c.op, make_inputs(c, BF16), outputs, c.attrs);
  expect_agreement(outputs, on_cpu(c, BF16), c, BF16, "bf16 gradients");
}

TEST_P(CudaOps, strided_rows_give_what_contiguous_ones_give) {
  const OpCase& c = GetParam();
  if (!c.strided) GTEST_SKIP() << "contiguous tensors only";
  for (nemo_dtype dtype : {F32, BF16}) {
    Arrays inputs = make_inputs(c, dtype), outputs = make_outputs(c, dtype);
    for (size_t i = 0; i < inputs.size(); ++i)
      if (c.inputs[i].role == Role::compute) inputs[i] = inputs[i].strided();
    for (size_t i = 0; i < outputs.size(); ++i)
      if (c.outputs[i].role == Role::compute) outputs[i] = outputs[i].strided();
    gpu()->run(c.op, inputs, outputs, c.attrs);
    expect_agreement(outputs, on_cpu(c, dtype), c, dtype, name_of(dtype));
  }
}

TEST_P(CudaOps, repeat_and_replay_give_the_same_bits) {
  const OpCase& c = GetParam();
  for (nemo_dtype dtype : {F32, BF16}) {
    const Arrays first = on_gpu(c, dtype);
    expect_same_bits(on_gpu(c, dtype), first, name_of(dtype) + " repeated");
    expect_same_bits(on_gpu(c, dtype, 0, How::replayed), first, name_of(dtype) + " replayed");
  }
}

TEST_P(CudaOps, outputs_may_take_the_memory_of_an_elementwise_input) {
  static const std::set<std::string> elementwise{
      "activation", "activation_grad", "glu",  "glu_grad", "add",        "mul",           "scale",           "dropout",
      "softmax",    "softmax_grad",    "rope", "rms_norm", "layer_norm", "rms_norm_grad", "layer_norm_grad", "cross_entropy_grad"};
  const OpCase& c = GetParam();
  if (elementwise.count(c.op) == 0) GTEST_SKIP() << "not elementwise";
  for (nemo_dtype dtype : {F32, BF16}) {
    const Arrays want = on_gpu(c, dtype);
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      if (c.inputs[i].role != Role::compute || c.inputs[i].shape != c.outputs[0].shape) continue;
      const Arrays got = gpu()->run_in_place(c.op, make_inputs(c, dtype), i, make_outputs(c, dtype), c.attrs);
      expect_close(got[0], want[0], {1e-6, 1e-6}, "in the place of input " + std::to_string(i));
    }
  }
}

TEST(CudaCoverage, every_op_of_the_cpu_backend_has_a_kernel_or_is_listed_as_missing) {
  NEMO_NEEDS_GPU();
  std::set<std::string> ops, names;
  for (const OpCase& c : backend_cpu::op_cases()) {
    ops.insert(c.op), names.insert(c.name);
    EXPECT_EQ(gpu()->api().supports(gpu()->handle(), sdk::to_str(c.op)) == 0, missing_ops().count(c.op) != 0) << c.op;
    if (refused_cases().count(c.name) != 0) {
      EXPECT_THROW(on_gpu(c, F32), std::runtime_error) << c.name;
    }
  }
  for (const std::string& op : missing_ops()) EXPECT_EQ(ops.count(op), 1u) << op;
  for (const std::string& name : refused_cases()) EXPECT_EQ(names.count(name), 1u) << name;
}

}  // namespace
}  // namespace nemo::backend_cuda
