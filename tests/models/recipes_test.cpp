// Every shipped recipe resolves against the schemas of the core and of the plugins that it names.
#include <gmock/gmock.h>
#include <algorithm>
#include <filesystem>

#include "core/config/resolver.hpp"
#include "core/config/sections.hpp"
#include "tests/models/plugin_library.hpp"

namespace nemo::models_test {
namespace {

const std::filesystem::path kRecipes = NEMO_SOURCE_DIR "/host/recipes";

const nemo_schema* schema_of(const std::string& kind, std::string id) {
  std::replace(id.begin(), id.end(), '-', '_');
  return load_component("nemo_" + kind + "_" + id).schema;
}

config::Configuration resolve(const std::string& recipe) {
  const std::vector folders{kRecipes};
  const auto document = config::Document::load(kRecipes / (recipe + ".toml"), folders, {});
  config::Resolver resolver(document);
  for (const auto name : config::section_names())
    if (const nemo_schema* schema = config::core_schema(name)) resolver.add(std::string(name), "core", schema);
  for (const char* section : {"model", "data", "strategy", "precision"}) {
    const std::string id = config::core_section(document, section).get_string("plugin");
    resolver.add(section, id, schema_of(section, id));
  }
  return resolver.resolve();
}

class Recipe : public testing::TestWithParam<std::string> {};

TEST_P(Recipe, resolves_and_its_numbers_agree) {
  const auto run = resolve(GetParam());
  const config::Section &data = run.section("data"), &optim = run.section("optim"), &trainer = run.section("trainer");
  const int64_t micro = data.get_int("micro_batch_size");  // 0: the whole share of a device
  EXPECT_EQ(data.get_int("global_batch_size") % (micro == 0 ? 1 : micro), 0);
  EXPECT_LT(optim.get_int("schedule.warmup_steps"), trainer.get_int("max_steps"));
  EXPECT_LT(optim.get_float("schedule.min_lr"), optim.get_float("lr"));
  EXPECT_EQ(run.section("job").get_string("name"), GetParam());
  if (!data.knows("files")) return;
  for (const std::string& file : data.get_strings("files")) EXPECT_TRUE(std::filesystem::is_regular_file(file)) << file;
}

INSTANTIATE_TEST_SUITE_P(shipped, Recipe, testing::ValuesIn(config::recipe_names(std::vector{kRecipes})),
                         [](const auto& info) { return info.param; });

TEST(Recipes, llama_has_the_hyperparameters_of_the_reference) {
  for (const char* name : {"llama3_8b", "llama32_1b"}) {
    const auto run = resolve(name);
    const config::Section &data = run.section("data"), &optim = run.section("optim"), &trainer = run.section("trainer");
    EXPECT_EQ(data.get_int("seq_length"), 8192);
    EXPECT_EQ(data.get_int("global_batch_size"), 512);
    EXPECT_EQ(trainer.get_int("max_steps"), 1168251);
    EXPECT_EQ(optim.get_float("lr"), 3e-4);
    EXPECT_EQ(optim.get_float("schedule.min_lr"), 3e-5);
    EXPECT_EQ(optim.get_int("schedule.warmup_steps"), 2000);
    EXPECT_THAT(optim.get_floats("betas"), testing::ElementsAre(0.9, 0.95));
    EXPECT_EQ(optim.get_float("eps"), 1e-5);
  }
}

}  // namespace
}  // namespace nemo::models_test
