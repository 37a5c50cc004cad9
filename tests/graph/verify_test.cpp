// Every rule that passes rely on is checked between them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/graph/graph.hpp"
#include "tests/graph/declare.hpp"
#include "tests/graph/expect_error.hpp"

namespace nemo::graph {
namespace {

using nemo::testing::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

// y = (x + x) + x, then the sum of a per-token loss: typed, and right as it is.
struct Fixture {
  Graph graph;
  ValueId x, y, z;

  Fixture() {
    x = graph.add_input("x", DType::kBF16, {{4, "embed", {}}});
    y = append({"add", {x, x}});
    z = append({"add", {y, x}});
    graph.outputs.emplace_back("z", z);
  }
  ValueId append(OpRequest request) {
    graph.ops.push_back(make_op(graph, std::move(request), "here"));
    return graph.ops.back().outputs[0];
  }
  std::string refusal() const {
    return message_of(Code::kInternal, [&] { verify(graph, "demo"); });
  }
};

TEST(Verify, accepts_a_graph_that_keeps_the_rules) {
  const Fixture f;
  EXPECT_NO_THROW(verify(f.graph, "demo"));
}

TEST(Verify, a_value_read_before_it_is_produced_is_refused) {
  Fixture f;
  std::swap(f.graph.ops[0], f.graph.ops[1]);
  EXPECT_THAT(f.refusal(),
              AllOf(HasSubstr("pass 'demo'"), HasSubstr("here: op 'add'"), HasSubstr("reads 'a'"), HasSubstr("before it is produced")));
}

TEST(Verify, a_value_written_twice_is_refused) {
  Fixture f;
  f.graph.ops[1].outputs[0] = f.y;
  EXPECT_THAT(f.refusal(), HasSubstr("a second time"));
}

TEST(Verify, a_gradient_buffer_may_be_written_more_than_once) {
  Fixture f;
  const ValueId w = nemo::testing::declare_parameter(f.graph, "w", {{4, "embed", {}}}, DType::kBF16);
  const ValueId buffer = f.graph.gradient_of(w);
  for (int i = 0; i < 2; ++i) f.append({"accumulate_grad", {f.y}, {}, {buffer}});
  EXPECT_NO_THROW(verify(f.graph, "demo"));
}

TEST(Verify, inputs_of_mixed_dtype_are_refused) {
  Fixture f;
  f.graph.value(f.y).dtype = DType::kF32;
  f.graph.ops.erase(f.graph.ops.begin());
  f.graph.value(f.y).kind = ValueKind::kInput;
  EXPECT_THAT(f.refusal(), HasSubstr("input 'b' is bf16 beside f32"));
}

TEST(Verify, statistics_in_the_compute_dtype_are_refused) {
  Fixture f;
  const ValueId bad = f.graph.add_input("rstd", DType::kBF16, {});
  f.append({"rms_norm_grad", {f.x, f.x, 0, bad}, {}, {}, {false, true}});
  EXPECT_THAT(f.refusal(), HasSubstr("input 'rstd' is bf16"));
}

TEST(Verify, integers_must_be_of_their_width) {
  Fixture f;
  const ValueId ids = f.graph.add_input("ids", DType::kI64, {{3, "seq", {}}}),
                table = f.graph.add_input("table", DType::kBF16, {{5, "vocab", {}}, {4, "embed", {}}});
  f.append({"embedding", {ids, table}});
  EXPECT_THAT(f.refusal(), HasSubstr("input 'ids' is i64"));
}

TEST(Verify, a_result_of_the_wrong_dtype_is_refused) {
  Fixture f;
  f.graph.value(f.z).dtype = DType::kF32;
  EXPECT_THAT(f.refusal(), AllOf(HasSubstr("output 'y' is f32"), HasSubstr("bf16")));
}

TEST(Verify, a_result_of_the_wrong_size_is_refused) {
  Fixture f;
  f.graph.value(f.z).dims[0].size = 5;
  EXPECT_THAT(f.refusal(), HasSubstr("output 'y' has 5 elements, the row says 4"));
}

TEST(Verify, an_output_that_nothing_produces_is_refused) {
  Fixture f;
  f.graph.ops.pop_back();
  EXPECT_THAT(f.refusal(), HasSubstr("output 'z' is never produced"));
  f.graph.outputs.back().second = 99;
  EXPECT_THAT(f.refusal(), HasSubstr("output 'z'"));
}

TEST(Verify, absent_and_unknown_inputs_are_refused) {
  Fixture f;
  f.graph.ops[1].inputs[1] = 0;
  EXPECT_THAT(f.refusal(), HasSubstr("input 'b' is missing"));
  f.graph.ops[1].inputs[1] = 99;
  EXPECT_THAT(f.refusal(), HasSubstr("does not exist"));
  f.graph.ops[1].inputs.pop_back();
  EXPECT_THAT(f.refusal(), HasSubstr("wrong number of tensors"));
}

}  // namespace
}  // namespace nemo::graph
