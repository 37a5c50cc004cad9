#include "tests/runtime/session.hpp"

#include <algorithm>

#include "core/plugin/search_path.hpp"
#include "core/runtime/evaluate.hpp"

namespace nemo::runtime_test {
namespace {

plugin::HostOptions options() {
  plugin::HostOptions options;
  options.fill_config = config::fill_config_api;
  return options;
}

}  // namespace

Plugins::Plugins() : table_(options()) {
  plugin::SearchSources sources;
  sources.install_folder = NEMO_BUILD_DIR "/lib/nemo/plugins";
  registry_ = std::make_unique<plugin::Registry>(plugin::SearchPath(sources), table_);
}

Session::Session(Plugins& plugins, const std::string& recipe, std::set<passes::Purpose> purposes)
    : setup(runtime::make_setup(config::Document::parse(recipe, "test.toml"), plugins.registry(), [](const std::string&) {})) {
  const bool trains = purposes.contains(passes::Purpose::kTrain);
  runtime::EngineOptions o;
  o.purposes = std::move(purposes);
  o.facts = runtime::build_facts(setup, nullptr);
  const runtime::OptimizerSettings settings = runtime::optimizer_settings(setup.section("optim"));
  o.keep = trains ? settings.keep() : runtime::Keep::kParametersOnly;
  engine = std::make_unique<runtime::Engine>(setup, o);
  engine->allocate();
  if (trains) optimizer = std::make_unique<runtime::Optimizer>(engine->device(), engine->state(), settings, engine->sync());
}

double Session::loss(passes::Purpose purpose, const runtime::Batch& batch, runtime::Gradients gradients) {
  runtime::Program& program = engine->program(purpose);
  runtime::feed(engine->device(), program, batch, 1, 0);
  program.run(gradients);
  return runtime::read_scalar(engine->device(), program, "loss") / static_cast<double>(batch.unmasked_tokens);
}

runtime::Batch Session::batch(std::vector<int32_t> tokens, std::vector<int32_t> labels) {
  runtime::Batch b;
  b.unmasked_tokens = std::count_if(labels.begin(), labels.end(), [](int32_t l) { return l != -100; });
  b.fields["tokens"] = std::move(tokens);
  b.fields["labels"] = std::move(labels);
  return b;
}

}  // namespace nemo::runtime_test
