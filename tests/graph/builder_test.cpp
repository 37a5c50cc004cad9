// What a model plugin may and may not do while it builds.
#include "core/graph/builder.hpp"

#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/graph/expect_error.hpp"

namespace nemo::graph {
namespace {

using nemo::testing::message_of;
using ::testing::HasSubstr;

constexpr auto kBad = Code::kInvalidArgument;

struct Model {
  Graph graph;
  Builder builder{graph, {.micro_batch_size = 2, .seq_length = 4, .vocab_size = 32}};

  ValueId parameter(std::string_view name, std::vector<int64_t> sizes, uint32_t flags = 0) {
    std::vector<nemo_dim> dims;
    for (const int64_t s : sizes) dims.push_back({s, {"embed", 5}});
    return builder.parameter(
        {sizeof(nemo_parameter), flags, {name.data(), name.size()}, dims.data(), dims.size(), NEMO_INIT_NORMAL, 0, 0, 0.02});
  }
};

TEST(Builder, batch_fields_have_batch_and_seq_and_are_made_once) {
  Model m;
  const ValueId tokens = m.builder.input("tokens");
  EXPECT_EQ(m.builder.input("tokens"), tokens);
  EXPECT_EQ(m.graph.value(tokens).dtype, DType::kI32);
  EXPECT_EQ(m.builder.describe(tokens), (Dims{{2, "batch", {}}, {4, "seq", {}}}));
  EXPECT_EQ(m.graph.value(m.builder.input("rng")).dtype, DType::kI64);
}

TEST(Builder, segments_are_no_value_where_the_data_has_none) {
  Model m;
  EXPECT_EQ(m.builder.input("segments"), 0u);
  Graph packed;
  Builder b(packed, {.batch_fields = {"segments"}});
  EXPECT_NE(b.input("segments"), 0u);
}

TEST(Builder, unknown_input_lists_the_known_ones) {
  Model m;
  EXPECT_THAT(message_of(kBad, [&] { m.builder.input("pixels"); }),
              ::testing::AllOf(HasSubstr("'pixels'"), HasSubstr("tokens, labels, positions")));
}

TEST(Builder, run_wide_axes_have_sizes_and_others_do_not) {
  Model m;
  EXPECT_EQ(m.builder.axis_size("batch"), 2);
  EXPECT_EQ(m.builder.axis_size("seq"), 4);
  EXPECT_THAT(message_of(kBad, [&] { static_cast<void>(m.builder.axis_size("heads")); }), HasSubstr("'heads'"));
}

TEST(Builder, parameter_names_are_unique_and_sizes_positive) {
  Model m;
  m.parameter("w", {4});
  EXPECT_THAT(message_of(kBad, [&] { m.parameter("w", {4}); }), HasSubstr("'w' is declared twice"));
  EXPECT_THAT(message_of(kBad, [&] { m.parameter("v", {4, 0}); }), HasSubstr("dimension 1 has size 0"));
  EXPECT_THAT(message_of(kBad, [&] { m.parameter("", {4}); }), HasSubstr("name"));
  EXPECT_THAT(message_of(kBad,
                         [&] {
                           m.builder.parameter({sizeof(nemo_parameter), 0, {"u", 1}, nullptr, 0, 9, 0, 0, 0});
                         }),
              HasSubstr("unknown init rule"));
}

TEST(Builder, parameter_flags_and_block_are_kept) {
  Model m;
  m.builder.block_begin("layer", 7);
  m.parameter("w", {4}, NEMO_PARAMETER_FROZEN | NEMO_PARAMETER_NO_DECAY);
  m.builder.block_end();
  m.parameter("v", {4});
  EXPECT_FALSE(m.graph.parameters[0].trainable || m.graph.parameters[0].decay);
  EXPECT_TRUE(m.graph.parameters[1].trainable && m.graph.parameters[1].decay);
  EXPECT_EQ(m.graph.parameters[0].block, 0);
  EXPECT_EQ(m.graph.parameters[1].block, -1);
  EXPECT_EQ(m.graph.blocks[0].index, 7);
}

TEST(Builder, blocks_do_not_nest_and_end_only_once) {
  Model m;
  EXPECT_THAT(message_of(kBad, [&] { m.builder.block_end(); }), HasSubstr("block_end without block_begin"));
  m.builder.block_begin("layer", 0);
  EXPECT_THAT(message_of(kBad, [&] { m.builder.block_begin("layer", 1); }), HasSubstr("do not nest"));
  EXPECT_EQ(m.graph.blocks.size(), 1u);
  m.builder.block_end();
  EXPECT_THAT(message_of(kBad, [&] { m.builder.block_end(); }), HasSubstr("block_end"));
}

TEST(Builder, what_is_opened_is_closed_before_the_build_ends) {
  Model m;
  m.builder.finish();
  m.builder.block_begin("layer", 3);
  EXPECT_THAT(message_of(kBad, [&] { m.builder.finish(); }), HasSubstr("block 'layer' 3 is not closed"));
  m.builder.block_end();
  m.builder.scope_push("layers.3");
  m.builder.scope_push("mlp");
  EXPECT_THAT(message_of(kBad, [&] { m.builder.finish(); }), HasSubstr("scope 'layers.3.mlp' is not closed"));
  m.builder.scope_pop();
  m.builder.scope_pop();
  m.builder.finish();
}

// Looking through all earlier ones for each would take minutes here.
TEST(Builder, a_hundred_thousand_parameters_and_inputs_are_declared_in_time) {
  Model m;
  const auto start = std::chrono::steady_clock::now();
  constexpr int64_t kMany = 100000;
  for (int64_t i = 0; i < kMany; ++i) {
    m.parameter("layers." + std::to_string(i) + ".w", {4});
    m.builder.input("tokens");
    m.builder.input("segments");
  }
  EXPECT_EQ(m.graph.parameters.size(), static_cast<size_t>(kMany));
  EXPECT_EQ(m.graph.find_input("tokens"), 2u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_THAT(message_of(kBad, [&] { m.parameter("layers.77.w", {4}); }), HasSubstr("'layers.77.w' is declared twice"));
}

TEST(Builder, scopes_join_with_dots_and_pop_only_what_was_pushed) {
  Model m;
  const ValueId w = m.parameter("w", {4});
  m.builder.scope_push("layers.0");
  m.builder.scope_push("mlp");
  m.builder.op("add", {w, w}, {});
  m.builder.scope_pop();
  m.builder.op("add", {w, w}, {});
  m.builder.scope_pop();
  EXPECT_EQ(m.graph.ops[0].scope, "layers.0.mlp");
  EXPECT_EQ(m.graph.ops[1].scope, "layers.0");
  EXPECT_THAT(message_of(kBad, [&] { m.builder.scope_pop(); }), HasSubstr("scope_pop"));
}

TEST(Builder, outputs_are_values_named_once) {
  Model m;
  const ValueId w = m.parameter("w", {4});
  m.builder.output("loss", w);
  EXPECT_THAT(message_of(kBad, [&] { m.builder.output("loss", w); }), HasSubstr("'loss' is named twice"));
  EXPECT_THAT(message_of(kBad, [&] { m.builder.output("logits", 0); }), HasSubstr("'logits' is no value"));
  EXPECT_THAT(message_of(kBad, [&] { m.builder.output("logits", 99); }), HasSubstr("'logits' is no value"));
}

TEST(Builder, attributes_must_be_there_known_and_of_their_type) {
  Model m;
  const ValueId w = m.parameter("w", {4});
  m.builder.scope_push("head");
  EXPECT_THAT(message_of(kBad, [&] { m.builder.op("scale", {w}, {}); }), HasSubstr("head: op 'scale' needs attribute 'alpha'"));
  EXPECT_THAT(message_of(kBad,
                         [&] {
                           m.builder.op("scale", {w}, {{"alpha", int64_t{2}}});
                         }),
              HasSubstr("attribute 'alpha' has the wrong type"));
  EXPECT_THAT(message_of(kBad, [&] { m.builder.op("scale", {w}, {{"alpha", 2.0}, {"beta", 1.0}}); }), HasSubstr("has no attribute 'beta'"));
  EXPECT_TRUE(m.graph.ops.empty()) << "a refused op is not added";
}

TEST(Builder, inputs_must_be_there_and_of_this_graph) {
  Model m;
  const ValueId w = m.parameter("w", {4});
  EXPECT_THAT(message_of(kBad, [&] { m.builder.op("add", {w}, {}); }), HasSubstr("input 'b' is missing"));
  EXPECT_THAT(message_of(kBad, [&] { m.builder.op("add", {w, 77}, {}); }), HasSubstr("input 'b' is no value"));
  EXPECT_THAT(message_of(kBad, [&] { m.builder.op("add", {w, w, w}, {}); }), HasSubstr("takes 2 inputs, got 3"));
  EXPECT_THAT(message_of(kBad, [&] { static_cast<void>(m.builder.describe(0)); }), HasSubstr("no such value"));
}

TEST(Builder, attributes_not_given_read_as_the_rows_default) {
  Model m;
  const ValueId w = m.parameter("w", {4});
  m.builder.op("rms_norm", {w}, {});
  m.builder.op("glu", {w, w}, {});
  EXPECT_EQ(m.graph.ops[0].float_attr("eps"), 1e-5);
  EXPECT_EQ(m.graph.ops[0].int_attr("zero_centered"), 0);
  EXPECT_EQ(m.graph.ops[1].string_attr("kind"), "silu");
  EXPECT_THAT(message_of(Code::kInternal, [&] { static_cast<void>(m.graph.ops[0].int_attr("absent")); }),
              HasSubstr("has no attribute 'absent'"));
}

}  // namespace
}  // namespace nemo::graph
