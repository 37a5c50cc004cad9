// The logger `console`: progress on standard output.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "nemo/cpp/logger.hpp"
#include "nemo/cpp/plugin.hpp"
#include "progress.hpp"

namespace nemo::loggers {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kLineSeconds = 10;
constexpr int64_t kAutomaticLines = 20;
constexpr const char* kClearLine = "\r\x1b[K";

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Through stdio, so that it stays in order with what the host prints.
void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    const std::string reason = std::strerror(errno);
    std::clearerr(stdout);
    throw sdk::Error(NEMO_CODE_INTERNAL, "cannot write to standard output: " + reason).with("file", "standard output");
  }
}

int columns() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 120;
}

}  // namespace
}  // namespace nemo::loggers

struct nemo_logger {
  nemo::loggers::Progress progress;
  bool terminal;
  int64_t first_step, max_steps, every;  // every: 0 is automatic
  double printed = 0;                    // when the bar or the last line was
  bool bar_shown = false;

  void show(double time) {
    if (terminal) {
      if (time - printed < nemo::loggers::kRedrawSeconds && bar_shown && !progress.is_last()) return;
      nemo::loggers::print(nemo::loggers::kClearLine + progress.bar(nemo::loggers::columns()));
      bar_shown = true;
    } else {
      if (!line_is_due(time)) return;
      nemo::loggers::print(progress.line() + "\n");
    }
    printed = time;
  }

  [[nodiscard]] bool line_is_due(double time) const {
    const int64_t step = progress.step();
    if (progress.is_last() || progress.validated()) return true;
    if (every > 0) return step % every == 0;
    const int64_t interval = std::max<int64_t>(1, max_steps / nemo::loggers::kAutomaticLines);
    return step == first_step || step % interval == 0 || time - printed >= nemo::loggers::kLineSeconds;
  }
};

namespace nemo::loggers {
namespace {

nemo_error* start(nemo_host*, const nemo_config* raw, const nemo_run_info* run, nemo_logger** out) {
  return sdk::guard([&] {
    const int64_t every = sdk::Config(raw).integer("every_n_steps");
    auto* logger =
        new nemo_logger{Progress(run->first_step, run->max_steps), run->is_terminal != 0, run->first_step, run->max_steps, every};
    logger->printed = now();
    logger->progress.begin(logger->printed);
    *out = logger;
  });
}

nemo_error* metrics(nemo_logger* logger, int64_t step, const nemo_metric* values, uint64_t n, uint64_t stride) {
  return sdk::guard([&] {
    logger->progress.begin_step(step);
    for (const auto& [name, value] : sdk::read_metrics(values, n, stride)) logger->progress.metric(name, value);
    const double time = now();
    logger->progress.end_step(time);
    logger->show(time);
  });
}

nemo_error* text(nemo_logger* logger, int64_t, nemo_str line) {
  return sdk::guard([&] {
    const std::string clear = logger->bar_shown ? kClearLine : "";
    const std::string redraw = logger->bar_shown ? logger->progress.bar(columns()) : "";
    print(clear + sdk::to_string(line) + "\n" + redraw);
  });
}

nemo_error* finish(nemo_logger* logger, nemo_str status, nemo_str message) {
  return sdk::guard([&] {
    const std::string end_of_bar = logger->bar_shown ? kClearLine + logger->progress.bar(columns()) + "\n" : "";
    logger->bar_shown = false;
    print(end_of_bar + logger->progress.summary(sdk::to_view(status), sdk::to_view(message), now()) + "\n");
  });
}

void destroy(nemo_logger* logger) { delete logger; }

const sdk::Schema& schema() {
  static const sdk::Schema fields{{
      sdk::integer("every_n_steps", "0",
                   "a line every so many steps where standard output is no terminal; 0 = automatic: about one line per 5 % of the run or "
                   "10 s; validated "
                   "steps and the last one always get a line; a terminal gets a progress bar instead")
          .min(0)
          .unit("steps"),
  }};
  return fields;
}

constexpr nemo_logger_api kApi = {sizeof(nemo_logger_api), 0, start, metrics, finish, destroy, text};

}  // namespace
}  // namespace nemo::loggers

NEMO_PLUGIN("logger:console\0", nemo::sdk::component(NEMO_KIND_LOGGER, "console", "1.0.0", "Progress on standard output",
                                                     &nemo::loggers::kApi, nemo::loggers::schema().get()))
