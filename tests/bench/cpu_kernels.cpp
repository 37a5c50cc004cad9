// GFLOP/s and GB/s of the CPU backend's kernels on the shapes of GPT-2 small. Usage: bench_cpu_kernels [threads] [name filter]
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "tests/backend_cpu/device.hpp"

namespace nemo::backend_cpu {
namespace {

struct Row {
  std::string name, op;
  Arrays inputs, outputs;
  Attrs attrs;
  double flops, bytes;
};

Array zeros(nemo_dtype d, Shape s) { return Array(d, std::move(s)); }

void add_linear(std::vector<Row>& rows, nemo_dtype d, int64_t m, int64_t n, int64_t k) {
  const std::string size =
      std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + (d == NEMO_DTYPE_BF16 ? " bf16" : " f32");
  const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  rows.push_back({"linear " + size, "linear", {zeros(d, {m, k}), zeros(d, {n, k})}, {zeros(d, {m, n})}, {}, flops, 0});
  rows.push_back({"dgrad  " + size, "linear_dgrad", {zeros(d, {m, n}), zeros(d, {n, k})}, {zeros(d, {m, k})}, {}, flops, 0});
  rows.push_back({"wgrad  " + size, "linear_wgrad", {zeros(d, {m, n}), zeros(d, {m, k})}, {zeros(NEMO_DTYPE_F32, {n, k})}, {}, flops, 0});
}

void add_attention(std::vector<Row>& rows, nemo_dtype d, int64_t b, int64_t s, int64_t h, int64_t e) {
  const Array q = normal_array(d, {b, s, h, e}, 1), lse(NEMO_DTYPE_F32, {b, h, s});
  const double pairs = static_cast<double>(b * h) * static_cast<double>(s * s) / 2 * static_cast<double>(e);
  const Attrs attrs{{"scale", 1 / std::sqrt(static_cast<double>(e))}};
  const std::string size =
      " b" + std::to_string(b) + " s" + std::to_string(s) + " h" + std::to_string(h) + (d == NEMO_DTYPE_BF16 ? " bf16" : " f32");
  rows.push_back({"attention" + size, "attention", {q, q, q}, {q, lse}, attrs, 4 * pairs, 0});
  rows.push_back({"attention_grad" + size, "attention_grad", {q, q, q, q, q, lse}, {q, q, q}, attrs, 10 * pairs, 0});
}

void add_rows(std::vector<Row>& rows, nemo_dtype d, int64_t tokens, int64_t e) {
  const Array a = normal_array(d, {tokens, e}, 1), wide = normal_array(d, {tokens, 4 * e}, 2), w = normal_array(d, {e}, 3),
              r(NEMO_DTYPE_F32, {tokens});
  const double width = d == NEMO_DTYPE_BF16 ? 2 : 4, bytes = width * static_cast<double>(tokens * e);
  const std::string t = d == NEMO_DTYPE_BF16 ? " bf16" : " f32";
  rows.push_back({"layer_norm" + t, "layer_norm", {a, w, w}, {a, r, r}, {}, 0, 2 * bytes});
  rows.push_back(
      {"layer_norm_grad" + t, "layer_norm_grad", {a, a, w, r, r}, {a, w.as(NEMO_DTYPE_F32), w.as(NEMO_DTYPE_F32)}, {}, 0, 3 * bytes});
  rows.push_back({"add_rms_norm" + t, "add_rms_norm", {a, a, w}, {a, a, r}, {}, 0, 4 * bytes});
  rows.push_back({"add" + t, "add", {a, a}, {a}, {}, 0, 3 * bytes});
  for (const char* kind : {"gelu_tanh", "gelu_erf", "silu"}) {
    rows.push_back({std::string("activation ") + kind + t, "activation", {wide}, {wide}, {{"kind", kind}}, 0, 8 * bytes});
    rows.push_back({std::string("activation_grad ") + kind + t, "activation_grad", {wide, wide}, {wide}, {{"kind", kind}}, 0, 12 * bytes});
  }
  static const std::vector<double> inv_freq(32, 0.01);
  const Array heads(d, {1, tokens, e / 64, 64}), positions(NEMO_DTYPE_I32, {1, tokens}), rng(NEMO_DTYPE_I64, {2});
  rows.push_back({"rope" + t, "rope", {heads, positions}, {heads}, {{"inv_freq", inv_freq}}, 0, 2 * bytes});
  rows.push_back({"dropout" + t, "dropout", {a, rng}, {a}, {{"p", 0.1}, {"key", 1}}, 0, 2 * bytes});
}

void add_whole_model(std::vector<Row>& rows) {
  const int64_t tokens = 256, v = 50304, e = 768;
  const nemo_dtype f = NEMO_DTYPE_F32;
  const Array x = normal_array(f, {tokens, e}, 1), w(f, {v, e}), labels(NEMO_DTYPE_I32, {tokens}), r(f, {tokens}), logits(f, {tokens, v});
  const double product = 2.0 * static_cast<double>(tokens) * static_cast<double>(v) * static_cast<double>(e),
               bytes = 4.0 * static_cast<double>(tokens * v);
  rows.push_back({"linear_cross_entropy", "linear_cross_entropy", {x, w, labels}, {r}, {}, product, 0});
  rows.push_back({"linear_cross_entropy_train", "linear_cross_entropy_train", {x, w, labels, r}, {r, x, w}, {}, 3 * product, 0});
  rows.push_back({"cross_entropy", "cross_entropy", {logits, labels}, {r, r}, {}, 0, bytes});
  rows.push_back({"cross_entropy_grad", "cross_entropy_grad", {r, logits, labels, r}, {logits}, {}, 0, 2 * bytes});
  rows.push_back({"embedding_grad", "embedding_grad", {x, labels}, {w}, {{"rows", v}}, 0, 4.0 * static_cast<double>(v * e)});
  const int64_t n = 20000000;
  const Array p(f, {n}), hyper(NEMO_DTYPE_F64, {8}, {1e-3, 0.9, 0.95, 1e-8, 0.1, 0.05, 1, 0});
  rows.push_back({"adamw", "adamw", {p, hyper}, {p, Array(), p, p}, {}, 0, 28.0 * static_cast<double>(n)});
  rows.push_back({"sum_squares", "sum_squares", {p}, {Array(NEMO_DTYPE_F64, {})}, {}, 0, 4.0 * static_cast<double>(n)});
}

}  // namespace
}  // namespace nemo::backend_cpu

