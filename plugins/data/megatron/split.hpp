// plugins/data/megatron/split.hpp - "900,50,50": which documents belong to train, validation and test.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nemo::megatron {

// Divides by the sum, added up in numpy's order (pairwise), so that the bits agree.
[[nodiscard]] std::vector<double> normalise(std::span<const double> weights);

// Share [begin, end) of one split within 0..1; absent where its weight is 0.
struct Share {
  double begin = 0, end = 0;
  [[nodiscard]] bool present() const { return end > begin; }
};

// One to three numbers for train, validation, test. Throws NEMO_CODE_CONFIG_INVALID (path "split") for anything else.
[[nodiscard]] std::array<Share, 3> parse_split(const std::string& text);

struct DocumentRange {
  int64_t begin = 0, end = 0;
};
// The boundaries are rounded half to even, as Python's round.
[[nodiscard]] DocumentRange documents_of(const Share& share, int64_t documents);

}  // namespace nemo::megatron
