// Speed of attention, a table: TFLOP/s = 4 b h s t d (forward), 2.5 times that (backward), halved where causal. Peers: cuDNN through PyTorch on an
// H100, hd64: 348/231, 397/287, 426/356, 450/412 at 1024..8192; hd128: 539/381, 592/464, 594/501 at 2048..8192.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "tests/backend_cuda/attention_rig.hpp"

namespace nemo::attention_test {
namespace {

// Random values, a block of them repeated: drawing 10^8 takes longer than the measurement.
Array noise(const Shape& shape, uint64_t seed) {
  Array a(NEMO_DTYPE_BF16, shape);
  const std::vector<char> block = backend_cpu::normal_array(NEMO_DTYPE_BF16, {65521}, seed).content();
  const auto bytes = static_cast<size_t>(a.size()) * 2;
  for (size_t at = 0; at < bytes; at += block.size()) std::memcpy(a.data() + at, block.data(), std::min(block.size(), bytes - at));
  return a;
}

struct Times {
  double forward = 0, backward = 0, workspace = 0;
};

Times measure(const Backend& backend, int64_t b, int64_t s, int64_t h, int64_t g, int64_t d, int count) {
  const Shape query{b, s, h, d}, key{b, s, g, d};
  const Array q = noise(query, 1), k = noise(key, 2), v = noise(key, 3), dout = noise(query, 4);
  const Attrs attrs{{"scale", 1 / std::sqrt(static_cast<double>(d))}};
  auto forward = backend.prepare("attention", {q, k, v, {}}, {Array(NEMO_DTYPE_BF16, query), Array(NEMO_DTYPE_F32, {b, h, s})}, attrs, Layout::dense);
  Times t;
  t.forward = forward->time(count);
  const Arrays y = forward->read();
  auto backward = backend.prepare("attention_grad", {dout, q, k, v, y[0], y[1], {}},
                                  {Array(NEMO_DTYPE_BF16, query), Array(NEMO_DTYPE_BF16, key), Array(NEMO_DTYPE_BF16, key)}, attrs, Layout::dense);
  t.backward = backward->time(count);
  t.workspace = static_cast<double>(backward->workspace()) / (1 << 20);
  return t;
}

void run() {
  std::string reason;
  if (Backend::devices("cuda", reason) == 0) {
    std::printf("skipped, no GPU: %s\n", reason.c_str());
    return;
  }
  struct Way {
    const char* name;
    Backend backend;
    int64_t longest;
  };
  Way ways[] = {{"cudnn", Backend("cuda"), 8192}, {"cudnn deterministic", Backend("cuda", {.deterministic = true}), 4096}, {"own", Backend("cuda", {.cudnn = false}), 4096}};
  std::printf("%-20s %4s %6s %4s %4s %4s %9s %9s %9s %9s %9s\n", "causal bf16", "b", "s", "h", "g", "d", "fwd us", "TFLOP/s", "bwd us", "TFLOP/s", "bwd MiB");
  for (const Way& way : ways)
    for (const auto& [d, first, g] : {std::array<int64_t, 3>{64, 1024, 12}, {64, 2048, 16}, {128, 2048, 16}, {128, 4096, 8}})
      for (int64_t s = first; s <= way.longest; s *= (g == 12 || g == 8) ? 100 : 2) {
        const int64_t b = 16384 / s, h = g == 12 ? 12 : 16;
        const Times t = measure(way.backend, b, s, h, g, d, 20);
        const double flops = 2.0 * static_cast<double>(b * h * s * s * d);
        std::printf("%-20s %4ld %6ld %4ld %4ld %4ld %9.1f %9.1f %9.1f %9.1f %9.1f\n", way.name, b, s, h, g, d, t.forward * 1e6, flops / t.forward / 1e12,
                    t.backward * 1e6, 2.5 * flops / t.backward / 1e12, t.workspace);
        std::fflush(stdout);
      }
}

}  // namespace
}  // namespace nemo::attention_test

int main() {
  try {
    nemo::attention_test::run();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
