#include <cmath>

#include <gmock/gmock.h>

#include "core/hub/json_document.hpp"
#include "tests/hub/files.hpp"

namespace nemo::hub_test {
namespace {

using hub::JsonDocument;
using hub::parse_json;
using ::testing::HasSubstr;

std::string fault_of(const std::string& text) {
  return fault([&] { (void)parse_json(text, "x.json"); });
}

TEST(Json, text_that_is_no_object_is_refused_by_name) {
  for (const char* text : {"", "{", "[1]", "{\"a\": }", "{\"a\": 1} x", "\"a\"", "{\"a\": \"\xff\"}"})
    EXPECT_THAT(fault_of(text), HasSubstr("x.json: ")) << text;
}

TEST(Json, a_key_twice_is_refused) {
  EXPECT_THAT(fault_of(R"({"a": 1, "b": {"c": 1, "c": 2}})"), HasSubstr("has 'c' twice"));
  EXPECT_EQ(fault_of(R"({"a": {"c": 1}, "b": {"c": 1}, "c": [{"c": 1}, {"c": 2}]})"), "");
}

TEST(Json, deep_nesting_is_refused) {
  EXPECT_THAT(fault_of("{\"a\": " + std::string(100000, '[') + std::string(100000, ']') + "}"), HasSubstr("deeper than 64"));
}

TEST(Json, infinities_of_python_and_of_transformers_are_numbers_and_keep_their_form) {
  const auto bare = parse_json(R"({"limit": [0.0, Infinity, -Infinity], "n": NaN, "text": "Infinity"})", "x.json");
  const JsonDocument document(bare.root, "x.json");
  const auto& api = hub::json_api();
  double value = 0;
  EXPECT_EQ(api.type(document.handle(), NEMO_STR("limit.1")), NEMO_JSON_FLOAT);
  ASSERT_EQ(api.get_float(document.handle(), NEMO_STR("limit.2"), &value), nullptr);
  EXPECT_EQ(value, -INFINITY);
  ASSERT_EQ(api.get_float(document.handle(), NEMO_STR("n"), &value), nullptr);
  EXPECT_TRUE(std::isnan(value));
  EXPECT_EQ(api.type(document.handle(), NEMO_STR("text")), NEMO_JSON_STRING);
  EXPECT_TRUE(bare.bare_floats);
  EXPECT_THAT(hub::dump_json(bare.root, true), HasSubstr("Infinity,\n    -Infinity"));
  const auto modern = parse_json(R"({"limit": {"__float__": "Infinity"}})", "x.json");
  EXPECT_FALSE(modern.bare_floats);
  EXPECT_EQ(parse_json(hub::dump_json(modern.root), "y").root, modern.root);
}

TEST(Json, paths_read_and_write_nested_values) {
  JsonDocument document(parse_json(R"({"rope": {"theta": 1e4}, "types": ["a", "b"], "n": 3.0})", "c.json").root, "c.json");
  const auto& api = hub::json_api();
  int64_t n = 0;
  ASSERT_EQ(api.get_int(document.handle(), NEMO_STR("n"), &n), nullptr);
  EXPECT_EQ(n, 3);
  ASSERT_EQ(api.set_float(document.handle(), NEMO_STR("rope.factor"), 4), nullptr);
  ASSERT_EQ(api.set_string(document.handle(), NEMO_STR("types.1"), NEMO_STR("z")), nullptr);
  ASSERT_EQ(api.erase(document.handle(), NEMO_STR("rope.theta")), nullptr);
  EXPECT_EQ(document.root().dump(), R"({"rope":{"factor":4.0},"types":["a","z"],"n":3.0})");
  EXPECT_EQ(api.type(document.handle(), NEMO_STR("types.2")), NEMO_JSON_ABSENT);
}

TEST(Json, a_value_of_the_wrong_type_is_named) {
  const JsonDocument document(parse_json(R"({"layers": "two"})", "c.json").root, "c.json");
  int64_t n = 0;
  nemo_error* error = hub::json_api().get_int(document.handle(), NEMO_STR("layers"), &n);
  EXPECT_THAT(fault([&] { plugin::check(error); }), HasSubstr("c.json: layers = \"two\", expected an integer"));
  error = hub::json_api().get_int(document.handle(), NEMO_STR("heads"), &n);
  EXPECT_THAT(fault([&] { plugin::check(error); }), HasSubstr("c.json: 'heads' is missing"));
}

}  // namespace
}  // namespace nemo::hub_test
