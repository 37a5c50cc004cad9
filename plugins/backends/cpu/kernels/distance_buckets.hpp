// T5's buckets of distances (Raffel et al. 2020): what relative_bias and attention_cached look a bias up by.
#pragma once

#include "kernels/block.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

struct Buckets {
  int64_t buckets, max_distance;
  bool bidirectional;

  // T5's: `distance` = key position - query position.
  int64_t operator()(int64_t distance) const {
    int64_t n = buckets, first = 0, d = -distance;
    if (bidirectional) {
      n /= 2;
      if (distance > 0) first = n;
      d = d < 0 ? -d : d;
    } else {
      d = std::max<int64_t>(d, 0);
    }
    const int64_t exact = n / 2;
    if (d < exact) return first + d;
    const float steps = std::log(static_cast<float>(d) / static_cast<float>(exact)) /
                        static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact))) *
                        static_cast<float>(n - exact);
    return first + std::min(exact + static_cast<int64_t>(steps), n - 1);
  }
};

inline Buckets buckets_of(const Node& node) {
  const Buckets b{node.size('v'), node.integer("max_distance"), node.integer("bidirectional") != 0};
  const int64_t exact = (b.bidirectional ? b.buckets / 2 : b.buckets) / 2;
  if (exact < 1 || b.max_distance <= exact) node.refuse("too few buckets, or max_distance not above those with a distance of their own");
  return b;
}

}  // namespace nemo::cpu::NEMO_CPU_NS
