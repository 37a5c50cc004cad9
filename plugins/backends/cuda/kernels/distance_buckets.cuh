// T5's buckets of distances: what relative_bias and attention_cached look a bias up by. Where buckets change is computed on the host.
#pragma once

#include <cmath>
#include <string>

#include "kernels/device.cuh"

namespace nemo::cuda {

constexpr int kMostBuckets = 256;

struct Buckets {
  int buckets, side, exact;  // side: buckets of one direction
  bool bidirectional;
  int32_t from[kMostBuckets];  // first distance of bucket exact + 1, exact + 2, ... of a direction

  // `distance` = key position - query position.
  __device__ int operator()(int distance) const {
    const int first = bidirectional && distance > 0 ? side : 0, d = bidirectional ? abs(distance) : max(-distance, 0);
    if (d < exact) return first + d;
    int bucket = exact;
    while (bucket < side - 1 && d >= from[bucket - exact]) ++bucket;
    return first + bucket;
  }
};

// Bucket within its direction of a distance from `exact` on.
inline int64_t logarithmic(int64_t d, int64_t exact, int64_t side, int64_t max_distance) {
  const float steps = std::log(static_cast<float>(d) / static_cast<float>(exact)) /
                      static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact))) *
                      static_cast<float>(side - exact);
  return std::min(exact + static_cast<int64_t>(steps), side - 1);
}

inline Buckets buckets_of(const Node& node) {
  const int64_t max_distance = node.integer("max_distance"), buckets = node.size('v');
  Buckets b{};
  b.bidirectional = node.integer("bidirectional") != 0;
  const int64_t side = b.bidirectional ? buckets / 2 : buckets, exact = side / 2;
  if (exact < 1 || max_distance <= exact) node.refuse("too few buckets, or max_distance not above those with a distance of their own");
  if (buckets > kMostBuckets) node.refuse("more than " + std::to_string(kMostBuckets) + " buckets have no kernel");
  b.buckets = static_cast<int>(buckets), b.side = static_cast<int>(side), b.exact = static_cast<int>(exact);
  int64_t bucket = exact;
  for (int64_t d = exact; bucket < side - 1; ++d)
    for (; bucket < logarithmic(d, exact, side, max_distance); ++bucket) b.from[bucket - exact] = static_cast<int32_t>(d);
  return b;
}

}  // namespace nemo::cuda
