// The logger `csv`: <run>/metrics.csv, one row a step.
#include <memory>

#include "nemo/cpp/plugin.hpp"
#include "table_file.hpp"

struct nemo_logger {
  nemo::loggers::TableFile file;
};

namespace nemo::loggers {
namespace {

nemo_error* start(nemo_host*, const nemo_config* raw, const nemo_run_info* run, nemo_logger** out) {
  return sdk::guard([&] {
    const std::string path = sdk::to_string(run->directory) + "/" + sdk::Config(raw).string("file");
    *out = new nemo_logger{{path, run->first_step}};
  });
}

nemo_error* metrics(nemo_logger* logger, int64_t step, const nemo_metric* values, uint64_t n, uint64_t stride) {
  return sdk::guard([&] {
    std::vector<std::pair<std::string_view, double>> row;
    for (uint64_t i = 0; i < n; ++i) {
      const auto* metric = reinterpret_cast<const nemo_metric*>(reinterpret_cast<const char*>(values) + i * stride);
      row.emplace_back(sdk::to_view(metric->name), metric->value);
    }
    logger->file.append(step, row);
  });
}

nemo_error* finish(nemo_logger* logger, nemo_str, nemo_str) {
  return sdk::guard([&] { logger->file.sync(); });
}

void destroy(nemo_logger* logger) { delete logger; }

const sdk::Schema& schema() {
  static const sdk::Schema fields{{
      sdk::string("file", "\"metrics.csv\"",
                  "file in the run's folder: a header, then one row a step; a metric that first comes later (val_loss) gets a new column "
                  "at the right, "
                  "with empty cells above; absent is an empty cell, NaN and infinities are nan, inf, -inf; a resumed run drops the rows it "
                  "will repeat"),
  }};
  return fields;
}

constexpr nemo_logger_api kApi = {sizeof(nemo_logger_api), 0, start, metrics, finish, destroy, nullptr};

}  // namespace
}  // namespace nemo::loggers

NEMO_PLUGIN("logger:csv\0", nemo::sdk::component(NEMO_KIND_LOGGER, "csv", "1.0.0", "Metrics as a table", &nemo::loggers::kApi,
                                                 nemo::loggers::schema().get()))
