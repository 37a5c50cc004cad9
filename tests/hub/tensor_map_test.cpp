#include <gtest/gtest.h>

#include "core/hub/tensor_map.hpp"

namespace nemo::hub_test {
namespace {

TEST(TensorMap, a_star_stands_for_a_number_and_nothing_else) {
  std::vector<std::string> numbers;
  EXPECT_TRUE(hub::matches("layers.*.q", "layers.12.q", numbers));
  EXPECT_EQ(numbers, std::vector<std::string>{"12"});
  EXPECT_TRUE(hub::matches("l.*.e.*.w", "l.3.e.40.w", numbers));
  EXPECT_EQ(numbers, (std::vector<std::string>{"3", "40"}));
  for (const char* name : {"layers..q", "layers.x.q", "layers.1.q.", "layers.1", "layers.1.qq", "alayers.1.q", "layers.1a.q"})
    EXPECT_FALSE(hub::matches("layers.*.q", name, numbers)) << name;
  EXPECT_TRUE(hub::matches("model.layers.61.**", "model.layers.61.a.b", numbers));
  EXPECT_FALSE(hub::matches("model.layers.61.**", "model.layers.6.a", numbers));
}

}  // namespace
}  // namespace nemo::hub_test
