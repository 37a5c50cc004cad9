// Speeds of the CUDA kernels at shapes of real models: TFLOP/s of products, GB/s of the others (bytes that must move, each read and written
// once), with the ratios to a plain copy of as many bytes and of 512 MiB, both measured in the same run.
#include <cstdio>
#include <map>

#include "tests/backend_cuda/gpu.hpp"

namespace nemo::backend_cuda {
namespace {

constexpr nemo_dtype F32 = NEMO_DTYPE_F32, BF16 = NEMO_DTYPE_BF16, I32 = NEMO_DTYPE_I32, F64 = NEMO_DTYPE_F64;

// Small random blocks repeated: filling gigabytes element by element would take minutes.
Array filled(nemo_dtype dtype, const backend_cpu::Shape& shape, double deviation = 1) {
  Array a(dtype, shape);
  const std::vector<double> block = backend_cpu::normal(4099, 7, deviation);
  Array source(dtype, {4099}, block);
  const size_t width = dtype == BF16 ? 2 : 4, total = static_cast<size_t>(a.size()) * width, piece = 4099 * width;
  for (size_t at = 0; at < total; at += piece) std::copy(source.data(), source.data() + std::min(piece, total - at), a.data() + at);
  return a;
}
Array some_ids(int64_t n, int64_t limit) {
  Array a(I32, {n});
  for (int64_t i = 0; i < n; ++i) a.set(i, static_cast<double>(i * 7919 % 1000003 % limit * (i % 3 == 0 ? 0 : 1)));
  return a;
}

// Seconds of a kernel that copies (op scale), `bytes` read and written in all, measured once per size. What launch and tail take off a
// short kernel they take off this one too.
double copy_seconds(double bytes) {
  static std::map<int64_t, double> known;
  const auto elements = static_cast<int64_t>(bytes / 4) / 8 * 8;
  const auto [at, fresh] = known.try_emplace(elements, 0);
  if (fresh) {
    const Array a = filled(BF16, {elements});
    at->second = gpu()->time("scale", {a}, {a}, {{"alpha", 1.5}}, 0, 20);
  }
  return at->second;
}

constexpr double kLargeCopy = 4.0 * (1 << 28);  // bytes

void row(const char* name, double seconds, double flops, double bytes) {
  std::printf("%-44s %9.1f us", name, seconds * 1e6);
  if (flops > 0) std::printf("  %7.1f TFLOP/s", flops / seconds * 1e-12);
  if (bytes > 0) {
    const double rate = bytes / seconds * 1e-9, same = bytes / copy_seconds(bytes) * 1e-9,
                 large = kLargeCopy / copy_seconds(kLargeCopy) * 1e-9;
    std::printf("  %7.0f GB/s   copy of as many bytes %7.0f  %5.3f   large copy %7.0f  %5.3f", rate, same, rate / same, large,
                rate / large);
  }
  std::printf("\n");
  std::fflush(stdout);
}

double bytes_of(const Arrays& arrays) {
  double sum = 0;
  for (const Array& a : arrays)
    if (a.present()) sum += static_cast<double>(a.size()) * (a.dtype() == BF16 ? 2 : a.dtype() == F64 ? 8 : 4);
  return sum;
}

void bandwidth(const char* name, const std::string& op, const Arrays& in, const Arrays& out, const Attrs& attrs = {}, double extra = 0) {
  row(name, gpu()->time(op, in, out, attrs, 0, 20), 0, bytes_of(in) + bytes_of(out) + extra);
}

void product(const char* name, int64_t a, int64_t n, int64_t k) {
  const Array x = filled(BF16, {a, k}), w = filled(BF16, {n, k}, 0.03), y = filled(BF16, {a, n});
  const double flops = 2.0 * static_cast<double>(a) * static_cast<double>(n) * static_cast<double>(k);
  const std::string s = name;
  row((s + " forward").c_str(), gpu()->time("linear", {x, w, Array()}, {y}, {}, 0, 20), flops, 0);
  row((s + " dgrad").c_str(), gpu()->time("linear_dgrad", {y, w}, {x}, {}, 0, 20), flops, 0);
  row((s + " wgrad, adds to f32").c_str(), gpu()->time("linear_wgrad", {y, x}, {filled(F32, {n, k})}, {}, NEMO_LAUNCH_ACCUMULATE, 20),
      flops, 0);
}

void norms(int64_t rows, int64_t d) {
  const Array a = filled(BF16, {rows, d}), w = filled(BF16, {d}), r = filled(F32, {rows}), g(F32, {d});
  std::printf("rows %lld x %lld\n", static_cast<long long>(rows), static_cast<long long>(d));
  bandwidth("  add_rms_norm", "add_rms_norm", {a, a, w}, {a, a, r});
  bandwidth("  add_layer_norm", "add_layer_norm", {a, a, w, w}, {a, a, r, r});
  bandwidth("  rms_norm_grad_add", "rms_norm_grad_add", {a, a, w, r, a}, {a, g});
  bandwidth("  layer_norm_grad_add", "layer_norm_grad_add", {a, a, w, r, r, a}, {a, g, g});
  bandwidth("  add_layer_norm with bias", "add_layer_norm", {a, a, w, w, w}, {a, a, r, r});
  bandwidth("  layer_norm_grad_add with bias", "layer_norm_grad_add", {a, a, w, r, r, a}, {a, g, g, g});
  bandwidth("  bias_grad", "bias_grad", {a}, {g});
}

void all_norms() {
  norms(65536, 768);
  norms(32768, 2048);
  norms(8192, 4096);
}

double seconds(const std::string& op, const Arrays& in, const Arrays& out, const Attrs& attrs = {}, uint32_t flags = 0) {
  return gpu()->time(op, in, out, attrs, flags, 10);
}

// A fusion beside what it replaces: `a` rows, an MLP of d -> f -> d.
void fused_mlp(const char* name, int64_t a, int64_t d, int64_t f) {
  const Array x = filled(BF16, {a, d}), up = filled(BF16, {f, d}, 0.03), down = filled(BF16, {d, f}, 0.03), bias = filled(BF16, {f}),
              h = filled(BF16, {a, f}), b = Array(F32, {f});
  const Attrs gelu{{"kind", "gelu_tanh"}};
  std::printf("%s: rows %lld, %lld -> %lld\n", name, static_cast<long long>(a), static_cast<long long>(d), static_cast<long long>(f));
  const double flops = 2.0 * static_cast<double>(a) * static_cast<double>(d) * static_cast<double>(f);
  row("  linear with bias", seconds("linear", {x, up, bias}, {h}), flops, 0);
  row("  activation", seconds("activation", {h}, {h}, gelu), 0, 0);
  row("  linear_activation", seconds("linear_activation", {x, up, bias}, {h, h}, gelu), flops, 0);
  row("  linear_dgrad", seconds("linear_dgrad", {x, down}, {h}), flops, 0);
  row("  activation_grad", seconds("activation_grad", {h, h}, {h}, gelu), 0, 0);
  row("  linear_dgrad_activation", seconds("linear_dgrad_activation", {x, down, h}, {h, Array()}, gelu), flops, 0);
  row("  linear without bias", seconds("linear", {x, up, Array()}, {h}), flops, 0);
  row("  bias_grad of up", seconds("bias_grad", {h}, {b}, {}, NEMO_LAUNCH_ACCUMULATE), 0, 0);
  row("  linear_dgrad_activation with bias_grad", seconds("linear_dgrad_activation", {x, down, h}, {h, b}, gelu, NEMO_LAUNCH_ACCUMULATE),
      flops, 0);
}

// A product of the attention's or MLP's last linear, whose bias may go with the norm behind it.
void branch(const char* name, int64_t a, int64_t n, int64_t k) {
  const Array x = filled(BF16, {a, k}), w = filled(BF16, {n, k}, 0.03), bias = filled(BF16, {n}), y = filled(BF16, {a, n});
  const double flops = 2.0 * static_cast<double>(a) * static_cast<double>(n) * static_cast<double>(k);
  const std::string s = name;
  row((s + " with bias").c_str(), seconds("linear", {x, w, bias}, {y}), flops, 0);
  row((s + " without").c_str(), seconds("linear", {x, w, Array()}, {y}), flops, 0);
}

// What of GPT-2 1558M is bound by memory, and the products whose biases go elsewhere.
void gpt2_1558m() {
  norms(16384, 1600);
  branch("1558M o 16384x1600x1600", 16384, 1600, 1600);
  branch("1558M down 16384x1600x6400", 16384, 1600, 6400);
  for (const int64_t n : {1600, 4800, 6400}) {
    const Array dy = filled(BF16, {16384, n});
    bandwidth(("bias_grad 16384x" + std::to_string(n)).c_str(), "bias_grad", {dy}, {Array(F32, {n})});
  }
  const Array dqkv = filled(BF16, {16384, 4800});
  bandwidth("bias_grad 16384x4800, 1600 known to be 0", "bias_grad", {dqkv}, {Array(F32, {4800})},
            {{"zero_start", 1600}, {"zero_length", 1600}}, -16384.0 * 1600 * 2);
}

void all_fused() {
  fused_mlp("124M", 65536, 768, 3072);
  fused_mlp("1558M", 16384, 1600, 6400);
}

void losses(int64_t rows, int64_t v) {
  const std::string s = " " + std::to_string(rows) + "x" + std::to_string(v);
  const Array logits = filled(BF16, {rows, v}), r = filled(F32, {rows});
  bandwidth(("cross_entropy" + s).c_str(), "cross_entropy", {logits, some_ids(rows, v)}, {r, r});
}

// Loss and gradients of a last linear.
void last_linear(int64_t rows, int64_t d, int64_t v, nemo_dtype grad) {
  const Array x = filled(BF16, {rows, d}), w = filled(BF16, {v, d}, 0.02);
  const std::string s = std::to_string(rows) + "x" + std::to_string(d) + "x" + std::to_string(v) + (grad == BF16 ? ", bf16 dw" : "");
  row(("linear_cross_entropy_train " + s).c_str(),
      gpu()->time("linear_cross_entropy_train", {x, w, some_ids(rows, v), filled(F32, {rows}, 0.01)},
                  {Array(F32, {rows}), x, Array(grad, {v, d})}, {}, NEMO_LAUNCH_ACCUMULATE, 2),
      6.0 * static_cast<double>(rows) * static_cast<double>(d) * static_cast<double>(v), 0);
}

void last_linears() {
  last_linear(32768, 2048, 128256, F32);
  last_linear(32768, 2048, 128256, BF16);
  last_linear(65536, 768, 50304, F32);
}

void memory_bound() {
  const Array q = filled(BF16, {8, 2048, 32, 64}), k = filled(BF16, {4, 8192, 8, 64});
  bandwidth("rope 8x2048x32x64", "rope", {q, Array(I32, {8, 2048})}, {q}, {{"inv_freq", std::vector<double>(32, 0.1)}});
  bandwidth("rope 4x8192x8x64", "rope", {k, Array(I32, {4, 8192})}, {k}, {{"inv_freq", std::vector<double>(32, 0.1)}});
  for (const int64_t v : {50304, 128256, 151936, 256000}) losses(4096, v);
}

void run() {
  const Array big = filled(BF16, {1 << 28});
  bandwidth("copy of 512 MiB (scale)", "scale", {big}, {big}, {{"alpha", 1.5}});
  product("124M qkv 65536x2304x768", 65536, 2304, 768);
  product("1B gate+up 16384x16384x2048", 16384, 16384, 2048);
  product("8B qkv 8192x6144x4096", 8192, 6144, 4096);
  all_norms();
  gpt2_1558m();
  all_fused();
  const Array f = filled(BF16, {16384, 8192});
  bandwidth("glu 16384x8192", "glu", {f, f}, {f});
  bandwidth("glu_grad", "glu_grad", {f, f, f}, {f, f});
  const Array h = filled(BF16, {65536, 3072});
  bandwidth("gelu_tanh 65536x3072", "activation", {h}, {h}, {{"kind", "gelu_tanh"}});
  bandwidth("gelu_tanh grad", "activation_grad", {h, h}, {h}, {{"kind", "gelu_tanh"}});
  bandwidth("bias_grad 65536x3072", "bias_grad", {h}, {Array(F32, {3072})});
  memory_bound();
  const int64_t n = 100000000;
  Array hyper(F64, {8}, {0.001, 0.9, 0.95, 1e-8, 0.1, 0.05, 0.5, 0});
  {
    const Array g = filled(F32, {n}), p = filled(BF16, {n}), m = Array(F32, {n});
    bandwidth("adamw 100M", "adamw", {g, hyper}, {p, m, m, m}, {}, 12.0 * static_cast<double>(n));
    bandwidth("sum_squares 100M", "sum_squares", {g}, {Array(F64, {})});
  }
  {
    product("124M head 4096x50304x768", 4096, 50304, 768);
    const Array logits = filled(BF16, {4096, 50304}), r = filled(F32, {4096});
    bandwidth("cross_entropy_grad", "cross_entropy_grad", {r, logits, some_ids(4096, 50304), r}, {logits});
  }
  const Array dy = filled(BF16, {16384, 2048});
  bandwidth("embedding 16384 of 128256x2048", "embedding", {some_ids(16384, 128256), filled(BF16, {128256, 2048})}, {dy}, {},
            -128256.0 * 2048 * 2 + 16384.0 * 2048 * 2);
  const Array table(F32, {128256, 2048});
  row("embedding_grad, adds, a third of one id",
      gpu()->time("embedding_grad", {dy, some_ids(16384, 128256)}, {table}, {{"rows", 128256}}, NEMO_LAUNCH_ACCUMULATE, 20), 0, 0);
  last_linears();
}

}  // namespace
}  // namespace nemo::backend_cuda

// usage: bench_cuda_kernels [norms|fused|memory|losses|1558M]
int main(int argc, char** argv) {
  std::string reason;
  if (nemo::backend_cuda::device_count(&reason) == 0) {
    std::printf("no GPU: %s\n", reason.c_str());
    return 1;
  }
  const std::string part = argc > 1 ? argv[1] : "";
  part == "norms"    ? nemo::backend_cuda::all_norms()
  : part == "fused"  ? nemo::backend_cuda::all_fused()
  : part == "memory" ? nemo::backend_cuda::memory_bound()
  : part == "losses" ? nemo::backend_cuda::last_linears()
  : part == "1558M"  ? nemo::backend_cuda::gpt2_1558m()
                     : nemo::backend_cuda::run();
}
