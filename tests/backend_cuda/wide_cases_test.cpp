// Mixtures of experts, state-space models and attention's extensions at sizes of several tiles and chunks, which the table of all ops keeps
// small: the CUDA backend gives what the CPU backend gives.
#include <cmath>

#include "tests/backend_cuda/parity.hpp"

namespace nemo::backend_cuda {
namespace {

using backend_cpu::Operand;
using backend_cpu::Shape;

Operand x(Shape shape, double deviation = 1) { return {Role::compute, std::move(shape), 0, deviation}; }
Operand dense(Shape shape, double deviation = 1) { return {Role::dense, std::move(shape), 0, deviation}; }
Operand acc(Shape shape, double deviation = 1) { return {Role::acc, std::move(shape), 0, deviation}; }
Operand positive(Shape shape) { return {Role::positive_acc, std::move(shape), 0, 1}; }
Operand grad(Shape shape) { return {Role::grad, std::move(shape), 0, 1}; }
Operand ids(Shape shape, int64_t limit) { return {Role::ids, std::move(shape), limit, 1}; }
Operand slots(Shape shape) { return {Role::permutation, std::move(shape), 0, 1}; }
Operand none() { return {}; }

void add_routing(std::vector<OpCase>& c) {
  const Shape logits{1000, 70}, chosen{1000, 6};
  c.push_back({"route", "moe_route", {acc(logits), none()}, {acc(chosen), ids(chosen, 70)}, {{"k", 6}}, false, false});
  const Attrs groups{{"k", 6}, {"score", "sigmoid"}, {"scaling", 2.5}, {"groups", 7}, {"group_topk", 3}, {"group_top", 2}};
  c.push_back({"route_groups", "moe_route", {acc(logits), acc({70}, 0.1)}, {acc(chosen), ids(chosen, 70)}, groups, false, false});
  c.push_back({"route_grad", "moe_route_grad", {acc(chosen), acc(logits), ids(chosen, 70)}, {acc(logits)}, {}, false, false});
  c.push_back({"load", "moe_load", {acc({6000, 40}), ids({6000, 3}, 40)}, {acc({40}), acc({40})}, {}, false, false});
  c.push_back({"z_loss", "moe_z_loss", {acc({6000, 40})}, {acc({})}, {}, false, false});
  c.push_back({"add_loss",
               "add_loss",
               {acc({}), acc({}), ids({3, 5000}, 7)},
               {acc({})},
               {{"coefficient", 0.001}, {"ignore_index", 2}},
               false,
               false});
}

void add_experts(std::vector<OpCase>& c) {
  const Shape tokens{1500, 136}, rows{1500, 4, 136}, choices{1500, 4};
  c.push_back({"dispatch",
               "moe_dispatch",
               {x(tokens), ids(choices, 40)},
               {x(rows), ids(choices, 40), slots(choices)},
               {{"experts", 40}},
               false,
               true});
  c.push_back({"dispatch_grad", "moe_dispatch_grad", {x(rows), slots(choices)}, {x(tokens)}, {}, false, true});
  c.push_back({"combine", "moe_combine", {x(rows), slots(choices), acc(choices)}, {x(tokens)}, {}, false, true});
  c.push_back(
      {"combine_grad", "moe_combine_grad", {x(tokens), x(rows), slots(choices), acc(choices)}, {x(rows), acc(choices)}, {}, false, true});
}

// n x k features: multiples of 8 take 16-byte accesses, others do not.
void add_products(std::vector<OpCase>& c, const std::string& name, int64_t n, int64_t k) {
  const int64_t a = 900;
  const Attrs shard{{"shard_offset", 1}}, all{{"e", 5}, {"shard_offset", 1}};
  const Operand w = dense({5, n, k}, 0.2), id = ids({a}, 7);
  c.push_back({"linear_" + name, "grouped_linear", {x({a, k}), id, w, dense({5, n})}, {x({a, n})}, shard, false, true});
  c.push_back({"dgrad_" + name, "grouped_linear_dgrad", {x({a, n}), id, w}, {x({a, k})}, shard, false, true});
  c.push_back({"wgrad_" + name, "grouped_linear_wgrad", {x({a, n}, 0.3), id, x({a, k})}, {grad({5, n, k})}, all, true, true});
  c.push_back({"bias_" + name, "grouped_bias_grad", {x({a, n}), id}, {grad({5, n})}, all, true, true});
}

// Few rows, most experts without any, as in decoding.
void add_few_rows(std::vector<OpCase>& c) {
  c.push_back(
      {"linear_few", "grouped_linear", {x({3, 64}), ids({3}, 16), dense({16, 72, 64}, 0.2), none()}, {x({3, 72})}, {}, false, true});
  c.push_back({"wgrad_few", "grouped_linear_wgrad", {x({3, 72}), ids({3}, 16), x({3, 64})}, {grad({16, 72, 64})}, {{"e", 16}}, true, true});
}

// More tiles than blocks walk at once, none of them full at the edges.
void add_many_tiles(std::vector<OpCase>& c) {
  c.push_back({"wgrad_many_tiles",
               "grouped_linear_wgrad",
               {x({150, 1608}, 0.3), ids({150}, 6), x({150, 776})},
               {grad({5, 1608, 776})},
               {{"e", 5}, {"shard_offset", 1}},
               true,
               true});
}

struct Attention {
  std::string name;
  int64_t s, t, h, g, d;
  bool sinks, bias, lengths;
  Attrs attrs;
};

void add_attention(std::vector<OpCase>& c, const Attention& a) {
  const Shape q{2, a.s, a.h, a.d}, kv{2, a.t, a.g, a.d}, lse{2, a.h, a.s}, bias{a.h, a.s, a.t};
  const Operand sink = a.sinks ? acc({a.h}) : none(), more = a.bias ? acc(bias) : none(), lengths = a.lengths ? ids({2}, a.t) : none();
  c.push_back(
      {"attention_" + a.name, "attention", {x(q), x(kv), x(kv), none(), sink, more, lengths}, {x(q), acc(lse)}, a.attrs, false, true});
  c.push_back({"attention_grad_" + a.name,
               "attention_grad",
               {x(q, 0.1), x(q), x(kv), x(kv), x(q, 0.1), positive(lse), none(), sink, more, lengths},
               {x(q), x(kv), x(kv), a.sinks ? grad({a.h}) : none(), a.bias ? acc(bias) : none()},
               a.attrs,
               a.sinks,
               true});
}

void add_scans(std::vector<OpCase>& c, const std::string& name, int64_t s, int64_t p, int64_t n, bool optional) {
  const int64_t h = 4, g = 2;
  const Shape heads{2, s, h, p}, step{2, s, h}, group{2, s, g, n}, state{2, h, p, n};
  const auto may = [&](Operand o) { return optional ? std::move(o) : none(); };
  const std::vector<Operand> scan{x(heads), dense(step), acc({h}, 0.5), x(group), x(group), may(acc({h})), may(acc({h})), may(acc(state))};
  std::vector<Operand> back{x(heads, 0.3)};
  back.insert(back.end(), scan.begin(), scan.end());
  back.push_back(may(acc(state, 0.3)));
  c.push_back({"ssd_" + name, "ssd_scan", scan, {x(heads), acc(state)}, {}, false, true});
  c.push_back({"ssd_grad_" + name,
               "ssd_scan_grad",
               back,
               {x(heads), dense(step), grad({h}), x(group), x(group), may(grad({h})), may(grad({h})), may(acc(state))},
               {},
               true,
               true});
}

void add_selective(std::vector<OpCase>& c, const std::string& name, int64_t h, int64_t n) {
  const Shape channels{2, 150, h}, shared{2, 150, n}, state{2, h, n};
  const std::vector<Operand> scan{x(channels), x(channels), acc({h, n}, 0.5), x(shared), x(shared), acc({h}), acc({h}), acc(state)};
  std::vector<Operand> back{x(channels, 0.3)};
  back.insert(back.end(), scan.begin(), scan.end());
  back.push_back(none());
  c.push_back({"selective_" + name, "selective_scan", scan, {x(channels), acc(state)}, {}, false, true});
  c.push_back({"selective_grad_" + name,
               "selective_scan_grad",
               back,
               {x(channels), x(channels), grad({h, n}), x(shared), x(shared), grad({h}), grad({h}), acc(state)},
               {},
               true,
               true});
}

void add_rest(std::vector<OpCase>& c) {
  const Shape wide{2, 150, 136};
  c.push_back({"conv_long_taps",
               "causal_conv1d_grad",
               {x(wide, 0.3), x(wide), dense({136, 7}, 0.5), dense({136})},
               {x(wide), grad({136, 7}), grad({136})},
               {},
               true,
               true});
  c.push_back({"conv", "causal_conv1d", {x(wide), dense({136, 4}, 0.5), dense({136})}, {x(wide)}, {}, false, true});
  c.push_back({"conv_grad",
               "causal_conv1d_grad",
               {x(wide, 0.3), x(wide), dense({136, 4}, 0.5), none()},
               {x(wide), grad({136, 4}), none()},
               {{"kind", "none"}},
               true,
               true});
  const Shape rows{600, 1040};
  c.push_back({"gated_norm", "gated_rms_norm", {x(rows), x(rows), dense({1040})}, {x(rows), acc({600, 2})}, {{"g", 2}}, false, true});
  c.push_back({"gated_norm_grad",
               "gated_rms_norm_grad",
               {x(rows, 0.3), x(rows), x(rows), dense({1040}), positive({600, 2})},
               {x(rows), x(rows), grad({1040})},
               {},
               true,
               true});
  const Shape o{2, 130, 6, 64}, lse{2, 6, 130};
  c.push_back({"join", "attention_join", {x(o), acc(lse), x(o), acc(lse)}, {x(o), acc(lse)}, {}, false, true});
  c.push_back({"bias", "relative_bias", {dense({32, 6})}, {acc({6, 300, 300})}, {{"s", 300}, {"t", 300}}, false, false});
  c.push_back({"bias_ahead",
               "relative_bias",
               {dense({32, 6})},
               {acc({6, 200, 300})},
               {{"s", 200}, {"t", 300}, {"bidirectional", 0}},
               false,
               false});
  c.push_back({"bias_grad", "relative_bias_grad", {acc({6, 200, 300}, 0.1)}, {grad({32, 6})}, {{"v", 32}}, true, false});
}

std::vector<OpCase> wide_cases() {
  std::vector<OpCase> c;
  add_routing(c);
  add_experts(c);
  add_products(c, "vector", 264, 200);
  add_products(c, "wide", 520, 456);
  add_products(c, "odd", 131, 75);
  add_few_rows(c);
  add_many_tiles(c);
  const Attrs causal{{"scale", 0.1}, {"window", 100}}, both{{"scale", 0.1}, {"causal", 0}}, capped{{"scale", 0.1}, {"softcap", 2.0}};
  add_attention(c, {"sinks", 200, 200, 8, 2, 64, true, false, false, causal});
  add_attention(c, {"bias", 130, 200, 4, 4, 64, false, true, true, both});
  add_attention(c, {"all", 100, 100, 4, 2, 128, true, true, true, capped});
  const Attrs tilted{{"scale", 0.1}, {"alibi", 12}, {"alibi_first", 3}};
  add_attention(c, {"alibi", 130, 200, 8, 2, 64, true, false, false, tilted});
  c.push_back({"attention_cached_extras",
               "attention_cached",
               {x({2, 3, 6, 72}), x({2, 150, 2, 72}), x({2, 150, 2, 72}), ids({2}, 140), acc({6})},
               {x({2, 3, 6, 72})},
               tilted,
               false,
               true});
  c.push_back({"attention_cached_table",
               "attention_cached",
               {x({2, 3, 6, 72}), x({2, 150, 2, 72}), x({2, 150, 2, 72}), ids({2}, 140), none(), x({32, 6})},
               {x({2, 3, 6, 72})},
               {{"scale", 0.1}, {"bidirectional", 0}},
               false,
               false});
  add_attention(c, {"wide", 70, 100, 2, 1, 160, true, true, false, both});
  add_scans(c, "mamba2", 200, 64, 128, true);
  add_scans(c, "odd", 130, 80, 70, false);
  add_selective(c, "mamba1", 40, 16);
  add_selective(c, "more_states", 20, 40);
  add_rest(c);
  return c;
}

class CudaWideOps : public ::testing::TestWithParam<OpCase> {
 protected:
  void SetUp() override { NEMO_NEEDS_GPU(); }
};
std::string case_name(const ::testing::TestParamInfo<OpCase>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(table, CudaWideOps, ::testing::ValuesIn(wide_cases()), case_name);

TEST_P(CudaWideOps, agrees_with_the_cpu) {
  const OpCase& c = GetParam();
  for (nemo_dtype dtype : {F32, BF16}) expect_agreement(on_gpu(c, dtype), on_cpu(c, dtype), c, dtype, name_of(dtype));
}

TEST_P(CudaWideOps, accumulates_as_the_cpu_does) {
  const OpCase& c = GetParam();
  if (!c.accumulates) GTEST_SKIP() << "no outputs marked +";
  expect_agreement(on_gpu(c, BF16, NEMO_LAUNCH_ACCUMULATE), on_cpu(c, BF16, NEMO_LAUNCH_ACCUMULATE), c, BF16, "bf16");
}

TEST_P(CudaWideOps, repeat_and_replay_give_the_same_bits) {
  const OpCase& c = GetParam();
  const Arrays first = on_gpu(c, BF16);
  expect_same_bits(on_gpu(c, BF16), first, "repeated");
  expect_same_bits(on_gpu(c, BF16, 0, How::replayed), first, "replayed");
}

TEST(CudaMixtureFaults, are_reported_by_synchronize) {
  NEMO_NEEDS_GPU();
  const Array nan(F32, {1, 4}, {0, NAN, NAN, NAN}), rows(F32, {2, 3}), wrong(backend_cpu::I32, {2, 1}, {0, 4}), none;
  Arrays routed{Array(F32, {1, 2}), Array(backend_cpu::I32, {1, 2})};
  Arrays dealt{Array(F32, {2, 1, 3}), Array(backend_cpu::I32, {2, 1}), Array(backend_cpu::I32, {2, 1})};
  EXPECT_THROW(gpu()->run("moe_route", {nan, none}, routed, {{"k", 2}}), std::runtime_error);
  EXPECT_THROW(gpu()->run("moe_dispatch", {rows, wrong}, dealt, {{"experts", 4}}), std::runtime_error);
  EXPECT_NO_THROW(gpu()->run("moe_dispatch", {rows, wrong}, dealt, {{"experts", 5}}));
}

}  // namespace
}  // namespace nemo::backend_cuda
