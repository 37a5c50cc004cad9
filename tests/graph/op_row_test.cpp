// The grammar of nemo/ops.def: every row of it parses to something consistent, and what is malformed is refused by name.
#include "core/graph/op_row.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/graph/graph.hpp"
#include "tests/graph/expect_error.hpp"

namespace nemo::graph {
namespace {

using nemo::testing::message_of;
using ::testing::HasSubstr;

std::set<std::string> letters_of(const std::vector<TensorRow>& tensors) {
  std::set<std::string> names;
  for (const TensorRow& t : tensors)
    for (const Letter& l : t.letters) names.insert(l.name);
  return names;
}

TEST(OpRow, every_row_of_the_vocabulary_parses_and_is_found_by_name) {
  ASSERT_GT(op_rows().size(), 40u);
  std::set<std::string> names;
  for (const OpRow& row : op_rows()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name << " is declared twice";
    EXPECT_EQ(&op_row(row.name), &row);
    EXPECT_FALSE(row.inputs.empty()) << row.name;
    EXPECT_FALSE(row.outputs.empty()) << row.name;
  }
}

TEST(OpRow, tensors_of_a_row_have_distinct_names_and_letters) {
  for (const OpRow& row : op_rows()) {
    std::set<std::string> inputs, outputs;
    for (const TensorRow& t : row.inputs) EXPECT_TRUE(!t.name.empty() && inputs.insert(t.name).second) << row.name << " " << t.name;
    for (const TensorRow& t : row.outputs) EXPECT_TRUE(!t.name.empty() && outputs.insert(t.name).second) << row.name << " " << t.name;
    for (const std::string& l : letters_of(row.inputs)) EXPECT_FALSE(l.empty()) << row.name;
  }
}

TEST(OpRow, a_letter_is_a_group_everywhere_in_its_row_or_nowhere) {
  for (const OpRow& row : op_rows()) {
    std::map<std::string, bool> group;
    for (const auto* side : {&row.inputs, &row.outputs})
      for (const TensorRow& t : *side)
        for (const Letter& l : t.letters) EXPECT_EQ(group.try_emplace(l.name, l.group).first->second, l.group) << row.name << " " << l.name;
  }
}

TEST(OpRow, letters_that_must_stay_whole_are_letters_of_the_row) {
  for (const OpRow& row : op_rows()) {
    auto known = letters_of(row.inputs);
    known.merge(letters_of(row.outputs));
    for (const std::string& w : row.whole) EXPECT_TRUE(known.contains(w)) << row.name << " " << w;
  }
}

TEST(OpRow, only_outputs_accumulate_and_gradients_always_may) {
  for (const OpRow& row : op_rows()) {
    for (const TensorRow& t : row.inputs) EXPECT_FALSE(t.accumulates) << row.name;
    for (const TensorRow& t : row.outputs)
      EXPECT_TRUE(t.type != TypeRule::kGradient || (t.accumulates && row.attribute("accumulate"))) << row.name << " " << t.name;
  }
}

TEST(OpRow, defaults_of_numbers_are_numbers_to_their_last_character) {
  for (const OpRow& row : op_rows())
    for (const AttrRow& a : row.attributes) {
      if (a.required || (a.type != AttrRow::Type::kInt && a.type != AttrRow::Type::kFloat)) continue;
      size_t used = 0;
      a.type == AttrRow::Type::kInt ? static_cast<void>(std::stoll(a.default_text, &used))
                                    : static_cast<void>(std::stod(a.default_text, &used));
      EXPECT_EQ(used, a.default_text.size()) << row.name << " " << a.name;
    }
}

TEST(OpRow, marks_letters_and_attributes_are_read_as_written) {
  const OpRow row =
      parse_op_row("demo", "x[*a d], w[d k]:acc?, n[]:i32 -> y[*a k], dw[d k]:grad+?", "d k", "eps:float=1e-5; kind:string; shape:ints");
  ASSERT_EQ(row.inputs.size(), 3u);
  EXPECT_TRUE(row.inputs[0].letters[0].group);
  EXPECT_EQ(row.inputs[0].letters[0].name, "a");
  EXPECT_FALSE(row.inputs[0].letters[1].group);
  EXPECT_TRUE(row.inputs[1].optional);
  EXPECT_EQ(row.inputs[1].type, TypeRule::kAccumulate);
  EXPECT_TRUE(row.inputs[2].letters.empty());
  EXPECT_EQ(row.inputs[2].type, TypeRule::kI32);
  EXPECT_TRUE(row.outputs[1].accumulates && row.outputs[1].optional);
  EXPECT_EQ(row.outputs[1].type, TypeRule::kGradient);
  EXPECT_THAT(row.whole, ::testing::ElementsAre("d", "k"));
  EXPECT_EQ(row.attribute("eps")->default_text, "1e-5");
  EXPECT_TRUE(row.attribute("kind")->required && row.attribute("shape")->required);
  EXPECT_EQ(row.attribute("absent"), nullptr);
}

struct Malformed {
  const char *why, *signature, *whole, *attributes;
};
void PrintTo(const Malformed& m, std::ostream* out) { *out << m.why; }

class MalformedRow : public ::testing::TestWithParam<Malformed> {};

TEST_P(MalformedRow, is_refused_and_named) {
  const Malformed& m = GetParam();
  const std::string text =
      message_of(Code::kInvalidArgument, [&] { static_cast<void>(parse_op_row("demo", m.signature, m.whole, m.attributes)); });
  EXPECT_THAT(text, HasSubstr("op row 'demo'"));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, MalformedRow,
    ::testing::Values(Malformed{"no_arrow", "x[a], y[a]", "", ""}, Malformed{"no_brackets", "x -> y[a]", "", ""},
                      Malformed{"bracket_not_closed", "x[a -> y[a]", "", ""}, Malformed{"bracket_closed_first", "x]a[ -> y[a]", "", ""},
                      Malformed{"unknown_type", "x[a]:f8 -> y[a]", "", ""}, Malformed{"unknown_mark", "x[a]! -> y[a]", "", ""},
                      Malformed{"empty_type", "x[a]: -> y[a]", "", ""}, Malformed{"empty_tensor", "x[a],, z[a] -> y[a]", "", ""},
                      Malformed{"nameless_tensor", "[a] -> y[a]", "", ""}, Malformed{"nameless_group", "x[*] -> y[a]", "", ""},
                      Malformed{"no_output", "x[a] ->", "", ""}, Malformed{"attribute_without_type", "x[a] -> y[a]", "", "eps"},
                      Malformed{"attribute_of_unknown_type", "x[a] -> y[a]", "", "eps:double=1"},
                      Malformed{"nameless_attribute", "x[a] -> y[a]", "", ":int=1"},
                      Malformed{"default_is_no_int", "x[a] -> y[a]", "", "n:int=one"},
                      Malformed{"default_is_no_float", "x[a] -> y[a]", "", "eps:float=1e-5x"},
                      Malformed{"whole_is_no_letter", "x[a] -> y[a]", "q", ""}),
    [](const auto& info) { return info.param.why; });

TEST(OpRow, unknown_op_names_the_nearest_known_one) {
  EXPECT_THAT(message_of(Code::kInvalidArgument, [] { static_cast<void>(op_row("linaer")); }),
              HasSubstr("unknown op 'linaer'; did you mean 'linear'?"));
}

}  // namespace
}  // namespace nemo::graph
