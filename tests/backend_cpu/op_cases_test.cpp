#include <set>

#include "tests/backend_cpu/golden.hpp"
#include "tests/backend_cpu/op_cases.hpp"

namespace nemo::backend_cpu {
namespace {

class Ops : public ::testing::TestWithParam<OpCase> {};
std::string case_name(const ::testing::TestParamInfo<OpCase>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(table, Ops, ::testing::ValuesIn(op_cases()), case_name);

std::vector<OpCase> cases_where(bool (*holds)(const OpCase&)) {
  std::vector<OpCase> chosen;
  for (const OpCase& c : op_cases())
    if (holds(c)) chosen.push_back(c);
  return chosen;
}
bool is_strided(const OpCase& c) { return c.strided; }
bool has_gradient_buffer(const OpCase& c) { return c.accumulates; }
bool is_elementwise(const OpCase& c) {
  static const std::set<std::string> ops{
      "activation", "activation_grad", "glu",  "glu_grad", "add",        "mul",           "scale",           "dropout",
      "softmax",    "softmax_grad",    "rope", "rms_norm", "layer_norm", "rms_norm_grad", "layer_norm_grad", "cross_entropy_grad"};
  return ops.count(c.op) != 0;
}

class StridedOps : public ::testing::TestWithParam<OpCase> {};
INSTANTIATE_TEST_SUITE_P(table, StridedOps, ::testing::ValuesIn(cases_where(is_strided)), case_name);
class GradientBufferOps : public ::testing::TestWithParam<OpCase> {};
INSTANTIATE_TEST_SUITE_P(table, GradientBufferOps, ::testing::ValuesIn(cases_where(has_gradient_buffer)), case_name);
class ElementwiseOps : public ::testing::TestWithParam<OpCase> {};
INSTANTIATE_TEST_SUITE_P(table, ElementwiseOps, ::testing::ValuesIn(cases_where(is_elementwise)), case_name);

Arrays run(const Device& on, const OpCase& c, nemo_dtype dtype, uint32_t flags = 0) {
  Arrays outputs = make_outputs(c, dtype);
  on.run(c.op, make_inputs(c, dtype), outputs, c.attrs, flags);
  return outputs;
}

TEST_P(Ops, f32_agrees_with_f64) {
  const Arrays a = run(device(), GetParam(), F32), b = run(device(), GetParam(), F64);
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].present()) expect_close(a[i], b[i], kReduction, "output " + std::to_string(i));
}

TEST_P(Ops, bf16_agrees_with_f32) {
  const Arrays a = run(device(), GetParam(), BF16), b = run(device(), GetParam(), F32);
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].present()) expect_close(a[i], b[i], kBf16, "output " + std::to_string(i));
}

TEST_P(Ops, f16_agrees_with_f32) {
  const Arrays a = run(device(), GetParam(), F16), b = run(device(), GetParam(), F32);
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].present()) expect_close(a[i], b[i], kF16, "output " + std::to_string(i));
}

TEST_P(Ops, repeat_gives_the_same_bits) {
  for (nemo_dtype dtype : {F32, BF16}) {
    const Arrays a = run(device(), GetParam(), dtype);
    for (int repeat = 0; repeat < 3; ++repeat) {
      const Arrays b = run(device(), GetParam(), dtype);
      for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].content(), b[i].content()) << "output " << i;
    }
  }
}

TEST_P(Ops, thread_count_changes_rounding_only) {
  static const Device one(1), five(5);
  const Arrays a = run(one, GetParam(), F32), b = run(five, GetParam(), F32);
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].present()) expect_close(a[i], b[i], kReduction, "output " + std::to_string(i));
}

TEST_P(Ops, older_instruction_sets_change_rounding_only) {
  static const Device v2(2, "v2"), newest(2);
  const OpCase& c = GetParam();
  for (nemo_dtype dtype : {F32, F64, BF16}) {
    const Arrays a = run(v2, c, dtype), b = run(newest, c, dtype);
    for (size_t i = 0; i < a.size(); ++i)
      if (a[i].present()) expect_close(a[i], b[i], a[i].dtype() == BF16 ? kBf16 : kReduction, "output " + std::to_string(i));
  }
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return;
  static const Device v3(2, "v3");
  const Arrays a = run(v3, c, F32), b = run(newest, c, F32);
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].present()) expect_close(a[i], b[i], kReduction, "output " + std::to_string(i));
}

