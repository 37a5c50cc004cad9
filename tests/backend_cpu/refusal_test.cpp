#include <gmock/gmock.h>

#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {
namespace {

std::string message_of(const std::string& op, const Arrays& in, Arrays out, const Attrs& attrs = {}) {
  try {
    device().run(op, in, out, attrs);
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "";
}

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Refusal, names_op_scope_dtypes_and_shapes) {
  const Array quantized(NEMO_DTYPE_E4M3, {2, 3});
  EXPECT_THAT(message_of("add", {quantized, quantized}, {quantized}),
              AllOf(HasSubstr("add"), HasSubstr("test.scope"), HasSubstr("e4m3[2 3]")));
}
TEST(Refusal, collectives_of_a_group_that_was_not_joined) {
  EXPECT_THAT(message_of("all_reduce", {Array(F32, {2})}, {Array(F32, {2})}, {{"mesh", "tp"}}),
              AllOf(HasSubstr("all_reduce"), HasSubstr("no group of ranks 'tp' has been joined")));
}
TEST(Refusal, sizes_that_contradict_the_row) {
  EXPECT_THAT(message_of("linear", {Array(F32, {2, 3}), Array(F32, {4, 5})}, {Array(F32, {2, 4})}),
              AllOf(HasSubstr("linear"), HasSubstr("disagrees")));
  EXPECT_THAT(message_of("rms_norm", {Array(F32, {2, 3})}, {Array(F32, {2, 3})}), HasSubstr("rstd is missing"));
}
TEST(Refusal, mixed_dtypes) {
  EXPECT_THAT(message_of("add", {Array(F32, {2}), Array(F64, {2})}, {Array(F32, {2})}), HasSubstr("tensor b has dtype f64"));
}
TEST(Refusal, unknown_ops_and_kinds) {
  EXPECT_THAT(message_of("frobnicate", {}, {}), HasSubstr("frobnicate"));
  EXPECT_THAT(message_of("activation", {Array(F32, {2})}, {Array(F32, {2})}, {{"kind", "mish"}}), HasSubstr("mish"));
}
TEST(Refusal, missing_attributes) {
  EXPECT_THAT(message_of("scale", {Array(F32, {2})}, {Array(F32, {2})}), HasSubstr("alpha is required"));
}
TEST(Refusal, heads_that_do_not_divide) {
  const Array q(F32, {1, 4, 3, 8}), kv(F32, {1, 4, 2, 8});
  EXPECT_THAT(message_of("attention", {q, kv, kv}, {q, Array(F32, {1, 3, 4})}, {{"scale", 1.0}}), HasSubstr("multiple"));
}

}  // namespace
}  // namespace nemo::backend_cpu
