// tests/bench/gpu_train.cpp - training speed of whole steps on one GPU, one table: model x precision, with the peers' rows from the same
// GPU where they are present.
//
// usage: bench_gpu_train [--only WORD[,WORD]] [--steps N] [--peer FOLDER] [--llmc "COMMAND"]
//   --only   rows whose name contains one of the words (=NAME: is NAME)     --steps  timed steps of each row (default 5, after three that are not timed)
//   --peer   folder with torch_llama.py: runs its configuration of each model    --llmc  llm.c's command line, run as it is
// A row is the median of whole optimizer steps: batch copied in, forward, backward, clipping, AdamW, loss read. Model FLOPs are 6 N + 6 L q
// s per token (core/ops/cost.hpp: causal attention counts half); MFU is against 989.4 TFLOP/s, dense bf16 of an H100 or H200 SXM.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <sstream>

#include "core/config/config_api.hpp"
#include "core/plugin/search_path.hpp"
#include "core/runtime/profile.hpp"

namespace {

using namespace nemo;

constexpr double kPeak = 989.4e12;

struct Work {
  const char* name;
  const char* recipe;
  std::vector<std::string> overrides;
  const char* peer;  // torch_llama.py's configuration
};

const std::vector<std::string> kPadded{"model.make_vocab_size_divisible_by=128", "data.seq_length=1024"};
const std::vector<std::string> kXl{"model.num_layers=48", "model.hidden_size=1600", "model.num_attention_heads=25"};
const std::vector<std::string> kEightLayers{"model.num_layers=8", "data.seq_length=8192"};

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
std::vector<std::string> batch(int64_t micro, int64_t accumulated) {
  return {"data.micro_batch_size=" + std::to_string(micro), "data.global_batch_size=" + std::to_string(micro * accumulated)};
}

std::vector<Work> works() {
  return {{"gpt2_124m s1024 64x1", "gpt2_124m", kPadded + batch(64, 1), "model=gpt2_124m,seq=1024,bs=64,chunk=16384"},
          {"gpt2_124m s1024 128x1", "gpt2_124m", kPadded + batch(128, 1), nullptr},
          {"gpt2_1558m s1024 16x4", "gpt2_124m", kPadded + kXl + batch(16, 4),
           "model=gpt2_1558m,seq=1024,bs=16,chunk=8192,accum=4,compile=block,steps=5"},
          {"llama32_1b s2048 16x1", "llama32_1b", std::vector<std::string>{"data.seq_length=2048"} + batch(16, 1),
           "model=llama32_1b,seq=2048,bs=16"},
          {"llama32_1b s8192 4x1", "llama32_1b", std::vector<std::string>{"data.seq_length=8192"} + batch(4, 1),
           "model=llama32_1b,seq=8192,bs=4,attn=flash"},
          {"llama32_1b s8192 4x4", "llama32_1b", std::vector<std::string>{"data.seq_length=8192"} + batch(4, 4),
           "model=llama32_1b,seq=8192,bs=4,accum=4,attn=flash"},
          {"llama3_8b/8 s8192 1x4", "llama3_8b", kEightLayers + batch(1, 4), nullptr}};
}

// How a work is computed.
struct Way {
  const char* name;
  std::vector<std::string> overrides;
};
const std::vector<Way> kWays{
    {"bf16", {"precision.plugin=bf16-mixed", "backend.deterministic=false"}},
    {"deterministic bf16", {"precision.plugin=bf16-mixed", "trainer.deterministic=true"}},
    {"bf16 with bf16 gradients", {"precision.plugin=bf16-mixed", "precision.grad_dtype=bf16", "backend.deterministic=false"}},
    {"fp8", {"precision.plugin=fp8", "backend.deterministic=false"}}};

struct Options {
  std::vector<std::string> only;
  int64_t steps = 5;
  std::string peer, llmc;
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--only") {
      std::istringstream words(value);
      for (std::string word; std::getline(words, word, ',');) o.only.push_back(word);
    } else if (key == "--steps") {
      o.steps = std::atoll(value.c_str());
    } else if (key == "--peer") {
      o.peer = value;
    } else if (key == "--llmc") {
      o.llmc = value;
    } else {
      throw Error(Code::kConfig, "unknown option " + key);
    }
  }
  return o;
}

