// Cases of mixtures of experts, state-space models and what attention may be given beyond q, k and v.
#include "tests/backend_cpu/op_cases_more.hpp"

namespace nemo::backend_cpu {

namespace {

Operand x(Shape shape, double deviation = 1) { return {Role::compute, std::move(shape), 0, deviation}; }
Operand dense(Shape shape, double deviation = 1) { return {Role::dense, std::move(shape), 0, deviation}; }
Operand acc(Shape shape, double deviation = 1) { return {Role::acc, std::move(shape), 0, deviation}; }
Operand grad(Shape shape) { return {Role::grad, std::move(shape), 0, 1}; }
Operand ids(Shape shape, int64_t limit) { return {Role::ids, std::move(shape), limit, 1}; }
Operand slots(Shape shape) { return {Role::permutation, std::move(shape), 0, 1}; }
Operand none() { return {}; }

void add_routing(std::vector<OpCase>& c) {
  const Shape logits{300, 12}, chosen{300, 3};
  const Attrs grouped{{"k", 3}, {"score", "sigmoid"}, {"scaling", 2.5}, {"groups", 4}, {"group_topk", 2}, {"group_top", 2}};
  const Attrs back{{"score", "sigmoid"}, {"scaling", 2.5}};
  c.push_back({"moe_route", "moe_route", {acc(logits), none()}, {acc(chosen), ids(chosen, 12)}, {{"k", 3}}, false, false});
  c.push_back({"moe_route_groups", "moe_route", {acc(logits), acc({12}, 0.1)}, {acc(chosen), ids(chosen, 12)}, grouped, false, false});
  c.push_back({"moe_route_grad", "moe_route_grad", {acc(chosen), acc(logits), ids(chosen, 12)}, {acc(logits)}, back, false, false});
  c.push_back({"moe_load", "moe_load", {acc(logits), ids(chosen, 12)}, {acc({12}), acc({12})}, {}, false, false});
  c.push_back({"moe_load_sequences",
               "moe_load",
               {acc({4, 75, 12}), ids({4, 75, 3}, 12)},
               {acc({4, 12}), acc({4, 12})},
               {{"axes", 1}, {"score", "sigmoid"}},
               false,
               false});
  c.push_back({"moe_load_grad", "moe_load_grad", {acc({4, 12}), acc({4, 75, 12})}, {acc({4, 75, 12})}, {{"axes", 1}}, false, false});
  c.push_back({"moe_balance", "moe_balance", {acc({4, 12}), {Role::positive_acc, {4, 12}, 0, 1}}, {acc({})}, {}, false, false});
  c.push_back({"moe_balance_grad", "moe_balance_grad", {acc({}), {Role::positive_acc, {4, 12}, 0, 1}}, {acc({4, 12})}, {}, false, false});
  c.push_back(
      {"add_loss", "add_loss", {acc({}), acc({}), ids({3, 5}, 7)}, {acc({})}, {{"coefficient", 0.3}, {"ignore_index", 2}}, false, false});
  c.push_back({"add_loss_quotient",
               "add_loss",
               {acc({}), acc({}), ids({2}, 40)},
               {acc({})},
               {{"coefficient", 0.3}, {"quotient", 1}},
               false,
               false});
  c.push_back({"add_loss_grad", "add_loss_grad", {acc({}), none()}, {acc({})}, {{"coefficient", 0.3}}, false, false});
  c.push_back({"moe_z_loss", "moe_z_loss", {acc(logits)}, {acc({})}, {}, false, false});
  c.push_back({"moe_z_loss_grad", "moe_z_loss_grad", {acc({}), acc(logits)}, {acc(logits)}, {}, false, false});
}

void add_experts(std::vector<OpCase>& c) {
  const Shape tokens{70, 33}, rows{70, 3, 33}, choices{70, 3};
  c.push_back({"moe_dispatch",
               "moe_dispatch",
               {x(tokens), ids(choices, 6)},
               {x(rows), ids(choices, 6), slots(choices)},
               {{"experts", 6}},
               false,
               true});
  c.push_back({"moe_dispatch_grad", "moe_dispatch_grad", {x(rows), slots(choices)}, {x(tokens)}, {}, false, true});
  c.push_back({"moe_combine", "moe_combine", {x(rows), slots(choices), acc(choices)}, {x(tokens)}, {}, false, true});
  c.push_back({"moe_combine_grad",
               "moe_combine_grad",
               {x(tokens), x(rows), slots(choices), acc(choices)},
               {x(rows), acc(choices)},
               {},
               false,
               true});
  const Attrs shard{{"shard_offset", 1}};
  c.push_back({"grouped_linear",
               "grouped_linear",
               {x({90, 33}), ids({90}, 6), dense({4, 19, 33}, 0.2), dense({4, 19})},
               {x({90, 19})},
               shard,
               false,
               true});
  c.push_back({"grouped_linear_dgrad",
               "grouped_linear_dgrad",
               {x({90, 19}), ids({90}, 6), dense({4, 19, 33}, 0.2)},
               {x({90, 33})},
               shard,
               false,
               true});
  c.push_back({"grouped_linear_wgrad",
               "grouped_linear_wgrad",
               {x({90, 19}, 0.3), ids({90}, 6), x({90, 33})},
               {grad({8, 19, 33})},
               {{"e", 8}, {"shard_offset", 1}},
               true,
               true});
  c.push_back({"grouped_bias_grad", "grouped_bias_grad", {x({90, 19}), ids({90}, 6)}, {grad({8, 19})}, {{"e", 8}}, true, true});
  c.push_back({"row_scale", "row_scale", {x(tokens), dense({70})}, {x(tokens)}, {}, false, true});
  c.push_back({"row_scale_grad", "row_scale_grad", {x(tokens), x(tokens), dense({70})}, {x(tokens), dense({70})}, {}, false, true});
  c.push_back({"clamped_glu", "clamped_glu", {x(tokens), x(tokens)}, {x(tokens)}, {{"limit", 1.5}}, false, true});
  c.push_back(
      {"clamped_glu_grad", "clamped_glu_grad", {x(tokens), x(tokens), x(tokens)}, {x(tokens), x(tokens)}, {{"limit", 1.5}}, false, true});
}

void add_attention_inputs(std::vector<OpCase>& c) {
  const Shape q{2, 70, 4, 12}, kv{2, 150, 2, 12}, lse{2, 4, 70}, bias{4, 70, 150};
  const Operand lengths = ids({2}, 150);
  const Attrs attrs{{"scale", 0.3}, {"causal", 0}};
  static const std::vector<double> frequencies{1, 0.3, 0.1};
  c.push_back(
      {"attention_extras", "attention", {x(q), x(kv), x(kv), none(), acc({4}), acc(bias), lengths}, {x(q), acc(lse)}, attrs, false, true});
  c.push_back({"attention_grad_extras",
               "attention_grad",
               {x(q, 0.1), x(q), x(kv), x(kv), x(q, 0.1), {Role::positive_acc, lse, 0, 1}, none(), acc({4}), acc(bias), lengths},
               {x(q), x(kv), x(kv), grad({4}), acc(bias)},
               attrs,
               true,
               true});
  c.push_back({"attention_join", "attention_join", {x(q), acc(lse), x(q), acc(lse)}, {x(q), acc(lse)}, {}, false, true});
  c.push_back(
      {"relative_bias", "relative_bias", {dense({16, 4})}, {acc({4, 30, 40})}, {{"s", 30}, {"t", 40}, {"max_distance", 20}}, false, false});
  c.push_back({"relative_bias_grad",
               "relative_bias_grad",
               {acc({4, 30, 40}, 0.1)},
               {grad({16, 4})},
               {{"v", 16}, {"bidirectional", 0}},
               true,
               false});
  c.push_back({"head_concat", "head_concat", {x({2, 9, 4, 10}), x({2, 9, 2, 6})}, {x({2, 9, 4, 16})}, {{"f", 16}}, false, true});
  c.push_back({"head_concat_grad",
               "head_concat_grad",
               {x({2, 9, 4, 16})},
               {x({2, 9, 4, 10}), x({2, 9, 2, 6})},
               {{"d", 10}, {"m", 2}, {"r", 6}},
               false,
               true});
  c.push_back({"take_token", "take_token", {x({3, 9, 20})}, {x({3, 20})}, {{"index", 2}}, false, true});
  c.push_back({"take_token_elsewhere", "take_token", {x({3, 9, 20})}, {x({3, 20})}, {{"index", -1}, {"part", 1}}, false, true});
  c.push_back(
      {"take_token_elsewhere_grad", "take_token_grad", {x({3, 20})}, {x({3, 9, 20})}, {{"index", -1}, {"s", 9}, {"part", 1}}, false, true});
  c.push_back({"take_token_grad", "take_token_grad", {x({3, 20})}, {x({3, 9, 20})}, {{"index", 2}, {"s", 9}}, false, true});
  c.push_back({"rope_offset",
               "rope",
               {x({2, 9, 3, 10}), ids({2, 9}, 1000)},
               {x({2, 9, 3, 10})},
               {{"inv_freq", frequencies}, {"offset", 3}},
               false,
               true});
}

void add_state_space(std::vector<OpCase>& c) {
  const Shape wide{2, 29, 70};
  c.push_back({"causal_conv1d", "causal_conv1d", {x(wide), dense({70, 4}, 0.5), dense({70})}, {x(wide)}, {}, false, true});
  c.push_back({"causal_conv1d_grad",
               "causal_conv1d_grad",
               {x(wide, 0.3), x(wide), dense({70, 4}, 0.5), dense({70})},
               {x(wide), grad({70, 4}), grad({70})},
               {},
               true,
               true});
  c.push_back({"causal_conv1d_cached",
               "causal_conv1d_cached",
               {x(wide), dense({70, 4}, 0.5), dense({70}), ids({2}, 2), ids({2}, 30)},
               {x(wide), dense({2, 3, 70})},
               {},
               false,
               true});
  const Shape heads{2, 29, 4, 6}, step{2, 29, 4}, group{2, 29, 2, 5}, state{2, 4, 6, 5}, h{4};
  const std::vector<Operand> scan{x(heads), dense(step), acc(h, 0.5), x(group), x(group), acc(h), acc(h), acc(state)};
  std::vector<Operand> back{x(heads, 0.3)};
  back.insert(back.end(), scan.begin(), scan.end());
  back.push_back(acc(state, 0.3));
  const Attrs limits{{"dt_min", 0.2}, {"dt_max", 1.5}};
  c.push_back({"ssd_scan", "ssd_scan", scan, {x(heads), acc(state)}, limits, false, true});
  std::vector<Operand> scan_on(scan.begin(), scan.end() - 1);
  scan_on.insert(scan_on.end(), {ids({2}, 2), ids({2}, 30)});
  c.push_back({"ssd_scan_cached", "ssd_scan_cached", scan_on, {x(heads), acc(state)}, limits, false, true});
  c.push_back({"ssd_scan_grad",
               "ssd_scan_grad",
               back,
               {x(heads), dense(step), grad(h), x(group), x(group), grad(h), grad(h), acc(state)},
               limits,
               true,
               true});
  const Shape channels{2, 29, 21}, shared{2, 29, 5}, s{2, 21, 5}, n{21};
  const std::vector<Operand> selective{x(channels), x(channels), acc({21, 5}, 0.5), x(shared), x(shared), acc(n), acc(n), acc(s)};
  std::vector<Operand> selective_back{x(channels, 0.3)};
  selective_back.insert(selective_back.end(), selective.begin(), selective.end());
  selective_back.push_back(acc(s, 0.3));
  c.push_back({"selective_scan", "selective_scan", selective, {x(channels), acc(s)}, {}, false, true});
  std::vector<Operand> selective_on(selective.begin(), selective.end() - 1);
  selective_on.insert(selective_on.end(), {ids({2}, 2), ids({2}, 30)});
  c.push_back({"selective_scan_cached", "selective_scan_cached", selective_on, {x(channels), acc(s)}, {}, false, true});
  c.push_back({"selective_scan_grad",
               "selective_scan_grad",
               selective_back,
               {x(channels), x(channels), grad({21, 5}), x(shared), x(shared), grad(n), grad(n), acc(s)},
               {},
               true,
               true});
  c.push_back(
      {"gated_rms_norm", "gated_rms_norm", {x({70, 24}), x({70, 24}), dense({24})}, {x({70, 24}), acc({70, 3})}, {{"g", 3}}, false, true});
  c.push_back({"gated_rms_norm_grad",
               "gated_rms_norm_grad",
               {x({70, 24}, 0.3), x({70, 24}), x({70, 24}), dense({24}), {Role::positive_acc, {70, 3}, 0, 1}},
               {x({70, 24}), x({70, 24}), grad({24})},
               {},
               true,
               true});
}

// Chunks 1 and 4 of 6, as a rank of context parallel training has them; put_chunks clears the others, zeros everything.
void add_chunks(std::vector<OpCase>& c) {
  const Shape whole{3, 18, 2, 35}, part{3, 6, 2, 35};
  static const std::vector<double> take{4, 1};
  const Attrs taken{{"chunks", 6}, {"take", take}};
  c.push_back({"take_chunks", "take_chunks", {dense(whole)}, {dense(part)}, taken, false, false});
  c.push_back({"put_chunks", "put_chunks", {dense(part)}, {dense(whole)}, taken, false, false});
  c.push_back({"zeros", "zeros", {none()}, {dense(whole)}, {}, false, false});
  c.push_back({"zeros_like", "zeros", {dense(part)}, {dense(part)}, {}, false, false});
}

}  // namespace

void add_more_cases(std::vector<OpCase>& c) {
  add_routing(c);
  add_experts(c);
  add_attention_inputs(c);
  add_state_space(c);
  add_chunks(c);
}

}  // namespace nemo::backend_cpu
