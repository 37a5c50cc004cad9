// The backward region: what is appended, what is computed again, and what cannot be differentiated.
#include "core/passes/differentiate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "tests/passes/draft.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes {
namespace {

using graph::Graph;
using graph::Phase;
using graph::ValueId;
using testing::Draft;
using ::testing::ElementsAre;
using testing::expect_golden;
using ::testing::HasSubstr;
using testing::Use;

void plain(Graph& g) { differentiate(g, Recompute::kNone); }

TEST(Differentiate, linear_with_bias) {
  Draft d;
  const ValueId x = d.embedded();
  d.finish(d.biased(x, "proj", {8, "embed", {}}), d.weight("head", {{16, "vocab", {}}, {8, "embed", {}}}));
  expect_golden("differentiate_linear", std::move(d.graph), plain);
}

TEST(Differentiate, tied_embedding_has_two_writers) {
  Draft d;
  const ValueId x = d.embedded();
  d.finish(x, d.table());
  expect_golden("differentiate_tied", std::move(d.graph), plain);
}

TEST(Differentiate, norms_with_a_residual_stream) {
  Draft d;
  const ValueId x = d.embedded();
  const ValueId n = d.op("rms_norm", {x, d.vector("norm")});
  const ValueId m = d.op("layer_norm", {d.op("add", {x, n}), d.vector("scale"), d.vector("shift")});
  d.finish(m, d.table());
  expect_golden("differentiate_norms", std::move(d.graph), plain);
}

TEST(Differentiate, attention_with_rotary_positions) {
  Draft d;
  const ValueId x = d.embedded(), positions = d.builder.input("positions");
  const auto project = [&](const std::string& name, int64_t heads) {
    return d.op("linear", {x, d.weight(name, {{heads, "heads", {}}, {4, "head_dim", {}}, {8, "embed", {}}})});
  };
  const auto rotate = [&](ValueId v) { return d.op("rope", {v, positions}, {{"inv_freq", std::vector<double>{1, 0.1}}}); };
  const ValueId q = rotate(project("q", 2)), k = rotate(project("k", 1)), v = project("v", 1);
  const ValueId o = d.op("attention", {q, k, v}, {{"scale", 0.5}});
  const ValueId w = d.weight("o", {{8, "embed", {}}, {2, "heads", {}}, {4, "head_dim", {}}});
  d.finish(d.op("linear", {o, w}, {{"contract", int64_t{2}}}), d.table());
  expect_golden("differentiate_attention", std::move(d.graph), plain);
}

TEST(Differentiate, frozen_parameters_get_no_gradient_and_no_work) {
  Draft d;
  const ValueId x = d.op("embedding", {d.builder.input("tokens"), d.weight("table", {{16, "vocab", {}}, {8, "embed", {}}}, Use::kFrozen)});
  const ValueId y = d.linear(d.linear(x, "frozen", {8, "embed", {}}, Use::kFrozen), "trained", {8, "embed", {}});
  d.finish(y, d.weight("head", {{16, "vocab", {}}, {8, "embed", {}}}, Use::kFrozen));
  expect_golden("differentiate_frozen", std::move(d.graph), plain);
}

// Two blocks of norm, linear, activation, linear and residual add.
Graph two_blocks() {
  Draft d;
  ValueId x = d.embedded();
  for (int64_t i = 0; i < 2; ++i) {
    const std::string name = "layers." + std::to_string(i);
    d.builder.block_begin("layer", i);
    d.builder.scope_push(name);
    const ValueId n = d.op("rms_norm", {x, d.vector(name + ".norm")});
    const ValueId a = d.op("activation", {d.linear(n, name + ".up", {6, "mlp", {}})}, {{"kind", std::string("silu")}});
    x = d.op("add", {x, d.linear(a, name + ".down", {8, "embed", {}})});
    d.builder.scope_pop();
    d.builder.block_end();
  }
  d.finish(x, d.table());
  return std::move(d.graph);
}

std::vector<std::string> recomputed(const Graph& g, int32_t block) {
  std::vector<std::string> names;
  for (const graph::Op& op : g.ops)
    if (op.phase == Phase::kRecompute && op.block == block) names.emplace_back(op.name());
  return names;
}

TEST(Differentiate, without_recompute_nothing_is_computed_again) {
  Graph g = two_blocks();
  differentiate(g, Recompute::kNone);
  for (const graph::Op& op : g.ops) EXPECT_NE(op.phase, Phase::kRecompute);
}

TEST(Differentiate, selective_recompute_repeats_what_is_cheap) {
  expect_golden("differentiate_selective", two_blocks(), [](Graph& g) { differentiate(g, Recompute::kSelective); });
  Graph g = two_blocks();
  differentiate(g, Recompute::kSelective);
  for (const int32_t block : {0, 1}) EXPECT_THAT(recomputed(g, block), ElementsAre("activation", "rms_norm"));
}

TEST(Differentiate, full_recompute_repeats_the_block_once_from_its_input) {
  expect_golden("differentiate_full", two_blocks(), [](Graph& g) { differentiate(g, Recompute::kFull); });
  Graph g = two_blocks();
  differentiate(g, Recompute::kFull);
  for (const int32_t block : {0, 1}) EXPECT_THAT(recomputed(g, block), ElementsAre("rms_norm", "linear", "activation"));
}

// What crosses from the forward into the backward region: with full recompute only block inputs, and what lies outside blocks.
TEST(Differentiate, full_recompute_keeps_only_what_enters_and_leaves_blocks) {
  Graph g = testing::gpt();
  differentiate(g, Recompute::kFull);
  const graph::Uses uses = graph::analyse_uses(g);
  for (const graph::Op& op : g.ops) {
    if (op.phase == Phase::kForward) continue;
    for (const ValueId v : op.inputs) {
      if (v == 0 || uses.producer[v] < 0) continue;
      const graph::Op& producer = g.ops[static_cast<size_t>(uses.producer[v])];
      EXPECT_TRUE(producer.phase != Phase::kForward || producer.block < 0 || producer.block != op.block)
          << op.name() << " of block " << op.block << " reads what " << producer.name() << " of its own block kept";
    }
  }
}

TEST(Differentiate, recompute_changes_neither_writers_nor_their_order) {
  const auto writers = [](Recompute recompute) {
    Graph g = testing::llama();
    differentiate(g, recompute);
    std::vector<std::string> out;
    for (const graph::Op& op : g.ops)
      for (const ValueId v : op.outputs)
        if (v != 0 && g.value(v).kind == graph::ValueKind::kGradient) out.push_back(op.row->name + " " + g.value(v).name);
    return out;
  };
  EXPECT_EQ(writers(Recompute::kNone), writers(Recompute::kSelective));
  EXPECT_EQ(writers(Recompute::kNone), writers(Recompute::kFull));
}

TEST(Differentiate, every_trainable_parameter_gets_a_gradient) {
  for (const auto recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
    Graph g = testing::gpt();
    differentiate(g, recompute);
    graph::verify(g, "differentiate");
    std::set<std::string> written;
    for (const graph::Op& op : g.ops)
      for (const ValueId v : op.outputs)
        if (v != 0 && g.value(v).kind == graph::ValueKind::kGradient) written.insert(g.value(v).name);
    for (const graph::Parameter& p : g.parameters) EXPECT_TRUE(written.contains("grad:" + p.name)) << p.name;
  }
}

std::string refusal(Graph g) {
  try {
    plain(g);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Differentiate, a_model_without_loss_or_without_anything_to_train_is_refused) {
  Draft d;
  d.builder.output("logits", d.embedded());
  EXPECT_THAT(refusal(std::move(d.graph)), HasSubstr("no output 'loss'"));
  Draft f;
  const ValueId table = f.weight("table", {{16, "vocab", {}}, {8, "embed", {}}}, Use::kFrozen);
  f.finish(f.op("embedding", {f.builder.input("tokens"), table}), table);
  EXPECT_THAT(refusal(std::move(f.graph)), HasSubstr("no trainable parameter"));
}

// The rules know the gradient of the first result only; a loss that also goes through a statistic must not come out silently wrong.
TEST(Differentiate, a_loss_through_a_statistic_is_refused) {
  Draft d;
  const ValueId x = d.embedded(), logits = d.op("linear", {x, d.table()});
  const auto loss = d.builder.op("cross_entropy", {logits, d.builder.input("labels")}, {});
  d.builder.output("loss", d.op("add", {d.op("sum", {loss[0]}), d.op("sum", {loss[1]})}));
  EXPECT_THAT(refusal(std::move(d.graph)), ::testing::AllOf(HasSubstr("cross_entropy"), HasSubstr("'lse'")));
}

// Rows of a square matrix taken apart: joining their gradients as columns would fit in size and be wrong.
TEST(Differentiate, slices_of_another_than_the_last_dimension_are_refused) {
  Draft d;
  const ValueId w = d.weight("w", {{8, "rows", {}}, {8, "embed", {}}});
  const ValueId x = d.op("scale", {w}, {{"alpha", 2.0}});
  const auto half = [&](int64_t start) {
    const graph::Dims dims{{4, "rows", {}}, {8, "embed", {}}};
    const ValueId part = d.graph.add_value({graph::ValueKind::kResult, "", graph::DType::kNone, dims, {}});
    const graph::Attrs attrs{{"dim", int64_t{0}}, {"start", start}, {"length", int64_t{4}}};
    d.graph.ops.push_back(make_op(d.graph, {"slice", {x}, attrs, {part}}, "halves"));
    return part;
  };
  const ValueId first = half(0), second = half(4);
  d.builder.output("loss", d.op("sum", {d.op("mul", {first, second})}));
  EXPECT_THAT(refusal(std::move(d.graph)), ::testing::AllOf(HasSubstr("halves"), HasSubstr("last dimension")));
}

}  // namespace
}  // namespace nemo::passes
