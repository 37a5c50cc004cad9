#include "core/runtime/runs.hpp"

#include <algorithm>

namespace nemo::runtime {

using graph::Dims;

std::vector<int64_t> starts_of(const Dims& dims, const passes::Plan& plan, const passes::Coordinates& coordinates) {
  std::vector<int64_t> starts;
  for (const graph::Dim& dim : dims) {
    int64_t part = 0;
    for (const std::string& axis : dim.mesh) {
      const auto at = coordinates.find(axis);
      part = part * plan.axis_size(axis) + (at == coordinates.end() ? 0 : at->second);
    }
    starts.push_back(part * dim.size);
  }
  return starts;
}

std::vector<Run> runs_of(const Dims& dims, const Dims& global_dims, const std::vector<int64_t>& starts, int64_t first, int64_t count) {
  size_t lead = 0;  // dimensions that step from run to run: all before the last one that is split
  for (size_t d = 0; d < dims.size(); ++d)
    if (dims[d].size != global_dims[d].size) lead = d;
  int64_t row = 1, global_row = 1, shift = 0;
  for (size_t d = dims.size(); d-- > lead;) {
    shift += starts[d] * global_row;
    row *= dims[d].size, global_row *= global_dims[d].size;
  }
  std::vector<Run> runs;
  for (int64_t at = first; at < first + count;) {
    const int64_t r = at / row, within = at % row;
    int64_t global = 0, rest = r, step = global_row;
    for (size_t d = lead; d-- > 0;) {
      global += (rest % dims[d].size + starts[d]) * step;
      rest /= dims[d].size, step *= global_dims[d].size;
    }
    const int64_t length = std::min(row - within, first + count - at);
    runs.push_back({at, global + shift + within, length});
    at += length;
  }
  return runs;
}

}  // namespace nemo::runtime
