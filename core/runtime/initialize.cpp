#include "core/runtime/initialize.hpp"

#include <cmath>
#include <numbers>

#include "core/runtime/philox.hpp"

namespace nemo::runtime {
namespace {

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  return hash;
}

// (0, 1]: log never sees 0.
double unit(uint32_t word) { return (static_cast<double>(word) + 1.0) / 4294967296.0; }

std::array<float, 4> draw(const std::array<uint32_t, 4>& words, const graph::Init& init) {
  std::array<float, 4> out{};
  for (size_t pair = 0; pair < 4; pair += 2) {
    const double u = unit(words[pair]), v = unit(words[pair + 1]);
    if (init.kind == graph::Init::Kind::kUniform) {
      out[pair] = static_cast<float>(init.a + (init.b - init.a) * (1.0 - u));
      out[pair + 1] = static_cast<float>(init.a + (init.b - init.a) * (1.0 - v));
      continue;
    }
    const double radius = std::sqrt(-2.0 * std::log(u)), angle = 2.0 * std::numbers::pi * v;
    out[pair] = static_cast<float>(init.a + init.b * radius * std::cos(angle));
    out[pair + 1] = static_cast<float>(init.a + init.b * radius * std::sin(angle));
  }
  return out;
}

}  // namespace

void initialize(std::span<float> out, int64_t first, std::string_view name, const graph::Init& init, int64_t seed) {
  if (init.kind == graph::Init::Kind::kConstant) {
    for (float& x : out) x = static_cast<float>(init.a);
    return;
  }
  const uint64_t key = fnv1a(name) ^ (static_cast<uint64_t>(seed) * 0x9E3779B97F4A7C15);
  const std::array<uint32_t, 2> words{static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
  for (size_t i = 0; i < out.size();) {
    const auto element = static_cast<uint64_t>(first) + i;
    const uint64_t block = element / 4;
    const auto values = draw(philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), 0, 0}, words), init);
    for (size_t lane = element % 4; lane < 4 && i < out.size(); ++lane) out[i++] = values[lane];
  }
}

}  // namespace nemo::runtime
