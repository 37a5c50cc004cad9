#include <gmock/gmock.h>

#include "tests/config/recipe_folder.hpp"
#include "tests/config/sample_schema.hpp"

namespace nemo::config {
namespace {

std::string fault(const std::string& text) {
  return message_of([&] { (void)resolve("[model]\nplugin = \"llama\"\n" + text + "\n"); });
}

TEST(UnknownKey, names_the_nearest_and_where_it_was_looked_up) {
  EXPECT_EQ(fault("num_layer = 3"), "r.toml:3:1: model.num_layer: unknown key; looked in core and llama; did you mean model.num_layers?");
  EXPECT_EQ(fault("[model.rope_scaling]\nfactr = 3"),
            "r.toml:4:1: model.rope_scaling.factr: unknown key; looked in core and llama; did you mean model.rope_scaling.factor?");
}

TEST(UnknownKey, names_the_section_that_has_it) {
  EXPECT_EQ(fault("max_steps = 3"), "r.toml:3:1: model.max_steps: unknown key; looked in core and llama; did you mean trainer.max_steps?");
}

TEST(UnknownKey, lists_what_is_known_if_nothing_is_near) {
  EXPECT_EQ(fault("qqqqqqqqq = 3"),
            "r.toml:3:1: model.qqqqqqqqq: unknown key; looked in core and llama; known are plugin, variant, num_layers, vocab_size, "
            "init_std, tie, title, "
            "activation, weights, files, dims, betas, ...");
}

TEST(UnknownKey, may_be_an_empty_table) {
  EXPECT_EQ(fault("[model.rope_scalin]"),
            "r.toml:3:8: model.rope_scalin: unknown key; looked in core and llama; known are plugin, variant, num_layers, vocab_size, "
            "init_std, tie, "
            "title, activation, weights, files, dims, betas, ...");
}

TEST(UnknownSection, is_reported_once_with_the_nearest_or_the_list) {
  EXPECT_EQ(fault("[trainr]\na = 1\nb = 2"), "r.toml:3:2: [trainr]: unknown section; did you mean [trainer]?");
  EXPECT_EQ(fault("[somewhere]"), "r.toml:3:2: [somewhere]: unknown section; sections are model, trainer");
}

TEST(KeyOutsideOfSections, is_a_fault_that_names_its_section) {
  EXPECT_EQ(message_of([] { (void)resolve("max_steps = 3\ntrainer = 4\nzzz = 1\n[model]\nplugin = \"llama\"\n"); }),
            "r.toml:1:1: max_steps: outside of any section; did you mean trainer.max_steps?\n"
            "r.toml:2:1: trainer: outside of any section; [trainer] is a section, write trainer.SETTING\n"
            "r.toml:3:1: zzz: outside of any section");
}

std::string log_fault(const std::string& text) {
  const Document document = Document::parse(text, "r.toml");
  return message_of([&] {
    using namespace nemo::sdk;
    static const Schema csv{{string("file", "\"m.csv\"", "where to write")}};
    Resolver resolver(document);
    resolver.add("log", "core", core_schema("log"));
    resolver.add("log.csv", "csv", csv.get());
    (void)resolver.resolve();
  });
}

TEST(NestedSection, has_its_keys_judged_by_its_own_schema) {
  EXPECT_EQ(log_fault("[log]\ndir = \"x\"\n[log.csv]\nfile = \"y\"\n"), "(no error)");
  EXPECT_EQ(log_fault("[log.csv]\n"), "(no error)");
  EXPECT_EQ(log_fault("[log.csv]\nfil = \"y\"\n"), "r.toml:2:1: log.csv.fil: unknown key; looked in csv; did you mean log.csv.file?");
  EXPECT_EQ(log_fault("[log.csx]\nfile = \"y\"\n"), "r.toml:2:1: log.csx.file: unknown key; looked in core; did you mean log.csv.file?");
}

}  // namespace
}  // namespace nemo::config
