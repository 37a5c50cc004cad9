#include "core/runtime/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/runtime/philox.hpp"

namespace nemo::runtime {
namespace {

void keep_top_k(std::vector<double>& scores, int64_t k) {
  if (k <= 0 || k >= static_cast<int64_t>(scores.size())) return;
  std::vector<double> sorted = scores;
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
  const double least = sorted[static_cast<size_t>(k - 1)];
  for (double& s : scores)
    if (s < least) s = -INFINITY;
}

std::vector<double> softmax(const std::vector<double>& scores) {
  const double most = *std::max_element(scores.begin(), scores.end());
  std::vector<double> p(scores.size());
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += p[i] = std::exp(scores[i] - most);
  for (double& x : p) x /= sum;
  return p;
}

void keep_top_p(std::vector<double>& probabilities, double top_p) {
  if (top_p >= 1.0) return;
  std::vector<size_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return probabilities[a] > probabilities[b]; });
  double mass = 0;
  size_t kept = 0;
  while (kept < order.size() && (kept == 0 || mass < top_p)) mass += probabilities[order[kept++]];
  for (size_t i = kept; i < order.size(); ++i) probabilities[order[i]] = 0;
  for (double& p : probabilities) p /= mass;
}

}  // namespace

std::vector<double> token_probabilities(std::span<const float> logits, const SamplingSettings& settings) {
  std::vector<double> scores(logits.begin(), logits.end());
  for (double& s : scores) s /= settings.temperature;
  keep_top_k(scores, settings.top_k);
  std::vector<double> probabilities = softmax(scores);
  keep_top_p(probabilities, settings.top_p);
  return probabilities;
}

int32_t sample(std::span<const float> logits, const SamplingSettings& settings, int64_t position) {
  if (settings.temperature == 0) return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  const std::vector<double> p = token_probabilities(logits, settings);
  const auto at = static_cast<uint64_t>(position), seed = static_cast<uint64_t>(settings.seed);
  const auto words = philox({static_cast<uint32_t>(at), static_cast<uint32_t>(at >> 32), 0, 1},
                            {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  double u = (static_cast<double>(words[0]) + 0.5) / 4294967296.0;
  int32_t last = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) continue;
    last = static_cast<int32_t>(i);
    if ((u -= p[i]) < 0) break;
  }
  return last;
}

}  // namespace nemo::runtime
