// Speeds of 8-bit products and of what makes their operands, at the shapes of Llama-3.2-1B and Llama-3-8B: TFLOP/s beside bf16, GB/s beside
// a plain copy. ninja bench_precision && bin/bench_precision
#include <cstdio>

#include "tests/backend_cuda/gpu.hpp"

namespace nemo::backend_cuda {
namespace {

constexpr nemo_dtype F32 = NEMO_DTYPE_F32, BF16 = NEMO_DTYPE_BF16, E4M3 = NEMO_DTYPE_E4M3, E5M2 = NEMO_DTYPE_E5M2;
constexpr int kLaunches = 10;

// A small random block repeated: filling gigabytes element by element would take minutes.
Array filled(nemo_dtype dtype, const backend_cpu::Shape& shape) {
  Array a(dtype, shape);
  const Array source = backend_cpu::normal_array(dtype, {4099}, 7);
  const size_t width = source.content().size() / 4099, total = static_cast<size_t>(a.size()) * width, piece = 4099 * width;
  for (size_t at = 0; at < total; at += piece) std::copy(source.data(), source.data() + std::min(piece, total - at), a.data() + at);
  return a;
}

double time(const std::string& op, const Arrays& in, const Arrays& out, const Attrs& attrs = {}, uint32_t flags = 0) {
  return gpu()->time(op, in, out, attrs, flags, kLaunches) * 1e6;
}

void products(const char* name, int64_t a, int64_t n, int64_t k) {
  const Array f(F32, {}, {0.01});
  const Attrs bf16{{"dtype", "bf16"}};
  const double flops = 2e-6 * static_cast<double>(a) * static_cast<double>(n) * static_cast<double>(k);
  const Array x = filled(BF16, {a, k}), w = filled(BF16, {n, k}), y = filled(BF16, {a, n}), dw(F32, {n, k});
  const Array xq = filled(E4M3, {a, k}), wq = filled(E4M3, {n, k}), yq = filled(E5M2, {a, n});
  const double wide[] = {time("linear", {x, w, Array()}, {y}), time("linear_dgrad", {y, w}, {x}),
                         time("linear_wgrad", {y, x}, {dw}, {}, NEMO_LAUNCH_ACCUMULATE)};
  const double narrow[] = {time("linear_fp8", {xq, wq, f, f}, {y}, bf16),
                           time("linear_dgrad_fp8", {yq, Array(E4M3, {k, n}), f, f}, {x}, bf16),
                           time("linear_wgrad_fp8", {Array(E5M2, {n, a}), Array(E4M3, {k, a}), f, f}, {dw}, {}, NEMO_LAUNCH_ACCUMULATE)};
  const char* kinds[] = {"fprop", "dgrad", "wgrad"};
  for (int i = 0; i < 3; ++i)
    std::printf("%-10s %6lld x %5lld x %5lld %s   bf16 %8.1f us %6.0f TF   fp8 %8.1f us %6.0f TF   x%.2f\n", name,
                static_cast<long long>(a), static_cast<long long>(n), static_cast<long long>(k), kinds[i], wide[i], flops / wide[i],
                narrow[i], flops / narrow[i], wide[i] / narrow[i]);
  std::fflush(stdout);
}

void passes(int64_t rows, int64_t cols) {
  const double elements = static_cast<double>(rows * cols);
  const Array x = filled(BF16, {rows, cols}), top(F32, {}, {4}), f(F32, {});
  const Attrs e4m3{{"dtype", "e4m3"}};
  const auto report = [&](const char* what, double us, double bytes) {
    std::printf("%6lld x %5lld %-28s %8.1f us %6.0f GB/s\n", static_cast<long long>(rows), static_cast<long long>(cols), what, us,
                bytes * elements / us * 1e-3);
  };
  report("copy (scale)", time("scale", {x}, {x}, {{"alpha", 1.5}}), 4);
  report("amax", time("amax", {x}, {f}), 2);
  report("quantize q", time("quantize", {x, top}, {Array(E4M3, {rows, cols}), Array(), f}, e4m3), 3);
  report("quantize qt", time("quantize", {x, top}, {Array(), Array(E4M3, {cols, rows}), f}, e4m3), 3);
  report("quantize q and qt", time("quantize", {x, top}, {Array(E4M3, {rows, cols}), Array(E4M3, {cols, rows}), f}, e4m3), 4);
  report("the same with history",
         time("quantize", {x, top}, {Array(E4M3, {rows, cols}), Array(E4M3, {cols, rows}), f, Array(F32, {16})}, e4m3), 4);
  std::fflush(stdout);
}

void run() {
  passes(32768, 2048);
  passes(32768, 8192);
  passes(8192, 14336);
  products("1B qkv", 32768, 3072, 2048);
  products("1B o", 32768, 2048, 2048);
  products("1B gate+up", 32768, 16384, 2048);
  products("1B down", 32768, 2048, 8192);
  products("8B qkv", 8192, 6144, 4096);
  products("8B o", 8192, 4096, 4096);
  products("8B gate+up", 8192, 28672, 4096);
  products("8B down", 8192, 4096, 14336);
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
