#include "tests/backend_cpu/op_cases.hpp"

#include <cmath>

#include "tests/backend_cpu/op_cases_more.hpp"

namespace nemo::backend_cpu {

namespace {

Operand x(Shape shape, double deviation = 1) { return {Role::compute, std::move(shape), 0, deviation}; }
Operand dense(Shape shape, double deviation = 1) { return {Role::dense, std::move(shape), 0, deviation}; }
Operand acc(Shape shape, double deviation = 1) { return {Role::acc, std::move(shape), 0, deviation}; }
Operand scale(Shape shape) { return {Role::positive_acc, std::move(shape), 0, 1}; }
Operand grad(Shape shape) { return {Role::grad, std::move(shape), 0, 1}; }
Operand ids(Shape shape, int64_t limit) { return {Role::ids, std::move(shape), limit, 1}; }
Operand state(Shape shape) { return {Role::state, std::move(shape), 0, 1}; }
Operand none() { return {}; }

const std::vector<double>& frequencies() {
  static const std::vector<double> f{1, 0.3, 0.1, 0.03};
  return f;
}

void add_linear(std::vector<OpCase>& c) {
  c.push_back({"linear", "linear", {x({3, 7, 33}), x({19, 33}, 0.2), none()}, {x({3, 7, 19})}, {}, false, true});
  c.push_back(
      {"linear_bias_heads", "linear", {x({3, 7, 40}), dense({4, 12, 40}, 0.2), dense({4, 12})}, {x({3, 7, 4, 12})}, {}, false, true});
  c.push_back({"linear_contract_2",
               "linear",
               {x({2, 5, 4, 12}), dense({24, 4, 12}, 0.2), none()},
               {x({2, 5, 24})},
               {{"contract", 2}},
               false,
               true});
  c.push_back({"linear_large", "linear", {x({150, 530}), x({410, 530}, 0.05), x({410})}, {x({150, 410})}, {}, false, true});
  c.push_back({"linear_dgrad", "linear_dgrad", {x({3, 7, 19}), x({19, 33}, 0.2)}, {x({3, 7, 33})}, {}, false, true});
  c.push_back(
      {"linear_dgrad_2", "linear_dgrad", {x({2, 5, 24}), dense({24, 4, 12}, 0.2)}, {x({2, 5, 4, 12})}, {{"contract", 2}}, false, true});
  c.push_back({"linear_wgrad", "linear_wgrad", {x({3, 7, 19}, 0.3), x({3, 7, 33})}, {grad({19, 33})}, {}, true, true});
  c.push_back({"linear_wgrad_heads", "linear_wgrad", {x({2, 9, 4, 12}, 0.3), x({2, 9, 40})}, {grad({4, 12, 40})}, {}, true, true});
  c.push_back({"bias_grad", "bias_grad", {x({300, 60}, 0.1)}, {grad({60})}, {}, true, true});
  c.push_back({"bias_grad_2", "bias_grad", {x({2, 3, 4, 5})}, {grad({4, 5})}, {{"axes", 2}}, true, true});
  const Attrs keys{{"zero_start", 16}, {"zero_length", 24}}, rest{{"zero_start", 7}, {"zero_length", 53}};
  c.push_back({"bias_grad_zeros", "bias_grad", {x({300, 64}, 0.1)}, {grad({64})}, keys, true, true});
  c.push_back({"bias_grad_zeros_odd", "bias_grad", {x({70, 60}, 0.1)}, {grad({60})}, rest, true, true});
}

void add_fused_linear(std::vector<OpCase>& c) {
  for (const char* kind : {"gelu_tanh", "relu2"}) {
    const Attrs attrs{{"kind", kind}};
    const std::string s = kind;
    c.push_back({"linear_activation_" + s,
                 "linear_activation",
                 {x({3, 16, 40}), x({24, 40}, 0.2), x({24})},
                 {x({3, 16, 24}), x({3, 16, 24})},
                 attrs,
                 false,
                 true});
    c.push_back({"linear_activation_only_" + s,
                 "linear_activation",
                 {x({3, 16, 40}), x({24, 40}, 0.2), none()},
                 {x({3, 16, 24}), none()},
                 attrs,
                 false,
                 true});
    c.push_back({"linear_dgrad_activation_" + s,
                 "linear_dgrad_activation",
                 {x({3, 16, 24}), x({24, 40}, 0.2), x({3, 16, 40})},
                 {x({3, 16, 40}), none()},
                 attrs,
                 false,
                 true});
  }
  c.push_back({"linear_dgrad_activation_bias",
               "linear_dgrad_activation",
               {x({3, 16, 24}), x({24, 40}, 0.2), x({3, 16, 40})},
               {x({3, 16, 40}), grad({40})},
               {{"kind", "gelu_tanh"}},
               true,
               true});
}

void add_norms(std::vector<OpCase>& c) {
  const Shape a{300, 70}, d{70}, r{300};
  c.push_back({"rms_norm", "rms_norm", {x(a), x(d)}, {x(a), acc(r)}, {}, false, true});
  c.push_back({"rms_norm_plain", "rms_norm", {x(a), none()}, {x(a), acc(r)}, {}, false, true});
  c.push_back({"layer_norm", "layer_norm", {x(a), x(d), x(d)}, {x(a), acc(r), acc(r)}, {{"zero_centered", 1}}, false, true});
  c.push_back({"add_rms_norm", "add_rms_norm", {x(a), x(a), x(d)}, {x(a), x(a), acc(r)}, {}, false, true});
  c.push_back({"add_layer_norm", "add_layer_norm", {x(a), x(a), x(d), x(d)}, {x(a), x(a), acc(r), acc(r)}, {}, false, true});
  c.push_back({"add_layer_norm_bias", "add_layer_norm", {x(a), x(a), x(d), x(d), x(d)}, {x(a), x(a), acc(r), acc(r)}, {}, false, true});
  c.push_back({"rms_norm_grad", "rms_norm_grad", {x(a, 0.1), x(a), x(d), scale(r)}, {x(a), grad(d)}, {}, true, true});
  c.push_back({"rms_norm_grad_add",
               "rms_norm_grad_add",
               {x(a, 0.1), x(a), x(d), scale(r), x(a)},
               {x(a), grad(d)},
               {{"zero_centered", 1}},
               true,
               true});
  c.push_back(
      {"layer_norm_grad", "layer_norm_grad", {x(a, 0.1), x(a), x(d), acc(r, 0.1), scale(r)}, {x(a), grad(d), grad(d)}, {}, true, true});
  c.push_back({"layer_norm_grad_add",
               "layer_norm_grad_add",
               {x(a, 0.1), x(a), x(d), acc(r, 0.1), scale(r), x(a)},
               {x(a), grad(d), grad(d)},
               {},
               true,
               true});
  c.push_back({"layer_norm_grad_add_bias",
               "layer_norm_grad_add",
               {x(a, 0.1), x(a), x(d), acc(r, 0.1), scale(r), x(a)},
               {x(a), grad(d), grad(d), grad(d)},
               {},
               true,
               true});
}

void add_attention(std::vector<OpCase>& c) {
  const Attrs plain{{"scale", 0.3}}, special{{"scale", 0.3}, {"window", 40}, {"softcap", 3.0}};
  const Shape q{2, 150, 6, 12}, kv{2, 150, 2, 12}, wide{2, 150, 2, 20}, o{2, 150, 6, 20}, lse{2, 6, 150};
  c.push_back({"attention", "attention", {x(q), x(kv), x(wide), none()}, {x(o), acc(lse)}, plain, false, true});
  c.push_back({"attention_segments", "attention", {x(q), x(kv), x(wide), ids({2, 150}, 3)}, {x(o), acc(lse)}, special, false, true});
  const Shape few{2, 3, 6, 12}, kv_few{2, 3, 2, 12};
  c.push_back({"attention_cached", "attention_cached", {x(few), x(kv), x(wide), ids({2}, 140)}, {x({2, 3, 6, 20})}, special, false, true});
  c.push_back({"attention_cached_table",
               "attention_cached",
               {x(few), x(kv), x(wide), ids({2}, 140), none(), x({9, 6})},
               {x({2, 3, 6, 20})},
               {{"scale", 0.3}, {"bidirectional", 0}, {"max_distance", 40}},
               false,
               false});
  c.push_back({"cache_write", "cache_write", {x(kv_few), ids({2}, 140)}, {x(kv)}, {}, false, true});
  c.push_back({"attention_grad",
               "attention_grad",
               {x(o, 0.1), x(q), x(kv), x(wide), x(o, 0.1), scale(lse), none()},
               {x(q), x(kv), x(wide)},
               plain,
               false,
               true});
  c.push_back({"attention_grad_segments",
               "attention_grad",
               {x(o, 0.1), x(q), x(kv), x(wide), x(o, 0.1), scale(lse), ids({2, 150}, 3)},
               {x(q), x(kv), x(wide)},
               special,
               false,
               true});
  c.push_back({"rope",
               "rope",
               {x({2, 9, 3, 10}), ids({2, 9}, 1000)},
               {x({2, 9, 3, 10})},
               {{"inv_freq", frequencies()}, {"scale", 1.2}},
               false,
               true});
  c.push_back({"rope_interleaved",
               "rope",
               {x({2, 9, 3, 10}), ids({2, 9}, 1000)},
               {x({2, 9, 3, 10})},
               {{"inv_freq", frequencies()}, {"interleaved", 1}},
               false,
               true});
}

void add_elementwise(std::vector<OpCase>& c) {
  const Shape a{37, 1100};
  for (const char* kind : {"gelu_erf", "gelu_tanh", "silu", "relu", "relu2", "quick_gelu", "tanh", "sigmoid", "softplus"}) {
    c.push_back({std::string("activation_") + kind, "activation", {x(a)}, {x(a)}, {{"kind", kind}}, false, true});
    c.push_back({std::string("activation_grad_") + kind, "activation_grad", {x(a), x(a)}, {x(a)}, {{"kind", kind}}, false, true});
  }
  c.push_back({"glu", "glu", {x(a), x(a)}, {x(a)}, {}, false, true});
  c.push_back({"glu_grad", "glu_grad", {x(a), x(a), x(a)}, {x(a), x(a)}, {}, false, true});
  c.push_back({"add", "add", {x(a), x(a)}, {x(a)}, {}, false, true});
  c.push_back({"mul", "mul", {x(a), x(a)}, {x(a)}, {}, false, true});
  c.push_back({"scale", "scale", {x(a)}, {x(a)}, {{"alpha", 0.7}}, false, true});
  c.push_back({"cast", "cast", {x(a)}, {grad(a)}, {{"dtype", "f32"}}, false, true});
  c.push_back({"dropout", "dropout", {x(a), {Role::rng, {2}, 0, 1}}, {x(a)}, {{"p", 0.25}, {"key", 11}}, false, false});
  c.push_back({"accumulate_grad", "accumulate_grad", {x(a)}, {grad(a)}, {}, true, true});
  c.push_back({"slice", "slice", {x({4, 9, 6})}, {x({4, 3, 6})}, {{"dim", 1}, {"start", 2}, {"length", 3}}, false, true});
  c.push_back({"concat", "concat", {x({4, 2, 6}), x({4, 3, 6}), x({4, 1, 6})}, {x({4, 6, 6})}, {{"dim", 1}}, false, true});
  c.push_back({"softmax", "softmax", {x(a)}, {x(a)}, {}, false, true});
  c.push_back({"softmax_grad", "softmax_grad", {x(a), x(a, 0.01)}, {x(a)}, {}, false, true});
  c.push_back({"sum", "sum", {acc(a)}, {acc({})}, {}, false, false});
  c.push_back({"broadcast", "broadcast", {acc({}), x(a)}, {acc(a)}, {}, false, false});
  c.push_back({"embedding", "embedding", {ids({3, 40}, 30), x({25, 48})}, {x({3, 40, 48})}, {{"shard_offset", 2}}, false, true});
  c.push_back({"embedding_grad",
               "embedding_grad",
               {x({3, 40, 48}), ids({3, 40}, 30)},
               {grad({25, 48})},
               {{"rows", 25}, {"shard_offset", 2}},
               true,
               true});
}

void add_losses(std::vector<OpCase>& c) {
  const Shape a{40, 530}, r{40};
  const Attrs attrs{{"label_smoothing", 0.1}, {"z_loss", 0.01}, {"ignore_index", 3}}, shard{{"ignore_index", 3}, {"shard_offset", 100}};
  c.push_back({"cross_entropy", "cross_entropy", {x(a), ids(r, 530)}, {acc(r), acc(r)}, attrs, false, true});
  c.push_back({"cross_entropy_grad", "cross_entropy_grad", {acc(r), x(a), ids(r, 530), scale(r)}, {x(a)}, attrs, false, true});
  c.push_back(
      {"linear_cross_entropy", "linear_cross_entropy", {x({300, 40}), x({53, 40}, 0.2), ids({300}, 53)}, {acc({300})}, attrs, false, true});
  c.push_back({"linear_cross_entropy_train",
               "linear_cross_entropy_train",
               {x({300, 40}), x({53, 40}, 0.2), ids({300}, 53), acc({300}, 0.3)},
               {acc({300}), x({300, 40}), grad({53, 40})},
               attrs,
               true,
               true});
  c.push_back({"row_max", "row_max", {x(a)}, {acc(r)}, {}, false, true});
  c.push_back({"cross_entropy_parts",
               "cross_entropy_parts",
               {x(a), ids(r, 700), scale(r)},
               {acc(r), acc(r)},
               {{"shard_offset", 100}},
               false,
               true});
  c.push_back({"cross_entropy_join",
               "cross_entropy_join",
               {scale(r), acc(r), acc(r), ids(r, 700)},
               {acc(r), acc(r)},
               {{"z_loss", 0.01}},
               false,
               false});
  c.push_back({"cross_entropy_shard_grad", "cross_entropy_shard_grad", {acc(r), x(a), ids(r, 700), scale(r)}, {x(a)}, shard, false, true});
}

void add_optimizers(std::vector<OpCase>& c) {
  const Shape n{40001};
  const Operand hyper{Role::hyper, {8}, 0, 1};
  c.push_back({"sum_squares", "sum_squares", {x(n)}, {{Role::total, {}, 0, 1}}, {{"accumulate", 0}}, true, false});
  c.push_back({"add_scalar", "add_scalar", {acc({})}, {{Role::total, {}, 0, 1}}, {}, true, false});
  c.push_back({"clip_coefficient",
               "clip_coefficient",
               {{Role::totals, {3}, 0, 1}, hyper},
               {hyper, {Role::totals, {3}, 0, 1}},
               {{"max_norm", 0.3}},
               false,
               false});
  c.push_back({"adamw", "adamw", {x(n), hyper}, {x(n), state(n), state(n), state(n)}, {{"weight_decay", 0.1}}, false, false});
  c.push_back({"adamw_no_master", "adamw", {x(n), hyper}, {x(n), none(), x(n), {Role::positive, n, 0, 1}}, {}, false, false});
  c.push_back({"sgd", "sgd", {x(n), hyper}, {x(n), state(n), state(n)}, {{"momentum", 0.9}, {"weight_decay", 0.1}}, false, false});
  c.push_back({"sgd_plain", "sgd", {x(n), hyper}, {x(n)}, {}, false, false});
}

Array make(const Operand& o, nemo_dtype compute, uint64_t seed) {
  const nemo_dtype wide = compute == NEMO_DTYPE_F64 ? NEMO_DTYPE_F64 : NEMO_DTYPE_F32;
  auto random = [&](nemo_dtype dtype) { return normal_array(NEMO_DTYPE_BF16, o.shape, seed, o.deviation).as(dtype); };
  switch (o.role) {
    case Role::compute:
    case Role::dense:
      return random(compute);
    case Role::acc:
    case Role::grad:
      return random(wide);
    case Role::positive:
    case Role::positive_acc:
    case Role::state: {
      Array a = random(o.role == Role::positive ? compute : wide);
      for (int64_t i = 0; i < a.size(); ++i) a.set(i, 1 + 0.25 * std::fabs(a.get(i)));
      return a;
    }
    case Role::e4m3:
      return random(NEMO_DTYPE_E4M3);
    case Role::e5m2:
      return random(NEMO_DTYPE_E5M2);
    case Role::ids: {
      Array a(NEMO_DTYPE_I32, o.shape);
      for (int64_t i = 0; i < a.size(); ++i)
        a.set(i, static_cast<double>((i * 7919 + static_cast<int64_t>(seed) * 104729) % 1000003 % o.limit));
      return a;
    }
    case Role::permutation: {
      Array a(NEMO_DTYPE_I32, o.shape);
      for (int64_t i = 0; i < a.size(); ++i) a.set(i, static_cast<double>((i * 7919 + static_cast<int64_t>(seed)) % a.size()));
      return a;
    }
    case Role::rng:
      return Array(NEMO_DTYPE_I64, o.shape, {1234, 5});
    case Role::hyper:
      return Array(NEMO_DTYPE_F64, o.shape, {0.01, 0.9, 0.95, 1e-8, 0.1, 0.05, 0.5, 0});
    case Role::totals:
      return Array(NEMO_DTYPE_F64, o.shape, {50, 12, 4});
    case Role::total:
      return Array(NEMO_DTYPE_F64, o.shape, {2.5});
    default:
      return {};
  }
}

std::vector<OpCase> quantize_cases() {
  std::vector<OpCase> c;
  const Operand amax = scale({}), factor = acc({}), history = scale({3, 5});
  const auto e4m3 = [](Shape s) { return Operand{Role::e4m3, std::move(s), 0, 1}; };
  const auto e5m2 = [](Shape s) { return Operand{Role::e5m2, std::move(s), 0, 1}; };
  const Shape a{2, 136, 400}, at{400, 2, 136};
  c.push_back({"amax", "amax", {x(a, 0.3)}, {factor}, {}, false, true});
  c.push_back({"glu_amax", "glu_amax", {x(a), x(a)}, {x(a), factor}, {}, false, true});
  c.push_back({"glu_grad_amax", "glu_grad_amax", {x(a), x(a), x(a)}, {x(a), x(a), factor}, {{"kind", "gelu_tanh"}}, false, true});
  const Shape rows{300, 80}, d{80}, r{300};
  c.push_back({"rms_norm_amax", "rms_norm_amax", {x(rows), x(d)}, {x(rows), acc(r), factor}, {}, false, true});
  c.push_back({"add_rms_norm_amax", "add_rms_norm_amax", {x(rows), x(rows), x(d)}, {x(rows), x(rows), acc(r), factor}, {}, false, true});
  c.push_back({"rms_norm_grad_add_amax",
               "rms_norm_grad_add_amax",
               {x(rows, 0.1), x(rows), x(d), scale(r), x(rows)},
               {x(rows), grad(d), factor},
               {},
               true,
               true});
  c.push_back({"quantize", "quantize", {x(a), amax}, {e4m3(a), e4m3(at), factor}, {{"dtype", "e4m3"}, {"margin", 1}}, false, true});
  c.push_back({"quantize_rows", "quantize", {x(a, 1e-4), amax}, {e5m2(a), none(), factor}, {{"dtype", "e5m2"}}, false, true});
  c.push_back({"quantize_turned",
               "quantize",
               {x({48, 4, 64}), scale({3})},
               {none(), e5m2({4, 64, 48}), factor, history},
               {{"dtype", "e5m2"}, {"contract", 2}, {"index", 1}},
               false,
               false});
  c.push_back({"recent_amax", "recent_amax", {scale({7, 300})}, {acc({7}), scale({7, 300})}, {}, false, false});
  c.push_back({"recent_amax_newest", "recent_amax", {history}, {acc({3}), history}, {{"algorithm", "most_recent"}}, false, false});
  return c;
}

std::vector<OpCase> linear_fp8_cases(const char* result) {
  std::vector<OpCase> c;
  const Operand factor = scale({});
  const auto e4m3 = [](Shape s) { return Operand{Role::e4m3, std::move(s), 0, 1}; };
  const auto e5m2 = [](Shape s) { return Operand{Role::e5m2, std::move(s), 0, 0.3}; };
  const Attrs plain{{"dtype", result}}, two{{"dtype", result}, {"contract", 2}};
  c.push_back(
      {"linear_fp8", "linear_fp8", {e4m3({2, 72, 272}), e4m3({4, 12, 272}), factor, factor}, {x({2, 72, 4, 12})}, plain, false, true});
  c.push_back(
      {"linear_fp8_2", "linear_fp8", {e4m3({2, 72, 4, 64}), e4m3({96, 4, 64}), factor, factor}, {x({2, 72, 96})}, two, false, true});
  c.push_back({"linear_dgrad_fp8",
               "linear_dgrad_fp8",
               {e5m2({2, 72, 4, 12}), e4m3({272, 4, 12}), factor, factor},
               {x({2, 72, 272})},
               plain,
               false,
               true});
  c.push_back({"linear_wgrad_fp8",
               "linear_wgrad_fp8",
               {e5m2({4, 12, 2, 72}), e4m3({272, 2, 72}), factor, factor},
               {grad({4, 12, 272})},
               {},
               true,
               false});
  return c;
}

}  // namespace

std::vector<OpCase> narrow_cases(nemo_dtype compute) {
  const char* result = compute == NEMO_DTYPE_BF16 ? "bf16" : compute == NEMO_DTYPE_F16 ? "f16" : "f32";
  std::vector<OpCase> c = quantize_cases();
  for (OpCase& l : linear_fp8_cases(result)) c.push_back(std::move(l));
  if (compute != NEMO_DTYPE_F32)
    c.push_back({"linear_fp8_bias",
                 "linear_fp8",
                 {{Role::e4m3, {144, 272}, 0, 1}, {Role::e4m3, {48, 272}, 0, 1}, scale({}), scale({}), x({48})},
                 {x({144, 48})},
                 {{"dtype", result}},
                 false,
                 true});
  return c;
}

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> cases = [] {
    std::vector<OpCase> c;
    add_linear(c);
    add_fused_linear(c);
    add_norms(c);
    add_attention(c);
    add_elementwise(c);
    add_losses(c);
    add_optimizers(c);
    add_more_cases(c);
    return c;
  }();
  return cases;
}

Arrays make_inputs(const OpCase& c, nemo_dtype compute) {
  Arrays a;
  for (size_t i = 0; i < c.inputs.size(); ++i) a.push_back(make(c.inputs[i], compute, i + 1));
  return a;
}

Arrays make_outputs(const OpCase& c, nemo_dtype compute) {
  Arrays a;
  for (size_t i = 0; i < c.outputs.size(); ++i) a.push_back(make(c.outputs[i], compute, i + 101));
  return a;
}

}  // namespace nemo::backend_cpu
