#include "blend.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace nemo::megatron {
namespace {

// How far dataset d lags behind its weight before sample `step`.
double lag(double weight, int64_t step, int64_t given) {
  return weight * std::max(static_cast<double>(step), 1.0) - static_cast<double>(given);
}

void give(Blend& blend, size_t dataset, std::vector<int64_t>& given) {
  blend.dataset.push_back(static_cast<int16_t>(dataset));
  blend.sample.push_back(static_cast<uint32_t>(given[dataset]++));
}

}  // namespace

Blend blend_by_weight(std::span<const double> weights, int64_t size) {
  Blend blend;
  blend.dataset.reserve(static_cast<size_t>(size));
  blend.sample.reserve(static_cast<size_t>(size));
  std::vector<int64_t> given(weights.size());
  for (int64_t step = 0; step < size; ++step) {
    size_t best = 0;
    for (size_t d = 1; d < weights.size(); ++d)
      if (lag(weights[d], step, given[d]) > lag(weights[best], step, given[best])) best = d;
    give(blend, best, given);
  }
  return blend;
}

Blend blend_exhaustively(std::span<const int64_t> sizes) {
  const int64_t total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  Blend blend;
  blend.dataset.reserve(static_cast<size_t>(total));
  blend.sample.reserve(static_cast<size_t>(total));
  std::vector<int64_t> given(sizes.size());
  std::vector<size_t> open;
  for (size_t d = 0; d < sizes.size(); ++d)
    if (sizes[d] > 0) open.push_back(d);
  const auto lag_of = [&](size_t d, int64_t step) {
    return lag(static_cast<double>(sizes[d]) / static_cast<double>(total), step, given[d]);
  };
  for (int64_t step = 0; step < total; ++step) {
    size_t best = open.front();
    for (const size_t d : open)
      if (lag_of(d, step) > lag_of(best, step)) best = d;
    give(blend, best, given);
    if (given[best] == sizes[best]) open.erase(std::find(open.begin(), open.end(), best));
  }
  return blend;
}

BlendShare blend_share(int64_t size, double weight, double surplus) {
  const double used = std::ceil(static_cast<double>(size) * weight);
  return {static_cast<int64_t>(used), static_cast<int64_t>(std::ceil(used * (1 + surplus)))};
}

}  // namespace nemo::megatron
