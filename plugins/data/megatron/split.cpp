#include "split.hpp"

#include <charconv>
#include <cmath>

#include "nemo/cpp/config.hpp"

namespace nemo::megatron {
namespace {

// numpy.sum of contiguous doubles.
double pairwise_sum(std::span<const double> x) {
  const size_t n = x.size();
  if (n < 8) {
    double sum = 0;
    for (const double v : x) sum += v;
    return sum;
  }
  if (n > 128) {
    size_t half = n / 2;
    half -= half % 8;
    return pairwise_sum(x.first(half)) + pairwise_sum(x.subspan(half));
  }
  double r[8];
  for (size_t j = 0; j < 8; ++j) r[j] = x[j];
  size_t i = 8;
  for (; i + 8 <= n; i += 8)
    for (size_t j = 0; j < 8; ++j) r[j] += x[i + j];
  double sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
  for (; i < n; ++i) sum += x[i];
  return sum;
}

std::vector<double> parse_numbers(const std::string& text) {
  std::vector<double> out;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    if (*at == ' ' || *at == ',') {
      ++at;
      continue;
    }
    double value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || !(value >= 0) || !std::isfinite(value)) return {};
    out.push_back(value);
    at = next;
  }
  return out;
}

}  // namespace

std::vector<double> normalise(std::span<const double> weights) {
  const double sum = pairwise_sum(weights);
  std::vector<double> out(weights.begin(), weights.end());
  for (double& w : out) w /= sum;
  return out;
}

std::array<Share, 3> parse_split(const std::string& text) {
  std::vector<double> numbers = parse_numbers(text);
  if (numbers.empty() || numbers.size() > 3 || !(pairwise_sum(numbers) > 0))
    sdk::config_fault(
        "split",
        "split = \"" + text + "\": expected one to three numbers >= 0 for train, validation, test, not all 0, for example \"900,50,50\"");
  numbers.resize(3);
  const std::vector<double> shares = normalise(numbers);
  std::array<Share, 3> out;
  double before = 0;
  for (size_t i = 0; i < 3; ++i) {
    out[i] = {before, before + shares[i]};
    before = out[i].end;
  }
  return out;
}

DocumentRange documents_of(const Share& share, int64_t documents) {
  const auto n = static_cast<double>(documents);
  return {static_cast<int64_t>(std::nearbyint(share.begin * n)), static_cast<int64_t>(std::nearbyint(share.end * n))};
}

}  // namespace nemo::megatron