int main(int argc, char** argv) {
  using namespace nemo::backend_cpu;
  const Device device(argc > 1 ? std::atoll(argv[1]) : 0);
  const std::string filter = argc > 2 ? argv[2] : "";
  std::vector<Row> rows;
  for (nemo_dtype d : {NEMO_DTYPE_F32, NEMO_DTYPE_BF16}) {
    add_linear(rows, d, 2048, 2048, 2048);
    for (const auto& [n, k] :
         {std::pair{2304, 768}, std::pair{768, 768}, std::pair{3072, 768}, std::pair{768, 3072}, std::pair{50304, 768}})
      add_linear(rows, d, 256, n, k);
    add_linear(rows, d, 768, 384, 128);
    add_linear(rows, d, 768, 512, 128);
    add_attention(rows, d, 1, 256, 12, 64);
    add_attention(rows, d, 2, 1024, 12, 64);
    add_rows(rows, d, 1024, 768);
  }
  add_whole_model(rows);
  for (Row& row : rows) {
    if (row.name.find(filter) == std::string::npos) continue;
    const double seconds = device.time(row.op, row.inputs, row.outputs, row.attrs);
    if (row.flops > 0)
      std::printf("%-38s %9.1f us %8.1f GFLOP/s\n", row.name.c_str(), seconds * 1e6, row.flops / seconds * 1e-9);
    else
      std::printf("%-38s %9.1f us %8.1f GB/s\n", row.name.c_str(), seconds * 1e6, row.bytes / seconds * 1e-9);
  }
}
