// The shape rule of a row: letters bind to sizes, groups to lengths, and what does not fit is named.
#include "core/graph/shape.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/graph/expect_error.hpp"

namespace nemo::graph {
namespace {

using nemo::testing::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ValueId input(Graph& g, const std::string& name, const Dims& dims, DType dtype = DType::kNone) { return g.add_input(name, dtype, dims); }

std::vector<int64_t> sizes(const Graph& g, ValueId v) {
  std::vector<int64_t> out;
  for (const Dim& d : g.value(v).dims) out.push_back(d.size);
  return out;
}

TEST(Shape, mismatch_names_scope_op_tensor_letter_and_both_sizes) {
  Graph g;
  const ValueId x = input(g, "x", {{2, "batch", {}}, {8, "embed", {}}}), w = input(g, "w", {{6, "embed", {}}});
  const std::string text = message_of(Code::kInvalidArgument, [&] {
    static_cast<void>(make_op(g, {"rms_norm", {x, w}}, "layers.3.norm"));
  });
  EXPECT_THAT(text, AllOf(HasSubstr("layers.3.norm"), HasSubstr("op 'rms_norm'"), HasSubstr("tensor 'w'"), HasSubstr("'d'"),
                          HasSubstr("embed=6"), HasSubstr("embed=8")));
}

TEST(Shape, rank_that_the_row_does_not_allow_names_the_tensor_and_its_dimensions) {
  Graph g;
  const ValueId x = input(g, "x", {{2, "batch", {}}, {8, "embed", {}}}), w = input(g, "w", {{8, "a", {}}, {8, "b", {}}});
  EXPECT_THAT(message_of(Code::kInvalidArgument,
                         [&] {
                           static_cast<void>(make_op(g, {"rms_norm", {x, w}}, "norm"));
                         }),
              AllOf(HasSubstr("norm: op 'rms_norm'"), HasSubstr("tensor 'w' [a=8 b=8] has 2 dimensions, expected 1")));
}

TEST(Shape, contract_tells_how_many_dimensions_of_a_linear_are_summed) {
  Graph g;
  const ValueId x = input(g, "x", {{2, "batch", {}}, {3, "seq", {}}, {4, "heads", {}}, {5, "head_dim", {}}});
  const ValueId w = input(g, "w", {{7, "embed", {}}, {4, "heads", {}}, {5, "head_dim", {}}});
  EXPECT_THAT(sizes(g, make_op(g, {"linear", {x, w}, {{"contract", int64_t{2}}}}).outputs[0]), ElementsAre(2, 3, 7));
  const ValueId split = input(g, "split", {{4, "heads", {}}, {2, "head_dim", {}}, {5, "embed", {}}});
  EXPECT_THAT(sizes(g, make_op(g, {"linear", {x, split}}).outputs[0]), ElementsAre(2, 3, 4, 4, 2));
}

TEST(Shape, contract_beyond_the_rank_is_refused) {
  Graph g;
  const ValueId x = input(g, "x", {{2, "batch", {}}, {4, "embed", {}}}), w = input(g, "w", {{4, "embed", {}}});
  EXPECT_THAT(message_of(Code::kInvalidArgument,
                         [&] {
                           static_cast<void>(make_op(g, {"linear", {x, w}, {{"contract", int64_t{3}}}}));
                         }),
              HasSubstr("dimensions, expected 3"));
}

TEST(Shape, axes_tells_the_dimensions_of_a_bias_gradient) {
  Graph g;
  const ValueId dy = input(g, "dy", {{2, "batch", {}}, {3, "seq", {}}, {4, "heads", {}}, {5, "head_dim", {}}});
  EXPECT_THAT(sizes(g, make_op(g, {"bias_grad", {dy}, {{"axes", int64_t{2}}}}).outputs[0]), ElementsAre(4, 5));
  EXPECT_THAT(sizes(g, make_op(g, {"bias_grad", {dy}}).outputs[0]), ElementsAre(5));
}

TEST(Shape, inputs_whose_ranks_leave_two_groups_open_are_refused) {
  Graph g;
  const OpRow row = parse_op_row("outer", "x[*a *b] -> y[*a]", "", "");
  Op op;
  op.row = &row;
  op.inputs = {input(g, "x", {{2, "", {}}, {3, "", {}}})};
  EXPECT_THAT(message_of(Code::kInvalidArgument, [&] { static_cast<void>(bind_factors(g, op)); }),
              AllOf(HasSubstr("op 'outer'"), HasSubstr("do not determine")));
}

TEST(Shape, a_group_bound_by_a_later_input_resolves_an_earlier_one) {
  Graph g;
  const OpRow row = parse_op_row("outer", "x[*a *b], z[*b] -> y[*a]", "", "");
  Op op;
  op.row = &row;
  op.inputs = {input(g, "x", {{2, "", {}}, {3, "", {}}, {4, "", {}}}), input(g, "z", {{4, "", {}}})};
  const Factors factors = bind_factors(g, op);
  EXPECT_EQ(factors.at("a").size(), 2u);
  EXPECT_THAT(letters_of(row.inputs[0], factors), ElementsAre("a", "a", "b"));
}

TEST(Shape, dims_of_reports_the_letter_that_no_input_binds) {
  std::string missing;
  EXPECT_TRUE(dims_of(op_row("slice").outputs[0], {}, &missing).empty());
  EXPECT_EQ(missing, "y");
}

TEST(Shape, axis_names_of_outputs_are_those_of_the_input_that_binds_the_letter_first) {
  Graph g;
  const ValueId ids = input(g, "ids", {{2, "batch", {}}, {3, "seq", {}}}, DType::kI32),
                table = input(g, "table", {{9, "vocab", {}}, {8, "embed", {}}});
  const Dims& dims = g.value(make_op(g, {"embedding", {ids, table}}).outputs[0]).dims;
  EXPECT_THAT(dims, ElementsAre(Dim{2, "batch", {}}, Dim{3, "seq", {}}, Dim{8, "embed", {}}));
}

TEST(Shape, outputs_take_their_dtype_from_the_row) {
  Graph g;
  g.gradient_dtype = DType::kF32;
  const ValueId x = input(g, "x", {{2, "batch", {}}, {8, "embed", {}}}, DType::kBF16), w = input(g, "w", {{8, "embed", {}}}, DType::kBF16);
  const Op norm = make_op(g, {"rms_norm", {x, w}});
  EXPECT_EQ(g.value(norm.outputs[0]).dtype, DType::kBF16);
  EXPECT_EQ(g.value(norm.outputs[1]).dtype, DType::kF32) << "statistics accumulate in f32";
  const Op grad = make_op(g, {"rms_norm_grad", {x, x, w, norm.outputs[1]}});
  EXPECT_EQ(g.value(grad.outputs[1]).dtype, DType::kF32) << "gradient buffers have their own dtype";
  const ValueId d = input(g, "d", {{2, "batch", {}}, {8, "embed", {}}}, DType::kF64);
  EXPECT_EQ(g.value(make_op(g, {"rms_norm", {d}}).outputs[1]).dtype, DType::kF64);
  EXPECT_EQ(g.value(make_op(g, {"cast", {x}, {{"dtype", std::string("f16")}}}).outputs[0]).dtype, DType::kF16);
}

}  // namespace
}  // namespace nemo::graph
