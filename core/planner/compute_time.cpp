// How long one device computes: products by tiles, attention by measured rates, the rest by memory traffic.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/base/error.hpp"
#include "core/planner/hardware.hpp"

namespace nemo::planner {
namespace {

// Tiles are dealt to the multiprocessors in waves; a product with few tiles splits k, and adds its parts up in f32.
double tiled_time(const Hardware& h, const ops::Product& p, const Hardware::Tile& tile, double rate, double split) {
  const double tiles = std::ceil(p.m / tile.m) * std::ceil(p.n / tile.n) * p.groups;
  const double waves = std::ceil(tiles * split / h.multiprocessors);
  const double depth = std::ceil(p.k / split);
  const double one = 2 * tile.m * tile.n * depth / (rate / h.multiprocessors * tile.efficiency) + h.tile_overhead;
  const double parts = split > 1 ? p.m * p.n * p.groups * 4 * (split + 1) / h.memory_rate : 0;
  return waves * one + parts;
}

// Between the entries, linear in the logarithm of the length; beyond them, the nearest entry's.
double interpolate(const std::vector<double>& keys, const std::vector<double>& rates, double at) {
  if (at <= keys.front()) return rates.front() * std::max(0.25, std::sqrt(at / keys.front()));
  if (at >= keys.back()) return rates.back();
  const auto right = static_cast<size_t>(std::upper_bound(keys.begin(), keys.end(), at) - keys.begin());
  const double share = std::log(at / keys[right - 1]) / std::log(keys[right] / keys[right - 1]);
  return rates[right - 1] + share * (rates[right] - rates[right - 1]);
}

// Between whole multiples linear, beyond the last one its own.
double behind(const Hardware& h, int64_t queries, int64_t keys) {
  if (h.behind_backward.empty() || queries <= 0) return 1;
  const double times =
      std::clamp(static_cast<double>(keys) / static_cast<double>(queries), 1.0, static_cast<double>(h.behind_backward.size()));
  const auto left = static_cast<size_t>(times) - 1, right = std::min(left + 1, h.behind_backward.size() - 1);
  return h.behind_backward[left] + (times - std::floor(times)) * (h.behind_backward[right] - h.behind_backward[left]);
}

}  // namespace

double product_rate(const Hardware& h, const ops::Product& p) {
  const auto found = h.product_rate.find(p.dtype);
  const double own = p.kind == ops::Product::Kind::kPlain ? 1 : h.grouped_rate.at(static_cast<size_t>(p.kind) - 1);
  const double rate = found == h.product_rate.end() ? 0 : found->second * own;
  if (rate <= 0)
    throw Error(Code::kConfig, h.file + ": no rate for products of " + std::string(graph::to_string(p.dtype)) +
                                   ", which this run needs; set it under [products]");
  return rate;
}

double product_time(const Hardware& h, const ops::Product& p) {
  const double rate = product_rate(h, p);
  double best = std::numeric_limits<double>::infinity();
  for (const Hardware::Tile& tile : h.tiles)
    for (const double split : {1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0})
      if (split == 1 || p.k / split >= 512) best = std::min(best, tiled_time(h, p, tile, rate, split));
  return best * p.count;
}

double attention_rate(const Hardware& h, int64_t head_dim, int64_t queries, int64_t keys, bool backward) {
  // Head sizes between the measured ones lie between their rates; smaller ones waste the matrix units in proportion.
  auto above = h.attention.lower_bound(head_dim);
  const double waste = above == h.attention.begin() ? static_cast<double>(head_dim) / static_cast<double>(above->first) : 1.0;
  if (above == h.attention.end()) --above;
  const auto& rates = backward ? above->second.backward : above->second.forward;
  return interpolate(h.attention_keys, rates, static_cast<double>(keys)) * waste * h.attention_sustained *
         (backward ? behind(h, queries, keys) : 1);
}

double compute_time(const Hardware& h, const ops::Work& work) {
  if (work.is_collective()) return 0;
  const double traffic = work.bytes / h.memory_rate;
  if (work.attention_flops > 0)
    return h.launch + std::max(traffic, work.attention_flops / attention_rate(h, work.head_dim, work.queries, work.keys, work.backward));
  if (work.products.empty()) return work.bytes == 0 ? 0 : h.launch + traffic;
  double products = 0;
  for (const ops::Product& p : work.products) products += product_time(h, p) + p.count * h.launch;
  // The loss between the products of the last linear is traffic of its own; a single product hides its traffic behind its work.
  return work.products.size() > 1 || work.products[0].count > 1 ? products + traffic : std::max(products, traffic);
}

}  // namespace nemo::planner
