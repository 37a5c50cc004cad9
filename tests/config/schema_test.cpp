#include "core/config/schema.hpp"

#include <gmock/gmock.h>

#include <cstring>

#include "tests/config/recipe_folder.hpp"

namespace nemo::config {
namespace {

nemo_field field(nemo_field_type type, const char* default_value) {
  nemo_field f{};
  f.struct_size = sizeof f;
  f.type = type;
  f.path = NEMO_STR("size");
  f.default_value = {default_value, std::strlen(default_value)};
  f.doc = NEMO_STR("a size");
  return f;
}

nemo_schema schema_of(const nemo_field& f) { return {sizeof(nemo_schema), 0, &f, 1, sizeof(nemo_field)}; }

std::string fault(const nemo_field& f, Code code) {
  return message_of([&] { (void)read_schema(schema_of(f), "llama"); }, code);
}

TEST(Schema, with_a_default_that_does_not_fit_is_an_internal_error_that_names_the_field) {
  EXPECT_EQ(fault(field(NEMO_FIELD_INT, "1 2"), Code::kInternal), "schema of llama: field size: the default `1 2` is not a TOML value");
  EXPECT_EQ(fault(field(NEMO_FIELD_STRING, "char"), Code::kInternal),
            "schema of llama: field size: the default `char` is not a TOML value");
  EXPECT_EQ(fault(field(NEMO_FIELD_INT, "\"x\""), Code::kInternal),
            "schema of llama: field size: the default `\"x\"` does not fit: expected an integer, found the string \"x\"");
  nemo_field bounded = field(NEMO_FIELD_INT, "9");
  bounded.flags = NEMO_FIELD_HAS_MAX;
  bounded.max = 8;
  EXPECT_EQ(fault(bounded, Code::kInternal),
            "schema of llama: field size: the default `9` does not fit: 9 is out of range; expected at most 8");
}

TEST(Schema, with_an_unknown_type_is_unsupported) {
  EXPECT_EQ(fault(field(99, ""), Code::kUnsupported), "schema of llama: field size has the type 99, which this host does not know");
  EXPECT_EQ(fault(field(NEMO_FIELD_LIST, ""), Code::kUnsupported),
            "schema of llama: field size is a list of type 0, which this host does not know");
  EXPECT_EQ(fault(field(NEMO_FIELD_ENUM, ""), Code::kInternal), "schema of llama: field size is an enum without choices");
}

TEST(Schema, with_a_field_twice_is_an_internal_error) {
  const nemo_field twice[2] = {field(NEMO_FIELD_INT, "1"), field(NEMO_FIELD_INT, "1")};
  const nemo_schema schema{sizeof(nemo_schema), 0, twice, 2, sizeof(nemo_field)};
  EXPECT_EQ(message_of([&] { (void)read_schema(schema, "llama"); }, Code::kInternal), "schema of llama has the field size twice");
}

struct NewerField {
  nemo_field known;
  uint64_t later;
};

std::vector<Field> read_newer(uint64_t later) {
  NewerField fields[2] = {{field(NEMO_FIELD_INT, "1"), 0}, {field(NEMO_FIELD_INT, "2"), later}};
  for (NewerField& f : fields) f.known.struct_size = sizeof(NewerField);
  fields[1].known.path = NEMO_STR("second");
  const nemo_schema schema{sizeof(nemo_schema), 0, &fields[0].known, 2, sizeof(NewerField)};
  return read_schema(schema, "llama");
}

TEST(Schema, of_a_newer_sdk_is_walked_by_its_stride) {
  const std::vector<Field> fields = read_newer(0);
  ASSERT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields[1].path, "second");
  EXPECT_EQ(to_literal(*fields[1].default_value), "2");
}

TEST(Schema, of_a_newer_sdk_that_sets_something_unknown_is_unsupported) {
  EXPECT_EQ(message_of([] { (void)read_newer(1); }, Code::kUnsupported),
            "schema of llama: field second sets something that this host does not know; a newer host is needed");
}

TEST(Schema, of_an_older_sdk_is_read_as_far_as_it_goes) {
  nemo_field older = field(NEMO_FIELD_INT, "1");
  older.unit = NEMO_STR("not there");
  older.struct_size = offsetof(nemo_field, choices);
  const std::vector<Field> fields = read_schema(schema_of(older), "llama");
  EXPECT_EQ(fields[0].unit, "");
  EXPECT_EQ(fields[0].doc, "");
}

TEST(Schema, of_an_impossible_size_is_an_internal_error) {
  nemo_field f = field(NEMO_FIELD_INT, "1");
  nemo_schema schema = schema_of(f);
  schema.field_stride = 8;
  EXPECT_EQ(message_of([&] { (void)read_schema(schema, "llama"); }, Code::kInternal),
            "schema of llama has a field_stride of 8 bytes, too short for a field");
  f.struct_size = sizeof f + 8;
  EXPECT_EQ(fault(f, Code::kInternal), "schema of llama: field 0 is longer than the field_stride");
  f.struct_size = 8;
  EXPECT_EQ(fault(f, Code::kInternal), "schema of llama: field 0 has no path");
}

}  // namespace
}  // namespace nemo::config