bool wanted(const Options& o, const std::string& name) {
  if (o.only.empty()) return true;
  return std::any_of(o.only.begin(), o.only.end(), [&](const std::string& word) {
    return word.front() == '=' ? name == word.substr(1) : name.find(word) != std::string::npos;
  });
}

double gib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

void print_row(const std::string& name, const runtime::ProfileResult& r, double same_without) {
  std::printf("%-44s %9.2f %10.0f %8.1f %6.1f %8.2f %8.2f %8.3f", name.c_str(), r.step_ms, r.tokens / r.step_ms * 1e3,
              r.model_flops / r.step_ms * 1e-9, 100 * r.model_flops / (r.step_ms * 1e-3) / kPeak, gib(r.planned_bytes),
              gib(r.measured_bytes), r.ideal_ms() / r.step_ms);
  if (same_without > 0) std::printf("  costs %+.1f %%", 100 * (r.step_ms / same_without - 1));
  std::printf("\n");
  std::fflush(stdout);
}

void run_peer(const std::string& command) {
  std::printf("peer: %s\n", command.c_str());
  std::fflush(stdout);
  if (const int status = std::system(command.c_str()); status != 0) std::printf("peer: ended with status %d\n", status);
}

void run_work(const Options& o, const Work& work, plugin::Registry& registry, const plugin::HostTable& table) {
  const std::vector<std::filesystem::path> folders{std::filesystem::path(NEMO_BUILD_DIR) / "share/nemo/recipes"};
  double plain = 0;
  for (const Way& way : kWays) {
    const std::string name = std::string(work.name) + " " + way.name;
    if (!wanted(o, name)) continue;
    try {
      const auto overrides = work.overrides + way.overrides + std::vector<std::string>{"trainer.accelerator=gpu"};
      const auto setup = runtime::make_setup(config::Document::load(work.recipe, folders, overrides), registry, [](const std::string&) {});
      runtime::RunContext context;
      context.host = table.api();
      runtime::ProfileOptions options;
      options.steps = o.steps;
      const runtime::ProfileResult result = runtime::profile(setup, context, options);
      const bool deterministic = std::strstr(way.name, "deterministic") != nullptr;
      print_row(name, result, deterministic ? plain : 0);
      if (!deterministic) plain = result.step_ms;
    } catch (const Error& e) {
      std::printf("%-44s %s\n", name.c_str(), std::string(e.what()).substr(0, 200).c_str());
    }
  }
  if (work.peer != nullptr && !o.peer.empty() && wanted(o, work.name))
    run_peer("python3 " + o.peer + "/torch_llama.py --config '" + work.peer + "' | tail -2");
}

}  // namespace

int main(int argc, char** argv) try {
  const Options o = parse(argc, argv);
  plugin::HostOptions options;
  options.fill_config = config::fill_config_api;
  plugin::HostTable table(options);
  plugin::SearchSources sources;
  sources.install_folder = NEMO_BUILD_DIR "/lib/nemo/plugins";
  plugin::Registry registry{plugin::SearchPath(sources), table};
  std::printf(
      "MFU = (6 N + 6 L q s) tokens/s / 989.4 TFLOP/s; GiB planned before and measured after; roof = roofline of this run over the step\n");
  std::printf("%-44s %9s %10s %8s %6s %8s %8s %8s\n", "work, micro batch x accumulated", "step ms", "tokens/s", "TFLOP/s", "MFU %",
              "planned", "measured", "roof");
  for (const Work& work : works()) run_work(o, work, registry, table);
  if (!o.llmc.empty()) run_peer(o.llmc);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
