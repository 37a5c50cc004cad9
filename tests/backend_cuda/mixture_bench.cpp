// Speeds of the kernels of mixtures of experts and state-space models at shapes of real models: products beside a plain linear of as many
// flops by cuBLASLt, the others in microseconds and GB/s of what must move.
#include <algorithm>
#include <cstdio>

#include "tests/backend_cuda/gpu.hpp"

namespace nemo::backend_cuda {
namespace {

constexpr nemo_dtype F32 = NEMO_DTYPE_F32, BF16 = NEMO_DTYPE_BF16, I32 = NEMO_DTYPE_I32;

// Small random blocks repeated: filling gigabytes element by element would take minutes.
Array filled(nemo_dtype dtype, const backend_cpu::Shape& shape, double deviation = 1) {
  Array a(dtype, shape);
  const Array source(dtype, {4099}, backend_cpu::normal(4099, 7, deviation));
  const size_t width = dtype == BF16 ? 2 : 4, total = static_cast<size_t>(a.size()) * width, piece = 4099 * width;
  for (size_t at = 0; at < total; at += piece) std::copy(source.data(), source.data() + std::min(piece, total - at), a.data() + at);
  return a;
}

// Rows by expert, ascending, with an uneven share of each.
Array sorted_ids(int64_t rows, int64_t experts) {
  Array a(I32, {rows});
  for (int64_t i = 0; i < rows; ++i) {
    const double x = static_cast<double>(i) / static_cast<double>(rows);
    a.set(i, static_cast<double>(std::min(experts - 1, static_cast<int64_t>((0.7 * x + 0.3 * x * x) * static_cast<double>(experts)))));
  }
  return a;
}

double bytes_of(const Arrays& arrays) {
  double sum = 0;
  for (const Array& a : arrays)
    if (a.present()) sum += static_cast<double>(a.size()) * (a.dtype() == BF16 ? 2 : 4);
  return sum;
}

void row(const std::string& name, double seconds, double flops, double bytes, double peer = 0) {
  std::printf("%-52s %10.1f us", name.c_str(), seconds * 1e6);
  if (flops > 0) std::printf("  %7.1f TFLOP/s", flops / seconds * 1e-12);
  if (peer > 0) std::printf("  linear %7.1f  %5.2f of it", flops / peer * 1e-12, peer / seconds);
  if (bytes > 0) std::printf("  %7.0f GB/s", bytes / seconds * 1e-9);
  std::printf("\n");
  std::fflush(stdout);
}

void time_op(const std::string& name, const std::string& op, const Arrays& in, const Arrays& out, const Attrs& attrs = {}) {
  row(name, gpu()->time(op, in, out, attrs, 0, 10), 0, bytes_of(in) + bytes_of(out));
}

// rows x n x k over e experts.
void products(int64_t rows, int64_t n, int64_t k, int64_t e) {
  const Array x = filled(BF16, {rows, k}), y = filled(BF16, {rows, n}), w = filled(BF16, {e, n, k}, 0.02), ids = sorted_ids(rows, e);
  const Array one = filled(BF16, {n, k}, 0.02), dw(F32, {e, n, k}), dw_one(F32, {n, k});
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(n) * static_cast<double>(k);
  const std::string s = " " + std::to_string(rows) + "x" + std::to_string(n) + "x" + std::to_string(k) + " e" + std::to_string(e);
  const auto time = [](const std::string& op, const Arrays& in, const Arrays& out, const Attrs& attrs = {}) {
    return gpu()->time(op, in, out, attrs, 0, 5);
  };
  row("grouped_linear" + s, time("grouped_linear", {x, ids, w, {}}, {y}), flops, 0, time("linear", {x, one, {}}, {y}));
  row("grouped_linear_dgrad" + s, time("grouped_linear_dgrad", {y, ids, w}, {x}), flops, 0, time("linear_dgrad", {y, one}, {x}));
  row("grouped_linear_wgrad" + s, time("grouped_linear_wgrad", {y, ids, x}, {dw}, {{"e", e}}), flops, 0,
      time("linear_wgrad", {y, x}, {dw_one}));
}

void mixture(int64_t tokens, int64_t k, int64_t e, int64_t d) {
  const Array logits = filled(F32, {tokens, e}), weights(F32, {tokens, k}), x = filled(BF16, {tokens, d}),
              rows = filled(BF16, {tokens, k, d});
  Array chosen(I32, {tokens, k}), slots(I32, {tokens, k});
  for (int64_t i = 0; i < tokens * k; ++i) chosen.set(i, static_cast<double>(i * 7919 % e)), slots.set(i, static_cast<double>(i));
  const std::string s = " " + std::to_string(tokens) + " k" + std::to_string(k) + " e" + std::to_string(e) + " d" + std::to_string(d);
  time_op("moe_route" + s, "moe_route", {logits, {}}, {weights, chosen}, {{"k", k}});
  time_op("moe_load" + s, "moe_load", {logits, chosen}, {Array(F32, {e}), Array(F32, {e})});
  time_op("moe_dispatch" + s, "moe_dispatch", {x, chosen}, {rows, chosen, slots}, {{"experts", e}});
  time_op("moe_dispatch_grad" + s, "moe_dispatch_grad", {rows, slots}, {x});
  time_op("moe_combine" + s, "moe_combine", {rows, slots, weights}, {x});
  time_op("moe_combine_grad" + s, "moe_combine_grad", {x, rows, slots, weights}, {rows, weights});
}

void mamba2(int64_t b, int64_t s, int64_t h, int64_t p, int64_t n) {
  const Array x = filled(BF16, {b, s, h, p}), dt = filled(BF16, {b, s, h}), a(F32, {h}), bm = filled(BF16, {b, s, 1, n}),
              state(F32, {b, h, p, n});
  const std::string shape = " b" + std::to_string(b) + " s" + std::to_string(s) + " h" + std::to_string(h);
  const double steps = static_cast<double>(b * s * h * p * n);
  row("ssd_scan" + shape, gpu()->time("ssd_scan", {x, dt, a, bm, bm, a, a, {}}, {x, state}, {}, 0, 4), 4 * steps, 0);
  row("ssd_scan_grad" + shape, gpu()->time("ssd_scan_grad", {x, x, dt, a, bm, bm, a, a, {}, {}}, {x, dt, a, bm, bm, a, a, {}}, {}, 0, 2),
      10 * steps, 0);
  const int64_t c = h * p + 2 * n;
  const Array wide = filled(BF16, {b, s, c}), taps = filled(BF16, {c, 4}), bias = filled(BF16, {c});
  time_op("causal_conv1d" + shape, "causal_conv1d", {wide, taps, bias}, {wide});
  time_op("causal_conv1d_grad" + shape, "causal_conv1d_grad", {wide, wide, taps, bias}, {wide, Array(F32, {c, 4}), Array(F32, {c})});
  const Array y = filled(BF16, {b * s, h * p}), w = filled(BF16, {h * p}), rstd(F32, {b * s, 1});
  time_op("gated_rms_norm" + shape, "gated_rms_norm", {y, y, w}, {y, rstd}, {{"g", 1}});
  time_op("gated_rms_norm_grad" + shape, "gated_rms_norm_grad", {y, y, y, w, rstd}, {y, y, Array(F32, {h * p})});
}

void mamba1(int64_t b, int64_t s, int64_t h, int64_t n) {
  const Array x = filled(BF16, {b, s, h}), a(F32, {h, n}), bm = filled(BF16, {b, s, n}), skip(F32, {h}), state(F32, {b, h, n});
  const std::string shape = " b" + std::to_string(b) + " s" + std::to_string(s) + " h" + std::to_string(h);
  time_op("selective_scan" + shape, "selective_scan", {x, x, a, bm, bm, skip, skip, {}}, {x, state});
  row("selective_scan_grad" + shape,
      gpu()->time("selective_scan_grad", {x, x, x, a, bm, bm, skip, skip, {}, {}}, {x, x, a, bm, bm, skip, skip, {}}, {}, 0, 2), 0, 0);
}

void run() {
  products(8192, 14336, 4096, 8);
  products(8192, 4096, 14336, 8);
  products(16384, 1408, 2048, 64);
  mixture(4096, 2, 8, 4096);
  mixture(4096, 6, 64, 2048);
  mamba2(4, 2048, 48, 64, 128);
  mamba1(4, 2048, 3072, 16);
}

}  // namespace
}  // namespace nemo::backend_cuda

int main() {
  std::string reason;
  if (nemo::backend_cuda::device_count(&reason) == 0) {
    std::printf("no GPU: %s\n", reason.c_str());
    return 1;
  }
  nemo::backend_cuda::run();
}
