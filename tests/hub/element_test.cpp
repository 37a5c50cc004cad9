#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "core/hub/element.hpp"

namespace nemo::hub_test {
namespace {

TEST(Element, every_f16_survives_f32_and_back) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = hub::float_of_f16(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(hub::float_of_f16(hub::f16_of_float(value))));
      continue;
    }
    ASSERT_EQ(hub::f16_of_float(value), bits) << value;
  }
}

#ifdef __FLT16_MAX__
TEST(Element, f16_rounds_as_the_compiler_does) {
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (std::isnan(value)) continue;
    const auto theirs = static_cast<_Float16>(value);
    uint16_t bits = 0;
    std::memcpy(&bits, &theirs, sizeof bits);
    ASSERT_EQ(hub::f16_of_float(value), bits) << value;
  }
}
#endif

TEST(Element, conversions_go_through_the_value) {
  const float in[] = {1.5f, -0.0f, 3.14159274f, 65504.0f};
  uint16_t half[4];
  double full[4];
  hub::convert(reinterpret_cast<const std::byte*>(in), NEMO_DTYPE_F32, reinterpret_cast<std::byte*>(half), NEMO_DTYPE_BF16, 4);
  EXPECT_EQ(half[0], 0x3fc0);
  EXPECT_EQ(half[2], 0x4049);
  hub::convert(reinterpret_cast<const std::byte*>(half), NEMO_DTYPE_BF16, reinterpret_cast<std::byte*>(full), NEMO_DTYPE_F64, 4);
  EXPECT_EQ(full[0], 1.5);
  EXPECT_TRUE(std::signbit(full[1]));
}

}  // namespace
}  // namespace nemo::hub_test
