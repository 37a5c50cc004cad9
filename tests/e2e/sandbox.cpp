#include "tests/e2e/sandbox.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <random>
#include <sstream>

namespace nemo::e2e {
namespace {

constexpr const char* kRecipe = R"([job]
seed = 7

[model]
plugin = "gpt"
num_layers = 2
hidden_size = 32
num_attention_heads = 2

[tokenizer]
type = "char"

[data]
plugin = "text"
files = ["corpus.txt"]
sampling = "random"
seq_length = 16
micro_batch_size = 8
global_batch_size = 8

[optim]
lr = 1e-3

[trainer]
max_steps = 12
val_check_interval = 4
limit_val_batches = 2

[log]
loggers = ["jsonl"]

[checkpoint]
every_n_steps = 4
)";

// About 18 kB of words; the same on every machine.
std::string corpus() {
  const Words words{"the", "king",   "and",   "queen", "speak", "of",    "love", "death",
                    "in",  "Verona", "while", "no",    "man",   "shall", "know", "night"};
  std::mt19937 draw(1);
  std::string text;
  for (int i = 0; i < 3600; ++i) text += words[draw() % words.size()] + (i % 9 == 8 ? ".\n" : " ");
  return text;
}

}  // namespace

Sandbox::Sandbox() {
  std::string pattern = (fs::temp_directory_path() / "nemo-e2e-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
  folder_ = fs::canonical(pattern);
  write("corpus.txt", corpus());
  write("tiny.toml", kRecipe);
}

Sandbox::~Sandbox() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void Sandbox::write(const std::string& name, const std::string& text) const {
  fs::create_directories((folder_ / name).parent_path());
  std::ofstream out(folder_ / name, std::ios::binary);
  out << text;
  ASSERT_TRUE(out.flush().good()) << name;
}

std::string Sandbox::read(const fs::path& name) const {
  std::ifstream in(folder_ / name, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

Command Sandbox::host(Words arguments) const {
  arguments.insert(arguments.begin(), NEMO_BUILD_DIR "/bin/nemo-host");
  return {std::move(arguments), folder_};
}

Command Sandbox::pretraining(const std::string& name, const Words& overrides) const {
  Words arguments{"pretrain", "--recipe", "tiny.toml", "job.name=" + name};
  arguments.insert(arguments.end(), overrides.begin(), overrides.end());
  return host(arguments);
}

std::vector<nlohmann::json> Sandbox::metrics(const std::string& name) const {
  std::istringstream lines(read(run_folder(name) / "metrics.jsonl"));
  std::vector<nlohmann::json> objects;
  for (std::string line; std::getline(lines, line);) objects.push_back(nlohmann::json::parse(line));
  return objects;
}

std::vector<double> Sandbox::column(const std::string& name, const std::string& field) const {
  std::vector<double> values;
  for (const nlohmann::json& object : metrics(name))
    if (object.contains(field)) values.push_back(object[field].get<double>());
  return values;
}

Words Sandbox::checkpoints(const std::string& name) const {
  Words names;
  const fs::path folder = run_folder(name) / "checkpoints";
  if (fs::is_directory(folder))
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

fs::path Sandbox::checkpoint(const std::string& name, int64_t step) const {
  char folder[32];
  std::snprintf(folder, sizeof folder, "step_%08lld", static_cast<long long>(step));
  return run_folder(name) / "checkpoints" / folder;
}

}  // namespace nemo::e2e
