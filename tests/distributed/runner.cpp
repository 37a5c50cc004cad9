#include "tests/distributed/runner.hpp"

#include <unistd.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace nemo::distributed_test {
namespace fs = std::filesystem;

Folder::Folder() {
  std::string name = (fs::temp_directory_path() / "nemo-distributed-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  path_ = name;
}

Folder::~Folder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

Overrides megatron(std::initializer_list<const char*> settings) {
  Overrides out{"strategy.plugin=megatron"};
  for (const char* s : settings) out.push_back("strategy." + std::string(s));
  return out;
}

std::string recipe(const std::string& model) {
  const std::string llama = "num_query_groups = 4\nffn_hidden_size = 64\n";
  const std::string family = model == "gpt" ? "plugin = \"gpt\"\nhidden_dropout = 0.1\nembedding_dropout = 0.1\n"
                             : model == "mixtral"
                                 ? "plugin = \"mixtral\"\nnum_moe_experts = 4\nmoe_aux_loss_coeff = 0.05\nmoe_z_loss_coeff = 0.01\n" + llama
                                 : "plugin = \"llama\"\n" + llama;
  return "[model]\n" + family +
         "num_layers = 2\nhidden_size = 32\nnum_attention_heads = 8\nvocab_size = 64\n"
         "[data]\nplugin = \"mock\"\nvocab_size = 64\npattern = \"arithmetic\"\nseq_length = 16\nmicro_batch_size = 2\nglobal_batch_size = "
         "8\n"
         "[optim]\nlr = 1e-3\n[trainer]\naccelerator = \"cpu\"\nmax_steps = 20\n[backend]\nthreads = 1\n"
         "[log]\ndir = \".\"\nloggers = [\"jsonl\"]\n[checkpoint]\nkeep_top_k = 0\nsave_last = false\n";
}

e2e::Command command(const Folder& folder, const std::string& model, const std::string& run, const Overrides& overrides) {
  const fs::path file = folder.path() / (model + ".toml");
  if (!fs::exists(file)) std::ofstream(file) << recipe(model);
  e2e::Command c{{NEMO_BUILD_DIR "/bin/nemo-host", "pretrain", "--recipe", file.string(), "job.name=" + run}, folder.path()};
  c.arguments.insert(c.arguments.end(), overrides.begin(), overrides.end());
  return c;
}

std::vector<Step> steps_of(const Folder& folder, const std::string& run) {
  std::ifstream file(folder.path() / run / "metrics.jsonl");
  std::vector<Step> steps;
  for (std::string line; std::getline(file, line);) {
    if (file.eof()) break;  // still being written
    const auto json = nlohmann::json::parse(line);
    steps.push_back({json.at("loss").get<double>(), json.at("grad_norm").get<double>()});
  }
  return steps;
}

std::vector<Step> train(const Folder& folder, const std::string& model, const std::string& run, const Overrides& overrides) {
  const e2e::Finished f = e2e::run(command(folder, model, run, overrides));
  if (f.exit_code != 0) throw std::runtime_error(run + ": exit code " + std::to_string(f.exit_code) + "\n" + f.err);
  return steps_of(folder, run);
}

Difference difference(const std::vector<Step>& a, const std::vector<Step>& b) {
  if (a.size() != b.size() || a.empty()) throw std::runtime_error("the runs have another number of steps");
  Difference d;
  for (size_t i = 0; i < a.size(); ++i) {
    d.loss = std::max(d.loss, std::abs(a[i].loss - b[i].loss) / std::abs(a[i].loss));
    d.grad_norm = std::max(d.grad_norm, std::abs(a[i].grad_norm - b[i].grad_norm) / std::abs(a[i].grad_norm));
  }
  return d;
}

}  // namespace nemo::distributed_test
