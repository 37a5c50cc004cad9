// The logger `tensorboard`: event files in <run>/tensorboard/.
#include "event_file.hpp"
#include "nemo/cpp/plugin.hpp"

struct nemo_logger {
  nemo::loggers::EventFile file;
};

namespace nemo::loggers {
namespace {

nemo_error* start(nemo_host*, const nemo_config* raw, const nemo_run_info* run, nemo_logger** out) {
  return sdk::guard([&] {
    const std::string folder = sdk::to_string(run->directory) + "/" + sdk::Config(raw).string("folder");
    *out = new nemo_logger{{folder, run->first_step}};
  });
}

nemo_error* metrics(nemo_logger* logger, int64_t step, const nemo_metric* values, uint64_t n, uint64_t stride) {
  return sdk::guard([&] {
    std::vector<std::pair<std::string_view, double>> scalars;
    for (uint64_t i = 0; i < n; ++i) {
      const auto* metric = reinterpret_cast<const nemo_metric*>(reinterpret_cast<const char*>(values) + i * stride);
      scalars.emplace_back(sdk::to_view(metric->name), metric->value);
    }
    logger->file.scalars(step, scalars);
  });
}

nemo_error* finish(nemo_logger* logger, nemo_str, nemo_str) {
  return sdk::guard([&] { logger->file.sync(); });
}

void destroy(nemo_logger* logger) { delete logger; }

const sdk::Schema& schema() {
  static const sdk::Schema fields{{
      sdk::string("folder", "\"tensorboard\"",
                  "folder in the run's folder for event files, read with `tensorboard --logdir RUN`; each metric is a scalar (32-bit) "
                  "under its own name; "
                  "a resumed run starts a new file, and TensorBoard drops the points that it repeats"),
  }};
  return fields;
}

constexpr nemo_logger_api kApi = {sizeof(nemo_logger_api), 0, start, metrics, finish, destroy, nullptr};

}  // namespace
}  // namespace nemo::loggers

NEMO_PLUGIN("logger:tensorboard\0", nemo::sdk::component(NEMO_KIND_LOGGER, "tensorboard", "1.0.0", "Metrics as TensorBoard event files",
                                                         &nemo::loggers::kApi, nemo::loggers::schema().get()))
