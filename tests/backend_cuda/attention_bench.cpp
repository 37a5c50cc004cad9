// Speed of attention, a table (arguments: one of cudnn, deterministic, own; "split": only one sequence's, as ranks that split it see it,
// "packed": only packed ones and their like): TFLOP/s = 4 b h s t d (forward), 2.5 times that (backward), halved where causal. Peers: cuDNN
// through PyTorch on an H100, hd64: 348/231, 397/287, 426/356, 450/412 at 1024..8192; hd128: 539/381, 592/464, 594/501 at 2048..8192.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

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

struct Size {
  int64_t b, s, h, g, d, documents;  // documents of equal length in each sequence; 1: not packed
  int64_t before = 0;                // keys before those of the queries: what a rank of a split sequence attends to
};

Array segments_of(const Size& z) {
  if (z.documents == 1) return {};
  Array a(NEMO_DTYPE_I32, {z.b, z.s});
  for (int64_t i = 0; i < z.b * z.s; ++i) a.set(i, static_cast<double>(i % z.s * z.documents / z.s));
  return a;
}

Times measure(const Backend& backend, const Size& z) {
  constexpr int count = 20;
  const auto& [b, s, h, g, d, documents, before] = z;
  const Array segments = segments_of(z);
  const Shape query{b, s, h, d}, key{b, s + before, g, d};
  const Array q = noise(query, 1), k = noise(key, 2), v = noise(key, 3), dout = noise(query, 4);
  const Attrs attrs{{"scale", 1 / std::sqrt(static_cast<double>(d))}};
  auto forward = backend.prepare("attention", {q, k, v, segments}, {Array(NEMO_DTYPE_BF16, query), Array(NEMO_DTYPE_F32, {b, h, s})}, attrs,
                                 Layout::dense);
  Times t;
  t.forward = forward->time(count);
  const Arrays y = forward->read();
  auto backward =
      backend.prepare("attention_grad", {dout, q, k, v, y[0], y[1], segments},
                      {Array(NEMO_DTYPE_BF16, query), Array(NEMO_DTYPE_BF16, key), Array(NEMO_DTYPE_BF16, key)}, attrs, Layout::dense);
  t.backward = backward->time(count);
  t.workspace = static_cast<double>(backward->workspace()) / (1 << 20);
  return t;
}

constexpr Size kSizes[] = {
    {4, 8192, 32, 8, 64, 1},   {1, 8192, 32, 8, 128, 1},      {4, 4096, 16, 8, 128, 1},       {4, 4096, 16, 8, 128, 8},
    {4, 8192, 32, 8, 64, 4},   {4, 8192, 32, 8, 64, 16},      {1, 8192, 32, 8, 128, 16},      {4, 2048, 32, 8, 64, 4},
    {64, 1024, 12, 12, 64, 1}, {8, 2048, 16, 16, 64, 1},      {4, 4096, 16, 16, 64, 1},       {2, 8192, 16, 16, 64, 1},
    {8, 2048, 16, 16, 128, 1}, {4, 4096, 16, 16, 128, 1},     {2, 8192, 16, 16, 128, 1},      {1, 32768, 32, 8, 64, 1},
    {1, 8192, 32, 8, 64, 1},   {1, 8192, 32, 8, 64, 1, 8192}, {1, 8192, 32, 8, 64, 1, 16384}, {1, 8192, 32, 8, 64, 1, 24576}};

void run(const std::string& only, const std::string& part) {
  std::string reason;
  if (Backend::devices("cuda", reason) == 0) {
    std::printf("skipped, no GPU: %s\n", reason.c_str());
    return;
  }
  std::printf("%-14s %4s %6s %6s %4s %4s %4s %5s %9s %9s %9s %9s %9s\n", "causal bf16", "b", "s", "t", "h", "g", "d", "docs", "fwd us",
              "TFLOP/s", "bwd us", "TFLOP/s", "bwd MiB");
  std::fflush(stdout);
  for (const auto& [name, settings] :
       {std::pair<std::string, Settings>{"cudnn", {}}, {"deterministic", {.deterministic = true}}, {"own", {.cudnn = false}}}) {
    if (!only.empty() && only != name) continue;
    const Backend backend("cuda", settings);
    for (const Size& z : kSizes) {
      if (z.documents > 1 && name == "deterministic") continue;  // as own
      if (part == "split" && (z.b > 1 || z.d != 64)) continue;
      if (part == "packed" && z.documents == 1 && (z.h == z.g || z.before > 0)) continue;
      Times t;
      try {
        t = measure(backend, z);
      } catch (const std::exception& e) {
        std::printf("%-14s %4ld %6ld %6ld %4ld %4ld %4ld %5ld  %s\n", name.c_str(), z.b, z.s, z.s + z.before, z.h, z.g, z.d, z.documents,
                    e.what());
        std::fflush(stdout);
        continue;
      }
      const double length = static_cast<double>(z.s) / static_cast<double>(z.documents);
      const double flops = 2.0 * static_cast<double>(z.b * z.h * z.s * z.d) * (length + 2 * static_cast<double>(z.before));
      std::printf("%-14s %4ld %6ld %6ld %4ld %4ld %4ld %5ld %9.1f %9.1f %9.1f %9.1f %9.1f\n", name.c_str(), z.b, z.s, z.s + z.before, z.h,
                  z.g, z.d, z.documents, t.forward * 1e6, flops / t.forward / 1e12, t.backward * 1e6, 2.5 * flops / t.backward / 1e12,
                  t.workspace);
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace nemo::attention_test

int main(int argc, char** argv) {
  try {
    nemo::attention_test::run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
