// nemo/cpp/logger.hpp - what most logger plugins do alike (nemo/logger.h).
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "nemo/cpp/core.hpp"
#include "nemo/logger.h"

namespace nemo::sdk {
inline namespace v1 {

using Metrics = std::vector<std::pair<std::string_view, double>>;  // names are valid as long as the host's array

// The host's array, whose entries may be longer than this SDK knows them.
inline Metrics read_metrics(const nemo_metric* values, uint64_t n, uint64_t stride) {
  Metrics out;
  out.reserve(n);
  for (uint64_t i = 0; i < n; ++i) {
    const auto* metric = reinterpret_cast<const nemo_metric*>(reinterpret_cast<const char*>(values) + i * stride);
    out.emplace_back(to_view(metric->name), metric->value);
  }
  return out;
}

// The interface of a logger whose struct nemo_logger (Logger) has `void metrics(int64_t step, const Metrics&)` and `void finish()`.
// start(const nemo_config*, const nemo_run_info&) returns a new nemo_logger. Exceptions become the host's errors.
template <class Logger, auto start>
constexpr nemo_logger_api file_logger_api() {
  nemo_logger_api api{};
  api.struct_size = sizeof api;
  api.start = [](nemo_host*, const nemo_config* config, const nemo_run_info* run, nemo_logger** out) -> nemo_error* {
    return guard([&] { *out = start(config, *run); });
  };
  api.metrics = [](nemo_logger* logger, int64_t step, const nemo_metric* values, uint64_t n, uint64_t stride) -> nemo_error* {
    return guard([&] { static_cast<Logger*>(logger)->metrics(step, read_metrics(values, n, stride)); });
  };
  api.finish = [](nemo_logger* logger, nemo_str, nemo_str) -> nemo_error* {
    return guard([&] { static_cast<Logger*>(logger)->finish(); });
  };
  api.destroy = [](nemo_logger* logger) { delete static_cast<Logger*>(logger); };
  return api;
}

}  // namespace v1
}  // namespace nemo::sdk
