#include "core/config/resolver.hpp"

#include <gmock/gmock.h>

#include "tests/config/recipe_folder.hpp"
#include "tests/config/sample_schema.hpp"

namespace nemo::config {
namespace {

using testing::ElementsAre;
using Overrides = std::vector<std::string>;

// One line per fault; the recipe is r.toml with `plugin` on line 2, so that `line` is line 3.
std::string fault(const std::string& line, const Overrides& overrides = {}) {
  return message_of([&] { (void)resolve("[model]\nplugin = \"llama\"\n" + line + "\n", overrides); });
}

TEST(Resolver, fills_defaults_and_reads_what_is_written) {
  const Configuration settings = resolve("[model]\nplugin = \"llama\"\nnum_layers = 4\nrope_scaling.factor = 2\n", {"model.tie=true"});
  const Section& model = settings.section("model");
  EXPECT_EQ(model.get_string("plugin"), "llama");
  EXPECT_EQ(model.get_int("num_layers"), 4);
  EXPECT_TRUE(model.get_bool("tie"));
  EXPECT_EQ(model.get_float("init_std"), 0.02);
  EXPECT_EQ(model.get_float("rope_scaling.factor"), 2.0);
  EXPECT_THAT(model.get_floats("betas"), ElementsAre(0.9, 0.95));
  EXPECT_FALSE(model.has("vocab_size"));
  EXPECT_EQ(to_string(model.origin("num_layers")), "recipe r.toml:3:1");
  EXPECT_EQ(to_string(model.origin("tie")), "command line");
  EXPECT_EQ(to_string(model.origin("init_std")), "default");
  EXPECT_EQ(settings.section("trainer").get_int("max_steps"), 1000);
}

TEST(Resolver, takes_integers_for_numbers_and_a_scalar_for_a_list) {
  const Configuration settings = resolve("[model]\nplugin = \"llama\"\ninit_std = 1\nbetas = 1\ndims = 7\nnames = \"x\"\n");
  const Section& model = settings.section("model");
  EXPECT_EQ(model.get_float("init_std"), 1.0);
  EXPECT_THAT(model.get_floats("betas"), ElementsAre(1.0));
  EXPECT_THAT(model.get_ints("dims"), ElementsAre(7));
  EXPECT_THAT(model.get_strings("names"), ElementsAre("x"));
}

TEST(Resolver, takes_the_text_of_an_override_for_a_string) {
  const Configuration settings = resolve("", {"model.plugin=2024", "model.title=true"});
  EXPECT_EQ(settings.section("model").get_string("plugin"), "2024");
  EXPECT_EQ(settings.section("model").get_string("title"), "true");
}

TEST(Resolver, reports_a_wrong_type_with_what_was_expected_and_found) {
  EXPECT_EQ(fault("num_layers = \"abc\""), "r.toml:3:1: model.num_layers: expected an integer, found the string \"abc\"");
  EXPECT_EQ(fault("num_layers = 2.5"), "r.toml:3:1: model.num_layers: expected an integer, found the number 2.5");
  EXPECT_EQ(fault("num_layers = 1e2"), "r.toml:3:1: model.num_layers: expected an integer, found the number 100.0; write 100");
  EXPECT_EQ(fault("init_std = true"), "r.toml:3:1: model.init_std: expected a number, found the boolean true");
  EXPECT_EQ(fault("tie = 1"), "r.toml:3:1: model.tie: expected true or false, found the integer 1");
  EXPECT_EQ(fault("title = 5"), "r.toml:3:1: model.title: expected a string, found the integer 5");
  EXPECT_EQ(fault("title = 1979-05-27"), "r.toml:3:1: model.title: expected a string, found a date");
  EXPECT_EQ(fault("weights = []"), "r.toml:3:1: model.weights: expected a path (string), found a list");
  EXPECT_EQ(fault("  num_layers = [1]"), "r.toml:3:3: model.num_layers: expected an integer, found a list");
  EXPECT_EQ(fault("[model.num_layers]"), "r.toml:3:8: model.num_layers: expected an integer, found a table");
  EXPECT_EQ(fault("[model.num_layers]\nx = 1"), "r.toml:3:8: model.num_layers: expected an integer, found a table");
  EXPECT_EQ(fault("rope_scaling = 3"), "r.toml:3:1: model.rope_scaling: expected a table (rope_scaling.factor ...), found the integer 3");
  EXPECT_EQ(fault("labels = 3"), "r.toml:3:1: model.labels: expected a table, found the integer 3");
  EXPECT_EQ(fault("labels.a = [1]"), "r.toml:3:8: model.labels.a: expected a boolean, number or string, found a list");
}

TEST(Resolver, reports_a_wrong_element_of_a_list) {
  EXPECT_EQ(fault("dims = [1, \"x\"]"), "r.toml:3:1: model.dims: expected a list of integers, found as element 2 the string \"x\"");
  EXPECT_EQ(fault("dims = \"x\""), "r.toml:3:1: model.dims: expected a list of integers, found the string \"x\"");
  EXPECT_EQ(fault("names = [{a = 1}]"), "r.toml:3:1: model.names: expected a list of strings, found as element 1 a table");
  EXPECT_EQ(fault("betas = [0.5, 2]"), "r.toml:3:1: model.betas: element 2: 2 is out of range; expected between 0 and 1");
}

TEST(Resolver, reports_a_value_out_of_range_with_range_and_unit) {
  EXPECT_EQ(fault("num_layers = 0"), "r.toml:3:1: model.num_layers: 0 is out of range; expected between 1 and 200 layers");
  EXPECT_EQ(fault("init_std = -1"), "r.toml:3:1: model.init_std: -1 is out of range; expected at least 0");
  EXPECT_EQ(fault("init_std = nan"), "r.toml:3:1: model.init_std: nan is out of range; expected at least 0");
}

TEST(Resolver, reports_what_is_not_a_choice_with_the_choices_and_the_nearest) {
  EXPECT_EQ(fault("activation = \"quadratic\""), "r.toml:3:1: model.activation: \"quadratic\" is not one of silu, gelu_tanh");
  EXPECT_EQ(fault("activation = \"sulu\""), "r.toml:3:1: model.activation: \"sulu\" is not one of silu, gelu_tanh; did you mean \"silu\"?");
}

TEST(Resolver, reports_a_required_setting_that_is_missing_and_how_to_set_it) {
  EXPECT_EQ(message_of([] { (void)resolve("[model]\nnum_layers = 2\n"); }),
            "r.toml: model.plugin: required, and not set (the model plugin's id); add `plugin = \"...\"` under [model], or give "
            "model.plugin=... on the command line");
}

TEST(Resolver, names_the_override_that_is_wrong) {
  EXPECT_EQ(fault("", {"model.num_layers=abc"}), "command line: model.num_layers=abc: expected an integer, found the string \"abc\"");
  EXPECT_EQ(fault("", {"model.num_layer=3"}),
            "command line: model.num_layer=3: unknown key; looked in core and llama; did you mean model.num_layers?");
}

TEST(Resolver, reports_all_faults_at_once_in_the_order_of_the_recipe_then_the_command_line_then_missing_ones) {
  const std::string text = "[trainer]\nmax_step = 1\ndevices = 0\n[modle]\nx = 1\n[model]\ninit_std = \"x\"\n";
  EXPECT_EQ(message_of([&] {
              (void)resolve(text, {"trainer.num_nodes=x", "model.tie=maybe"});
            }),
            "r.toml:2:1: trainer.max_step: unknown key; looked in core; did you mean trainer.max_steps?\n"
            "r.toml:3:1: trainer.devices: 0 is out of range; expected at least 1\n"
            "r.toml:4:2: [modle]: unknown section; did you mean [model]?\n"
            "r.toml:7:1: model.init_std: expected a number, found the string \"x\"\n"
            "command line: model.tie=maybe: expected true or false, found the string \"maybe\"\n"
            "command line: trainer.num_nodes=x: expected an integer, found the string \"x\"\n"
            "r.toml: model.plugin: required, and not set (the model plugin's id); add `plugin = \"...\"` under [model], or give "
            "model.plugin=... on the command line");
}

class ResolverFiles : public RecipeFolder {};

TEST_F(ResolverFiles, a_fault_in_a_base_names_the_base_file) {
  const std::string base = write("sub/b.toml", "[model]\nplugin = \"llama\"\nnum_layers = -1\n");
  const std::string recipe = write("r.toml", "base = \"sub/b.toml\"\n");
  EXPECT_EQ(message_of([&] { (void)resolve(Document::load(recipe, {}, {})); }),
            base + ":3:1: model.num_layers: -1 is out of range; expected between 1 and 200 layers");
}

TEST_F(ResolverFiles, a_path_is_relative_to_the_file_that_sets_it_if_it_exists_there_else_to_the_current_folder) {
  write("sub/corpus.txt", "x");
  write("sub/b.toml", "[model]\nplugin = \"llama\"\nfiles = [\"corpus.txt\", \"data/*.txt\", \"nowhere.txt\"]\nweights = \"gone.bin\"\n");
  std::filesystem::create_directories(folder_ / "sub/data");
  const std::string recipe = write("r.toml", "base = \"sub/b.toml\"\n");
  const Configuration settings = resolve(Document::load(recipe, {}, {}));
  const std::string here = std::filesystem::current_path().string();
  EXPECT_THAT(settings.section("model").get_strings("files"),
              ElementsAre(path("sub/corpus.txt"), path("sub/data/*.txt"), here + "/nowhere.txt"));
  EXPECT_EQ(settings.section("model").get_string("weights"), here + "/gone.bin");
}

TEST_F(ResolverFiles, a_path_of_the_command_line_is_looked_up_in_the_recipes_folder_last) {
  write("w.bin", "x");
  const std::string recipe = write("r.toml", "[model]\nplugin = \"llama\"\n");
  const Configuration settings = resolve(Document::load(recipe, {}, Overrides{"model.weights=w.bin"}));
  EXPECT_EQ(settings.section("model").get_string("weights"), path("w.bin"));
}

TEST(CoreSection, resolves_core_fields_alone_and_leaves_the_plugins_keys) {
  const Document document = Document::parse("[model]\nplugin = \"llama\"\nnum_layers = \"bad\"\n[log]\nloggers = \"csv\"\n", "r.toml");
  EXPECT_EQ(core_section(document, "model").get_string("plugin"), "llama");
  EXPECT_THAT(core_section(document, "log").get_strings("loggers"), ElementsAre("csv"));
  EXPECT_EQ(core_section(document, "strategy").get_string("plugin"), "single");
  EXPECT_THAT(message_of([] { (void)core_section(Document::parse("[job]\nseed = -1\n", "r.toml"), "job"); }),
              "r.toml:2:1: job.seed: -1 is out of range; expected at least 0");
}

TEST(CoreSchemas, all_read_and_resolve_from_the_two_required_plugins) {
  const Document document = Document::parse("[model]\nplugin = \"llama\"\n[data]\nplugin = \"mock\"\n", "r.toml");
  Resolver resolver(document);
  for (const std::string_view name : section_names()) resolver.add(std::string(name), "core", core_schema(name));
  const Configuration settings = resolver.resolve();
  EXPECT_EQ(settings.section("precision").get_string("plugin"), "fp32");
  EXPECT_EQ(settings.section("optim").get_string("schedule.type"), "constant");
  EXPECT_EQ(settings.section("checkpoint").get_string("resume"), "if-exists");
  EXPECT_FALSE(settings.section("job").has("name"));
  EXPECT_TRUE(settings.section("backend").settings().empty());
}

TEST(Resolver, refuses_a_field_that_the_section_has_already) {
  const Document document = Document::parse("", "r.toml");
  Resolver resolver(document);
  resolver.add("model", "llama", llama_schema());
  EXPECT_EQ(message_of([&] { resolver.add("model", "gpt", llama_schema()); }, Code::kInvalidArgument),
            "schema of gpt: [model] has the setting num_layers already; rename it");
}

}  // namespace
}  // namespace nemo::config
