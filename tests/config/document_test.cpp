#include "core/config/document.hpp"

#include <gmock/gmock.h>

#include "tests/config/recipe_folder.hpp"

namespace nemo::config {
namespace {

using testing::ElementsAre;
using Overrides = std::vector<std::string>;

class DocumentTest : public RecipeFolder {
 protected:
  Document load(const std::string& recipe, const Overrides& overrides = {}) const {
    const std::vector<std::filesystem::path> dirs{folder_ / "shipped"};
    return Document::load(recipe, dirs, overrides);
  }
  static std::string value(const Document& document, const std::string& path) {
    const Entry* entry = document.find(path);
    return entry ? to_literal(entry->value) + " <- " + to_string(entry->origin) : "unset";
  }
};

TEST_F(DocumentTest, the_deeper_file_wins_and_each_value_keeps_its_origin) {
  write("shipped/llama3_8b.toml", "[model]\nplugin = \"llama\"\nnum_layers = 32\n[optim]\nbetas = [0.9, 0.95]\nlr = 3e-4\n");
  write("mid.toml", "base = \"llama3_8b.toml\"\n[optim]\nlr = 1e-4\n");
  const std::string recipe = write("r.toml", "base = \"mid.toml\"\n\n[optim]\n  betas = [0.8]\n[model]\nnum_layers = 2\n");
  const Document document = load(recipe, {"model.num_layers=3"});
  EXPECT_EQ(value(document, "model.plugin"), "\"llama\" <- base llama3_8b.toml:2:1");
  EXPECT_EQ(value(document, "model.num_layers"), "3 <- command line");
  EXPECT_EQ(value(document, "optim.lr"), "1e-4 <- base mid.toml:3:1");
  EXPECT_EQ(value(document, "optim.betas"), "[0.8] <- recipe r.toml:4:3");
  EXPECT_EQ(value(document, "base"), "unset");
  EXPECT_EQ(document.recipe(), recipe);
}

TEST_F(DocumentTest, a_shipped_recipe_is_found_by_name_with_or_without_suffix) {
  write("shipped/quickstart.toml", "[job]\nname = \"q\"\n");
  EXPECT_EQ(value(load("quickstart"), "job.name"), "\"q\" <- recipe quickstart.toml:2:1");
  EXPECT_EQ(load("quickstart.toml").recipe(), path("shipped/quickstart.toml"));
}

TEST_F(DocumentTest, a_missing_recipe_says_where_it_was_searched_and_what_is_near) {
  write("shipped/quickstart.toml", "");
  EXPECT_EQ(message_of([&] { (void)load("quickstrat"); }), "recipe quickstrat not found; searched quickstrat, " +
                                                               path("shipped/quickstrat") + ", " + path("shipped/quickstrat.toml") +
                                                               "; did you mean quickstart?");
}

TEST_F(DocumentTest, a_missing_base_names_the_line_that_asks_for_it_and_where_it_was_searched) {
  const std::string recipe = write("r.toml", "# mine\nbase = \"x.toml\"\n");
  EXPECT_EQ(message_of([&] { (void)load(recipe); }),
            recipe + ":2:1: base: x.toml not found; searched " + path("x.toml") + ", " + path("shipped/x.toml"));
}

TEST_F(DocumentTest, a_base_that_is_no_text_is_an_error) {
  const std::string recipe = write("r.toml", "base = 3\n");
  EXPECT_EQ(message_of([&] { (void)load(recipe); }), recipe + ":1:1: base: expected the name of a recipe file, found the integer 3");
}

TEST_F(DocumentTest, bases_in_a_circle_are_an_error_that_shows_the_circle) {
  const std::string a = write("a.toml", "base = \"b.toml\"\n"), b = write("b.toml", "\nbase = \"a.toml\"\n");
  EXPECT_EQ(message_of([&] { (void)load(a); }), b + ":2:1: base: recipes inherit in a circle: " + a + " -> " + b + " -> " + a);
}

TEST_F(DocumentTest, bad_toml_is_an_error_at_file_line_column_with_the_reason) {
  const std::string recipe = write("r.toml", "[model]\nnum_layers = 1x\n");
  const std::string message = message_of([&] { (void)load(recipe); });
  EXPECT_THAT(message, testing::StartsWith(recipe + ":2:15: bad TOML: Error while parsing "));
  EXPECT_THAT(message, testing::HasSubstr("'x'"));
}

TEST_F(DocumentTest, a_table_replaces_a_value_of_its_name_and_the_other_way_round) {
  write("b.toml", "[optim]\nschedule = \"cosine\"\n[model.rope]\ntheta = 1\n");
  const Document document = load(write("r.toml", "base = \"b.toml\"\n[optim.schedule]\ntype = \"linear\"\n[model]\nrope = false\n"));
  EXPECT_EQ(value(document, "optim.schedule"), "unset");
  EXPECT_EQ(value(document, "optim.schedule.type"), "\"linear\" <- recipe r.toml:3:1");
  EXPECT_EQ(value(document, "model.rope.theta"), "unset");
  EXPECT_EQ(value(document, "model.rope"), "false <- recipe r.toml:5:1");
  EXPECT_FALSE(document.tables().contains("model.rope"));
}

std::string overridden(const std::string& text, const std::string& path) {
  const Document document = Document::parse("[a]\nb = 1\n", "r.toml", Overrides{text});
  const Entry* entry = document.find(path);
  return entry ? to_literal(entry->value) : "unset";
}

TEST(Overrides, are_toml_values_and_else_text) {
  EXPECT_EQ(overridden("a.b=2", "a.b"), "2");
  EXPECT_EQ(overridden("a.b=5e-5", "a.b"), "5e-5");
  EXPECT_EQ(overridden("a.b=[1, 2]", "a.b"), "[1, 2]");
  EXPECT_EQ(overridden("a.b=\"x y\"", "a.b"), "\"x y\"");
  EXPECT_EQ(overridden("a.b=foo.txt", "a.b"), "\"foo.txt\"");
  EXPECT_EQ(overridden("a.b=", "a.b"), "\"\"");
  EXPECT_EQ(overridden("a.b=x=y", "a.b"), "\"x=y\"");
  EXPECT_EQ(overridden("a.b=5#b", "a.b"), "\"5#b\"");
  EXPECT_EQ(overridden("a.b=1\nc=2", "a.b"), "\"1\\nc=2\"");
  EXPECT_EQ(overridden("a.c={d=1, e=\"f\"}", "a.c.e"), "\"f\"");
  EXPECT_EQ(overridden("new.x.y=true", "new.x.y"), "true");
}

TEST(Overrides, of_which_the_last_wins) {
  const Document document = Document::parse("", "r.toml", Overrides{"a.b=1", "a.b=2"});
  EXPECT_EQ(document.find("a.b")->origin.file, "a.b=2");
}

TEST(Overrides, that_are_malformed_are_errors) {
  const auto fault = [](const std::string& text) { return message_of([&] { (void)Document::parse("", "r.toml", Overrides{text}); }); };
  const std::string how = ": an override is written section.setting=value, as in trainer.max_steps=100";
  EXPECT_EQ(fault("a.b"), "command line: a.b" + how);
  EXPECT_EQ(fault("=3"), "command line: =3" + how);
  EXPECT_EQ(fault("a..b=3"), "command line: a..b=3" + how);
  EXPECT_EQ(fault("[a]\nb=3"), "command line: [a]\nb=3" + how);
  EXPECT_EQ(fault("max_steps=3"), "command line: max_steps=3: an override names a section: section.max_steps=value");
  EXPECT_EQ(fault("base=x.toml"), "command line: base=x.toml: base can only be set inside a recipe");
}

TEST(ParsedDocument, has_no_base_and_lists_its_tables) {
  EXPECT_EQ(message_of([] { (void)Document::parse("base = \"x\"", "r.toml"); }), "r.toml:1:1: base: a resolved recipe has no base");
  const Document document = Document::parse("[log]\n[log.csv]\n[log.jsonl]\nx.y = 1\n[job]\n\"a.b\" = 2\n", "r.toml");
  EXPECT_THAT(document.tables_in(""), ElementsAre("job", "log"));
  EXPECT_THAT(document.tables_in("log"), ElementsAre("csv", "jsonl"));
  EXPECT_NE(document.find("job.\"a.b\""), nullptr);
}

TEST(ParsedDocument, can_leave_a_section_out) {
  const std::vector<std::string> overrides{"log.x=2"};
  const Document document = Document::parse("[log]\n[log.csv]\ny = 1\n[logs]\nz = 1\n", "r.toml", overrides).without("log");
  EXPECT_THAT(document.tables_in(""), ElementsAre("logs"));
  EXPECT_EQ(document.entries().size(), 1u);
}

}  // namespace
}  // namespace nemo::config
