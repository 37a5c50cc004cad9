// The logger `csv`: <run>/metrics.csv, one row a step.
#include "nemo/cpp/logger.hpp"
#include "nemo/cpp/plugin.hpp"
#include "table_file.hpp"

struct nemo_logger {
  nemo::loggers::TableFile file;

  void metrics(int64_t step, const nemo::sdk::Metrics& values) { file.append(step, values); }
  void finish() { file.sync(); }
};

namespace nemo::loggers {
namespace {

nemo_logger* start(const nemo_config* config, const nemo_run_info& run) {
  return new nemo_logger{{sdk::to_string(run.directory) + "/" + sdk::Config(config).string("file"), run.first_step}};
}

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

constexpr nemo_logger_api kApi = sdk::file_logger_api<nemo_logger, start>();

}  // namespace
}  // namespace nemo::loggers

NEMO_PLUGIN("logger:csv\0", nemo::sdk::component(NEMO_KIND_LOGGER, "csv", "1.0.0", "Metrics as a table", &nemo::loggers::kApi,
                                                 nemo::loggers::schema().get()))
