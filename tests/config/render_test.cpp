#include "core/config/render.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "tests/config/recipe_folder.hpp"
#include "tests/config/sample_schema.hpp"

namespace nemo::config {
namespace {

const std::string kRecipe =
    "[model]\nplugin = \"llama\"\ntitle = \"tab\\there \\\"q\\\" \\\\ \\u0001 \u00e9\\nend\"\ninit_std = 1e-7\nbetas = [0.1, 1]\n"
    "names = [\"a\", \"b\"]\nfiles = [\"x/*.txt\"]\n[model.labels]\n\"odd key.x\" = 3\n[model.rope_scaling]\ntype = \"llama3\"\nfactor = "
    "inf\n";

TEST(ToToml, reads_back_to_the_same_values) {
  const Configuration first = resolve(kRecipe);
  const std::string text = to_toml(first);
  const Configuration second = resolve(Document::parse(text, "resolved.toml"));
  ASSERT_EQ(to_toml(second), text);
  for (const Section& section : first.sections()) {
    const auto& there = second.section(section.name()).settings();
    ASSERT_EQ(there.size(), section.settings().size());
    for (size_t i = 0; i < there.size(); ++i) {
      EXPECT_EQ(there[i].field.path, section.settings()[i].field.path);
      EXPECT_EQ(there[i].value, section.settings()[i].value) << there[i].field.path;
    }
  }
}

TEST(ToLiteral, of_a_float_is_the_shortest_text_with_the_same_bits) {
  EXPECT_EQ(to_literal({0.1}), "0.1");
  EXPECT_EQ(to_literal({3.0}), "3.0");
  EXPECT_EQ(to_literal({1e300}), "1e+300");
  EXPECT_EQ(to_literal({3e-4}), "3e-4");
  EXPECT_EQ(to_literal({1.5e-10}), "1.5e-10");
  EXPECT_EQ(to_literal({-INFINITY}), "-inf");
}

const nemo_schema* secret_schema() {
  static nemo_field field{};
  field.struct_size = sizeof field;
  field.flags = NEMO_FIELD_SECRET;
  field.type = NEMO_FIELD_STRING;
  field.path = NEMO_STR("api_key");
  static const nemo_schema schema{sizeof(nemo_schema), 0, &field, 1, sizeof(nemo_field)};
  return &schema;
}

Configuration resolve_secret(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const Document document = Document::parse(text, "r.toml", overrides);
  Resolver resolver(document);
  resolver.add("log.web", "web", secret_schema());
  return resolver.resolve();
}

TEST(Secret, is_neither_written_nor_shown) {
  const Configuration settings = resolve_secret("[log.web]\napi_key = \"hunter2\"\n");
  EXPECT_EQ(settings.section("log.web").get_string("api_key"), "hunter2");
  EXPECT_EQ(to_toml(settings), "");
  EXPECT_EQ(render_table(settings), "setting         | value    | origin\nlog.web.api_key | (hidden) | recipe r.toml:2:1\n");
}

TEST(Secret, is_not_in_a_faults_message) {
  EXPECT_EQ(message_of([] { (void)resolve_secret("", {"log.web.api_key=[123]"}); }),
            "command line: log.web.api_key=(hidden): expected a string, found another type (value hidden)");
}

TEST(RenderTable, aligns_setting_value_and_origin) {
  const Document document = Document::parse("[job]\nname = \"caf\u00e9\"\n", "dir/r.toml", std::vector<std::string>{"job.seed=7"});
  Resolver resolver(document);
  resolver.add("job", "core", core_schema("job"));
  EXPECT_EQ(render_table(resolver.resolve()),
            "setting  | value      | origin\n"
            "job.task | \"pretrain\" | default\n"
            "job.name | \"caf\u00e9\"     | recipe r.toml:2:1\n"
            "job.seed | 7          | command line\n");
}

TEST(Describe, aligns_name_type_default_range_and_doc) {
  using namespace nemo::sdk;
  static const Schema schema{{
      integer("num_layers", "12", "number of blocks").min(1).unit("layers"),
      choice("act", "\"silu\"", {{"silu", "x sigmoid(x)"}, {"relu", "max(x, 0)"}}, "of the MLP"),
      list("files", NEMO_FIELD_PATH, "", "data").required(),
      integer("vocab_size", "", "from the tokenizer").unit("tokens"),
  }};
  EXPECT_EQ(describe(*schema.get(), "llama"),
            "num_layers  int           12        at least 1 layers  number of blocks\n"
            "act         enum          \"silu\"                       of the MLP\n"
            "  = \"silu\"                                             x sigmoid(x)\n"
            "  = \"relu\"                                             max(x, 0)\n"
            "files       list of path  required                     data\n"
            "vocab_size  int           unset     tokens             from the tokenizer\n");
}

TEST(SchemaToJson, has_an_object_for_each_field) {
  using namespace nemo::sdk;
  static const Schema schema{{list("dims", NEMO_FIELD_INT, "[1, 2]", "sizes").min(1).unit("tokens"),
                              choice("act", "\"silu\"", {{"silu", "smooth"}}, "of the MLP").changes_checkpoint()}};
  EXPECT_EQ(schema_to_json(*schema.get(), "llama"), R"([
  {
    "path": "dims",
    "type": "list of int",
    "required": false,
    "secret": false,
    "changes_checkpoint": false,
    "doc": "sizes",
    "default": [
      1,
      2
    ],
    "min": 1.0,
    "unit": "tokens"
  },
  {
    "path": "act",
    "type": "enum",
    "required": false,
    "secret": false,
    "changes_checkpoint": true,
    "doc": "of the MLP",
    "default": "silu",
    "choices": [
      {
        "value": "silu",
        "doc": "smooth"
      }
    ]
  }
]
)");
}

}  // namespace
}  // namespace nemo::config
