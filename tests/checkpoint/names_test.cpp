#include "core/checkpoint/names.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace nemo::checkpoint {
namespace {

using Names = std::vector<std::string>;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(name_mismatch, is_empty_for_the_same_names_in_any_order) { EXPECT_EQ(name_mismatch(Names{"a", "b"}, Names{"b", "a"}, "x"), ""); }

TEST(name_mismatch, lists_missing_with_the_nearest_and_extra) {
  const std::string text =
      name_mismatch(Names{"layers.0.mlp.gate.weight", "norm"}, Names{"layers.0.mlp.gates.weight", "norm"}, "checkpoint /c");
  EXPECT_EQ(text,
            "checkpoint /c lacks 1 parameter of the model:\n  layers.0.mlp.gate.weight  (nearest: layers.0.mlp.gates.weight)\n"
            "checkpoint /c has 1 parameter that the model lacks:\n  layers.0.mlp.gates.weight");
}

TEST(name_mismatch, shows_the_first_eight_of_many) {
  Names model;
  for (int i = 0; i < 20; ++i) model.push_back("layers." + std::to_string(10 + i));
  EXPECT_THAT(name_mismatch(model, {}, "x"),
              AllOf(HasSubstr("lacks 20 parameters"), HasSubstr("layers.17"), Not(HasSubstr("layers.18")), HasSubstr("and 12 more")));
}

}  // namespace
}  // namespace nemo::checkpoint
