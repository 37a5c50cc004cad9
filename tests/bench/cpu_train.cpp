// tests/bench/cpu_train.cpp - training speed of GPT-2 124M on the CPU, whole steps (forward, backward, clipping, AdamW), beside the
// machine's own sgemm rate.
//
// usage: cpu_train [STEPS]   (default 7 timed steps of each shape, after one that is not timed; the median counts)
// Model FLOPs are 6 N + 6 L q s per token (core/ops/cost.hpp); the sgemm rate is the best of OpenBLAS on 2048^3 with the backend's kernel
// choice, before and after the training rows.
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "core/config/config_api.hpp"
#include "core/plugin/search_path.hpp"
#include "core/runtime/evaluate.hpp"
#include "core/runtime/train_loop.hpp"

namespace {

using namespace nemo;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// GFLOP/s of one 2048^3 product, best of five. The backend has loaded OpenBLAS with the right kernels by now.
double sgemm_rate() {
  using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
  void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  const auto sgemm = library == nullptr ? nullptr : reinterpret_cast<Sgemm>(dlsym(library, "cblas_sgemm"));
  const auto set_threads = library == nullptr ? nullptr : reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads"));
  const auto get_threads = library == nullptr ? nullptr : reinterpret_cast<int (*)()>(dlsym(library, "openblas_get_num_threads"));
  const auto processors = library == nullptr ? nullptr : reinterpret_cast<int (*)()>(dlsym(library, "openblas_get_num_procs"));
  if (sgemm == nullptr || set_threads == nullptr || get_threads == nullptr || processors == nullptr)
    throw Error(Code::kNotFound, "libopenblas.so.0 cannot be used");
  constexpr int n = 2048;
  const std::vector<float> a(size_t{n} * n, 0.5F), b(size_t{n} * n, 0.25F);
  std::vector<float> c(size_t{n} * n);
  const int before = get_threads();
  set_threads(processors());
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const auto start = Clock::now();
    sgemm(101, 111, 112, n, n, n, 1.0F, a.data(), n, b.data(), n, 0.0F, c.data(), n);
    best = std::max(best, 2.0 * n * n * n / seconds_since(start) / 1e9);
  }
  set_threads(before);
  return best;
}

// The kernels that OpenBLAS runs with, which OPENBLAS_CORETYPE of the environment can make slow ones.
std::string kernels() {
  void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  const auto name = library == nullptr ? nullptr : reinterpret_cast<char* (*)()>(dlsym(library, "openblas_get_corename"));
  if (name == nullptr) throw Error(Code::kNotFound, "libopenblas.so.0 cannot be used");
  return std::string(name()) + " kernels" + (std::getenv("OPENBLAS_CORETYPE") == nullptr ? "" : ", by OPENBLAS_CORETYPE");
}

struct Row {
  int64_t batch, seq;
  double tokens_per_s, gflops;
};

Row train(plugin::Registry& registry, const plugin::HostTable& table, int64_t batch, int64_t seq, int steps) {
  const std::vector<std::filesystem::path> folders{NEMO_SOURCE_DIR "/host/recipes"};
  const std::vector<std::string> overrides{"data.seq_length=" + std::to_string(seq), "data.micro_batch_size=" + std::to_string(batch),
                                           "data.global_batch_size=" + std::to_string(batch), "trainer.accelerator=cpu",
                                           "precision.plugin=fp32"};
  const auto setup = runtime::make_setup(config::Document::load("gpt2_124m", folders, overrides), registry, [](const std::string&) {});
  runtime::EngineOptions options;
  options.purposes = {passes::Purpose::kTrain};
  options.facts = runtime::build_facts(setup, nullptr);
  const auto settings = runtime::optimizer_settings(setup.section("optim"));
  options.keep = settings.keep();
  runtime::Engine engine(setup, options);
  engine.allocate();
  engine.state().initialize(1);
  runtime::Optimizer optimizer(engine.device(), engine.state(), settings, engine.sync());
  const auto source = runtime::DataSource::open(setup, *table.api(), nullptr, {"train", options.facts, batch, batch * (steps + 1), 1});
  runtime::Program& program = engine.program(passes::Purpose::kTrain);
  std::vector<double> seconds;
  for (int step = 0; step <= steps; ++step) {
    const auto start = Clock::now();
    const runtime::Batch& data = source->next();
    runtime::feed(engine.device(), program, data, 1, step);
    program.run();
    optimizer.step(1e-4, step + 1, static_cast<double>(data.unmasked_tokens));
    if (step > 0) seconds.push_back(seconds_since(start));
  }
  std::nth_element(seconds.begin(), seconds.begin() + steps / 2, seconds.end());
  const double median = seconds[static_cast<size_t>(steps / 2)];
  return {batch, seq, static_cast<double>(batch * seq) / median, engine.model_flops() / median / 1e9};
}

}  // namespace

int main(int argc, char** argv) try {
  const int steps = argc > 1 ? std::atoi(argv[1]) : 7;
  plugin::HostOptions options;
  options.fill_config = config::fill_config_api;
  plugin::HostTable table(options);
  plugin::SearchSources sources;
  sources.install_folder = NEMO_BUILD_DIR "/lib/nemo/plugins";
  plugin::Registry registry{plugin::SearchPath(sources), table};
  train(registry, table, 1, 8, 1);
  double sgemm = sgemm_rate();
  const Row rows[] = {train(registry, table, 4, 64, steps), train(registry, table, 1, 1024, steps)};
  sgemm = std::max(sgemm, sgemm_rate());
  std::printf("GPT-2 124M, f32, whole training steps; sgemm 2048^3 on this machine in this run: %.1f GFLOP/s (%s)\n", sgemm,
              kernels().c_str());
  std::printf("%-14s %12s %12s %14s\n", "batch x seq", "tokens/s", "GFLOP/s", "over sgemm");
  for (const Row& r : rows)
    std::printf("%3lld x %-8lld %12.1f %12.1f %14.2f\n", static_cast<long long>(r.batch), static_cast<long long>(r.seq), r.tokens_per_s,
                r.gflops, r.gflops / sgemm);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
