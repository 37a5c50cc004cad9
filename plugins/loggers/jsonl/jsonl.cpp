// The logger `jsonl`: <run>/metrics.jsonl, one JSON object a step.
#include <charconv>
#include <cmath>
#include <memory>

#include "line_file.hpp"
#include "nemo/cpp/logger.hpp"
#include "nemo/cpp/plugin.hpp"

namespace nemo::loggers {
namespace {

// Shortest text that reads back as the same double. JSON has no NaN and no infinity: they are the strings "nan", "inf", "-inf".
void put_number(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "\"nan\"";
    return;
  }
  if (std::isinf(value)) {
    out += value > 0 ? "\"inf\"" : "\"-inf\"";
    return;
  }
  char text[32];
  out.append(text, std::to_chars(text, text + sizeof text, value).ptr);
}

void put_text(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\', out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      out += escape;
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace
}  // namespace nemo::loggers

struct nemo_logger {
  nemo::loggers::LineFile file;

  void metrics(int64_t step, const nemo::sdk::Metrics& values) {
    std::string line = "{\"step\":" + std::to_string(step);
    for (const auto& [name, value] : values) {
      line += ',';
      nemo::loggers::put_text(line, name);
      line += ':';
      nemo::loggers::put_number(line, value);
    }
    file.append(line + "}\n");
  }
  void finish() { file.sync(); }
};

namespace nemo::loggers {
namespace {

nemo_logger* start(const nemo_config* config, const nemo_run_info& run) {
  const std::string path = sdk::to_string(run.directory) + "/" + sdk::Config(config).string("file");
  int64_t dropped = 0;
  auto logger = std::unique_ptr<nemo_logger>(new nemo_logger{{path, run.first_step, &dropped}});
  if (dropped > 0) sdk::log(NEMO_LOG_WARNING, "jsonl", path + ": dropped " + std::to_string(dropped) + " lines that are no metrics");
  return logger.release();
}

const sdk::Schema& schema() {
  static const sdk::Schema fields{{
      sdk::string("file", "\"metrics.jsonl\"",
                  "file in the run's folder: one JSON object a step, \"step\" first, then the metrics in the order given; numbers read "
                  "back exactly; "
                  "NaN and infinities are the strings \"nan\", \"inf\", \"-inf\"; each line is written at once; a resumed run drops the "
                  "lines it will repeat"),
  }};
  return fields;
}

constexpr nemo_logger_api kApi = sdk::file_logger_api<nemo_logger, start>();

}  // namespace
}  // namespace nemo::loggers

NEMO_PLUGIN("logger:jsonl\0", nemo::sdk::component(NEMO_KIND_LOGGER, "jsonl", "1.0.0", "Metrics as JSON lines", &nemo::loggers::kApi,
                                                   nemo::loggers::schema().get()))
