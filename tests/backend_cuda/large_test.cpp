// Shapes of real models, which take the 16-byte paths, several blocks per row and several chunks.
#include "tests/backend_cuda/parity.hpp"

namespace nemo::backend_cuda {
namespace {

using backend_cpu::Operand;
using backend_cpu::Shape;

Operand x(Shape shape, double deviation = 1) { return {Role::compute, std::move(shape), 0, deviation}; }
Operand acc(Shape shape) { return {Role::positive_acc, std::move(shape), 0, 1}; }
Operand grad(Shape shape) { return {Role::grad, std::move(shape), 0, 1}; }
Operand ids(Shape shape, int64_t limit) { return {Role::ids, std::move(shape), limit, 1}; }
Operand state(Shape shape) { return {Role::state, std::move(shape), 0, 1}; }

void add_fused_and_norms(std::vector<OpCase>& c) {
  for (const char* kind : {"gelu_tanh", "silu"}) {
    const std::string s = kind;
    c.push_back({"linear_activation_" + s,
                 "linear_activation",
                 {x({512, 768}), x({1600, 768}, 0.03), x({1600})},
                 {x({512, 1600}), x({512, 1600})},
                 {{"kind", kind}},
                 false,
                 true});
    c.push_back({"linear_dgrad_activation_" + s,
                 "linear_dgrad_activation",
                 {x({512, 768}, 0.1), x({768, 1600}, 0.03), x({512, 1600})},
                 {x({512, 1600}), grad({1600})},
                 {{"kind", kind}},
                 true,
                 true});
  }
  for (const int64_t d : {64, 768, 1600, 2048, 4096, 8192, 16384}) {
    const int64_t rows = 700000 / d + 3;
    const Shape a{rows, d}, w{d}, r{rows};
    const std::string s = std::to_string(d);
    c.push_back({"rms_norm_" + s, "add_rms_norm", {x(a), x(a), x(w)}, {x(a), x(a), acc(r)}, {}, false, true});
    c.push_back({"layer_norm_" + s, "layer_norm", {x(a), x(w), x(w)}, {x(a), acc(r), acc(r)}, {}, false, true});
    c.push_back({"rms_norm_grad_" + s, "rms_norm_grad_add", {x(a, 0.1), x(a), x(w), acc(r), x(a)}, {x(a), grad(w)}, {}, true, true});
    c.push_back(
        {"layer_norm_grad_" + s, "layer_norm_grad", {x(a, 0.1), x(a), x(w), acc(r), acc(r)}, {x(a), grad(w), grad(w)}, {}, true, true});
    c.push_back({"layer_norm_bias_" + s, "add_layer_norm", {x(a), x(a), x(w), x(w), x(w)}, {x(a), x(a), acc(r), acc(r)}, {}, false, true});
    c.push_back({"layer_norm_grad_bias_" + s,
                 "layer_norm_grad_add",
                 {x(a, 0.1), x(a), x(w), acc(r), acc(r), x(a)},
                 {x(a), grad(w), grad(w), grad(w)},
                 {},
                 true,
                 true});
  }
}

// So many rows that each team of warps of a gradient walks over several, and not all equally many: from 8 teams to one on each of 132
// multiprocessors.
void add_rows_in_turns(std::vector<OpCase>& c) {
  for (const auto& [rows, d] :
       std::vector<std::pair<int64_t, int64_t>>{{7001, 768}, {3001, 1600}, {2501, 2048}, {1301, 4096}, {901, 5000}, {701, 8192}}) {
    const Shape a{rows, d}, w{d}, r{rows};
    const std::string s = std::to_string(d);
    c.push_back({"rms_norm_grad_turns_" + s, "rms_norm_grad_add", {x(a, 0.1), x(a), x(w), acc(r), x(a)}, {x(a), grad(w)}, {}, true, true});
    c.push_back({"layer_norm_grad_turns_" + s,
                 "layer_norm_grad_add",
                 {x(a, 0.1), x(a), x(w), acc(r), acc(r), x(a)},
                 {x(a), grad(w), grad(w), grad(w)},
                 {},
                 true,
                 true});
  }
}

// Attributes point at them.
const std::vector<double>& frequencies(int64_t pairs) {
  static std::map<int64_t, std::vector<double>> known;
  std::vector<double>& f = known[pairs];
  if (f.empty())
    for (int64_t i = 0; i < pairs; ++i) f.push_back(std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(pairs)));
  return f;
}

// Heads that fill a block, more than that, few heads, and sequences that blocks do not divide.
void add_ropes(std::vector<OpCase>& c) {
  for (const Shape& heads : {Shape{2, 37, 32, 64}, Shape{3, 9, 40, 128}, Shape{1, 301, 1, 32}, Shape{2, 65, 3, 256}}) {
    const std::string s = std::to_string(heads[2]) + "x" + std::to_string(heads[3]);
    c.push_back({"rope_" + s,
                 "rope",
                 {x(heads), ids({heads[0], heads[1]}, 1000000)},
                 {x(heads)},
                 {{"inv_freq", frequencies(heads[3] / 2)}, {"scale", 1.5}},
                 false,
                 true});
  }
}

std::vector<OpCase> large_cases() {
  std::vector<OpCase> c;
  add_rows_in_turns(c);
  add_ropes(c);
  c.push_back({"linear_bias", "linear", {x({512, 768}), x({2304, 768}, 0.03), x({2304})}, {x({512, 2304})}, {}, false, true});
  c.push_back({"dgrad", "linear_dgrad", {x({512, 1536}), x({1536, 768}, 0.03)}, {x({512, 768})}, {}, false, true});
  c.push_back({"wgrad", "linear_wgrad", {x({1024, 768}, 0.03), x({1024, 512})}, {grad({768, 512})}, {}, true, true});
  add_fused_and_norms(c);
  c.push_back({"bias_grad", "bias_grad", {x({4000, 768}, 0.1)}, {grad({768})}, {}, true, true});
  c.push_back(
      {"bias_grad_zeros", "bias_grad", {x({4000, 768}, 0.1)}, {grad({768})}, {{"zero_start", 256}, {"zero_length", 128}}, true, true});
  const Shape heads{2, 100, 8, 64};
  c.push_back({"rope", "rope", {x(heads), ids({2, 100}, 100000)}, {x(heads)}, {{"inv_freq", frequencies(32)}}, false, true});
  c.push_back({"rope_interleaved",
               "rope",
               {x(heads), ids({2, 100}, 100000)},
               {x(heads)},
               {{"inv_freq", frequencies(32)}, {"interleaved", 1}},
               false,
               true});
  c.push_back({"glu", "glu", {x({300, 4096}), x({300, 4096})}, {x({300, 4096})}, {}, false, true});
  c.push_back({"embedding", "embedding", {ids({4000}, 3000), x({3000, 256})}, {x({4000, 256})}, {}, false, true});
  c.push_back({"embedding_grad", "embedding_grad", {x({8000, 256}), ids({8000}, 3000)}, {grad({3000, 256})}, {{"rows", 3000}}, true, true});
  c.push_back(
      {"embedding_grad_hot", "embedding_grad", {x({8000, 256}), ids({8000}, 3)}, {grad({3000, 256})}, {{"rows", 3000}}, true, true});
  c.push_back({"cross_entropy", "cross_entropy", {x({50, 50257}), ids({50}, 50257)}, {acc({50}), acc({50})}, {}, false, true});
  c.push_back({"cross_entropy_grad",
               "cross_entropy_grad",
               {acc({50}), x({50, 50304}), ids({50}, 50304), acc({50})},
               {x({50, 50304})},
               {},
               false,
               true});
  c.push_back({"linear_cross_entropy_train",
               "linear_cross_entropy_train",
               {x({9100, 64}), x({1003, 64}, 0.2), ids({9100}, 1003), {Role::acc, {9100}, 0, 0.01}},
               {acc({9100}), x({9100, 64}), grad({1003, 64})},
               {},
               true,
               true});
  const Shape n{1000000};
  const Operand hyper{Role::hyper, {8}, 0, 1};
  c.push_back({"adamw", "adamw", {grad(n), hyper}, {x(n), state(n), state(n), state(n)}, {{"weight_decay", 0.1}}, false, false});
  c.push_back({"sgd", "sgd", {grad(n), hyper}, {x(n), state(n), state(n)}, {{"momentum", 0.9}}, false, false});
  c.push_back({"sum_squares", "sum_squares", {grad(n)}, {{Role::total, {}, 0, 1}}, {{"accumulate", 0}}, true, false});
  return c;
}

class LargeCudaOps : public ::testing::TestWithParam<OpCase> {
 protected:
  void SetUp() override { NEMO_NEEDS_GPU(); }
};
INSTANTIATE_TEST_SUITE_P(table, LargeCudaOps, ::testing::ValuesIn(large_cases()),
                         [](const ::testing::TestParamInfo<OpCase>& info) { return info.param.name; });

TEST_P(LargeCudaOps, agrees_with_the_cpu_with_the_same_bits_each_time) {
  const OpCase& c = GetParam();
  for (nemo_dtype dtype : {F32, BF16}) {
    const Arrays inputs = make_inputs(c, dtype), start = make_outputs(c, dtype);
    Arrays want = start, first = start, again = start;
    static const backend_cpu::Device cpu(0);
    const uint32_t flags = c.accumulates ? NEMO_LAUNCH_ACCUMULATE : 0;
    cpu.run(c.op, inputs, want, c.attrs, flags);
    gpu()->run(c.op, inputs, first, c.attrs, flags);
    expect_agreement(first, want, c, dtype, name_of(dtype));
    gpu()->run(c.op, inputs, again, c.attrs, flags, How::eager);
    expect_same_bits(again, first, name_of(dtype) + " repeated");
  }
}

}  // namespace
}  // namespace nemo::backend_cuda
