// The logger `tensorboard`: event files in <run>/tensorboard/.
#include "event_file.hpp"
#include "nemo/cpp/logger.hpp"
#include "nemo/cpp/plugin.hpp"

struct nemo_logger {
  nemo::loggers::EventFile file;

  void metrics(int64_t step, const nemo::sdk::Metrics& values) { file.scalars(step, values); }
  void finish() { file.sync(); }
};

namespace nemo::loggers {
namespace {

nemo_logger* start(const nemo_config* config, const nemo_run_info& run) {
  return new nemo_logger{{sdk::to_string(run.directory) + "/" + sdk::Config(config).string("folder"), run.first_step}};
}

const sdk::Schema& schema() {
  static const sdk::Schema fields{{
      sdk::string("folder", "\"tensorboard\"",
                  "folder in the run's folder for event files, read with `tensorboard --logdir RUN`; each metric is a scalar (32-bit) "
                  "under its own name; "
                  "a resumed run starts a new file, and TensorBoard drops the points that it repeats"),
  }};
  return fields;
}

constexpr nemo_logger_api kApi = sdk::file_logger_api<nemo_logger, start>();

}  // namespace
}  // namespace nemo::loggers

NEMO_PLUGIN("logger:tensorboard\0", nemo::sdk::component(NEMO_KIND_LOGGER, "tensorboard", "1.0.0", "Metrics as TensorBoard event files",
                                                         &nemo::loggers::kApi, nemo::loggers::schema().get()))
