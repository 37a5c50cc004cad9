// Pouring: every byte arrives once and in order, whatever the size and the place; a fault on either side ends it and is thrown.
#include "core/checkpoint/pour.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace nemo::checkpoint {
namespace {

std::byte made(uint64_t at) { return static_cast<std::byte>(at * 2654435761U >> 13); }

void make(uint64_t at, std::span<std::byte> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = made(at + i);
}

constexpr uint64_t kLarge = (uint64_t{9} << 20) + 5;  // has a thread of its own

TEST(Pour, every_byte_arrives_once_and_in_order) {
  for (const uint64_t place : {0, 8, 4095, 4096, 123457})
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{4096}, uint64_t{262144}, uint64_t{262145}, uint64_t{1000003}, kLarge}) {
      uint64_t arrived = 0, wrong = 0;
      pour(bytes, place, make, [&](uint64_t at, std::span<const std::byte> block) {
        EXPECT_EQ(at, arrived);
        for (size_t i = 0; i < block.size(); ++i) wrong += block[i] != made(at + i);
        arrived += block.size();
        EXPECT_TRUE(at == 0 || (at + place) % 4096 == 0) << "blocks after the first begin with a page of the file";
        EXPECT_EQ((reinterpret_cast<uintptr_t>(block.data()) - at - place) % 4096, 0U);
      });
      EXPECT_EQ(arrived, bytes) << place;
      EXPECT_EQ(wrong, 0U) << place;
    }
}

TEST(Pour, faults_of_either_side_are_thrown_wherever_they_come) {
  for (const uint64_t bytes : {uint64_t{1000003}, kLarge})
    for (const uint64_t from : {uint64_t{0}, uint64_t{500000}, bytes - 300000}) {
      const auto fault_at = [&](uint64_t at) {
        if (at >= from) throw std::runtime_error("at " + std::to_string(from));
      };
      const auto says = [&](const Produce& produce, const Consume& consume) {
        try {
          pour(bytes, 0, produce, consume);
        } catch (const std::runtime_error& e) {
          return std::string(e.what());
        }
        return std::string();
      };
      const std::string expected = "at " + std::to_string(from);
      EXPECT_EQ(says([&](uint64_t at, std::span<std::byte>) { fault_at(at); }, [](uint64_t, std::span<const std::byte>) {}), expected);
      EXPECT_EQ(says(make, [&](uint64_t at, std::span<const std::byte>) { fault_at(at); }), expected);
    }
}

}  // namespace
}  // namespace nemo::checkpoint