TEST_P(StridedOps, strided_rows_give_what_contiguous_ones_give) {
  const OpCase& c = GetParam();
  for (nemo_dtype dtype : {F32, BF16}) {
    const Arrays want = run(device(), c, dtype);
    Arrays inputs = make_inputs(c, dtype), outputs = make_outputs(c, dtype);
    for (size_t i = 0; i < inputs.size(); ++i)
      if (c.inputs[i].role == Role::compute) inputs[i] = inputs[i].strided();
    for (size_t i = 0; i < outputs.size(); ++i)
      if (c.outputs[i].role == Role::compute) outputs[i] = outputs[i].strided();
    device().run(c.op, inputs, outputs, c.attrs);
    for (size_t i = 0; i < want.size(); ++i)
      if (want[i].present()) expect_close(outputs[i], want[i], {1e-6, 1e-6}, "output " + std::to_string(i));
  }
}

TEST_P(Ops, accumulate_flag_adds_to_gradients_and_only_to_them) {
  const OpCase& c = GetParam();
  for (nemo_dtype dtype : {F32, F64}) {
    const Arrays start = make_outputs(c, dtype), fresh = run(device(), c, dtype), added = run(device(), c, dtype, NEMO_LAUNCH_ACCUMULATE);
    for (size_t i = 0; i < fresh.size(); ++i) {
      if (!fresh[i].present()) continue;
      const bool plus = c.accumulates && (c.outputs[i].role == Role::grad || c.outputs[i].role == Role::total);
      Array want = fresh[i];
      if (plus)
        for (int64_t e = 0; e < want.size(); ++e) want.set(e, start[i].get(e) + fresh[i].get(e));
      expect_close(added[i], want, {1e-6, 1e-6}, "output " + std::to_string(i));
    }
  }
}

TEST_P(GradientBufferOps, gradients_are_stored_in_the_buffer_s_dtype) {
  const OpCase& c = GetParam();
  const Arrays want = run(device(), c, BF16);
  for (nemo_dtype grad : {F64, BF16}) {
    Arrays outputs = make_outputs(c, BF16);
    for (size_t i = 0; i < outputs.size(); ++i)
      if (c.outputs[i].role == Role::grad) outputs[i] = outputs[i].as(grad);
    device().run(c.op, make_inputs(c, BF16), outputs, c.attrs);
    for (size_t i = 0; i < want.size(); ++i)
      expect_close(outputs[i], want[i], grad == BF16 ? kBf16 : kReduction, "output " + std::to_string(i));
  }
}

TEST_P(ElementwiseOps, outputs_may_take_the_memory_of_an_elementwise_input) {
  const OpCase& c = GetParam();
  for (nemo_dtype dtype : {F32, BF16}) {
    const Arrays want = run(device(), c, dtype);
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      if (c.inputs[i].role != Role::compute || c.inputs[i].shape != c.outputs[0].shape) continue;
      const Arrays got = device().apply_in_place(c.op, make_inputs(c, dtype), i, make_outputs(c, dtype), c.attrs);
      expect_close(got[0], want[0], {1e-6, 1e-6}, "in the place of input " + std::to_string(i));
    }
  }
}

// Collectives need a group of ranks, so no table of single nodes has them: collectives_test.cpp has. ring_attention is written out by a
// pass.
TEST(Coverage, every_op_of_the_backend_has_a_case) {
  const std::set<std::string> collectives{"all_reduce", "all_gather",        "reduce_scatter", "all_to_all",        "send",
                                          "recv",       "moe_exchange_plan", "moe_exchange",   "moe_exchange_back", "ring_shift"};
  std::set<std::string> covered;
  for (const OpCase& c : op_cases()) covered.insert(c.op);
  for (const OpCase& c : narrow_cases(F32)) covered.insert(c.op);
  std::vector<std::string> unsupported;
  for (const char* op : {
#define NEMO_OP(name, signature, whole, attributes) #name,
#include "nemo/ops.def"
#undef NEMO_OP
       }) {
    const bool supported = device().api().supports(device().handle(), sdk::to_str(op)) != 0;
    if (collectives.count(op) != 0)
      EXPECT_TRUE(supported && covered.count(op) == 0) << op;
    else
      EXPECT_EQ(supported, covered.count(op) != 0) << op;
    if (!supported) unsupported.push_back(op);
  }
  EXPECT_EQ(unsupported, (std::vector<std::string>{"copy_to", "ring_attention", "ring_attention_grad"}));
}

}  // namespace
}  // namespace nemo::backend_cpu
