#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "core/hub/box.hpp"

namespace nemo::hub_test {
namespace {

using hub::Box;

Box random_box(std::mt19937& random) {
  const auto draw = [&](int64_t low, int64_t high) { return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1)); };
  Box box;
  const int64_t rank = draw(1, 5);
  for (int64_t i = 0; i < rank; ++i) {
    box.view.push_back(draw(1, rank < 3 ? 150 : 7));
    box.start.push_back(draw(0, box.view.back() - 1));
    box.length.push_back(random() % 3 == 0 ? box.view.back() - box.start.back() : draw(1, box.view.back() - box.start.back()));
    box.order.push_back(i);
  }
  std::shuffle(box.order.begin(), box.order.end(), random);
  return box;
}

// Index in the tensor of each element of the part, in the result's order.
std::vector<size_t> naive(const Box& box) {
  std::vector<size_t> out;
  std::vector<int64_t> at(box.view.size(), 0);  // in the result's order
  for (uint64_t n = 0; n < box.count(); ++n) {
    size_t index = 0;
    for (size_t d = 0; d < box.view.size(); ++d) {
      const size_t place = static_cast<size_t>(std::find(box.order.begin(), box.order.end(), static_cast<int64_t>(d)) - box.order.begin());
      index = index * static_cast<size_t>(box.view[d]) + static_cast<size_t>(box.start[d] + at[place]);
    }
    out.push_back(index);
    for (size_t i = at.size(); i-- > 0;) {
      if (++at[i] < box.length[static_cast<size_t>(box.order[i])]) break;
      at[i] = 0;
    }
  }
  return out;
}

template <class T>
void compare(const Box& box) {
  const auto whole = static_cast<size_t>(std::accumulate(box.view.begin(), box.view.end(), int64_t{1}, std::multiplies<>()));
  std::vector<T> tensor(whole), dense(box.count()), back(whole, T{0});
  for (size_t i = 0; i < whole; ++i) tensor[i] = static_cast<T>(i * 7 + 1);
  gather(reinterpret_cast<const std::byte*>(tensor.data()), box, sizeof(T), reinterpret_cast<std::byte*>(dense.data()));
  const std::vector<size_t> index = naive(box);
  for (size_t i = 0; i < index.size(); ++i) ASSERT_EQ(dense[i], tensor[index[i]]) << i;
  scatter(reinterpret_cast<const std::byte*>(dense.data()), box, sizeof(T), reinterpret_cast<std::byte*>(back.data()));
  std::vector<T> expected(whole, T{0});
  for (const size_t i : index) expected[i] = tensor[i];
  ASSERT_EQ(back, expected);
}

TEST(Box, gather_and_scatter_equal_the_naive_loops) {
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {
    const Box box = random_box(random);
    compare<uint16_t>(box);
    compare<uint32_t>(box);
    compare<uint64_t>(box);
  }
}

TEST(Box, a_run_is_where_gather_is_a_copy) {
  std::mt19937 random(4);
  int runs = 0;
  for (int i = 0; i < 500; ++i) {
    const Box box = random_box(random);
    std::vector<size_t> expected(box.count());
    std::iota(expected.begin(), expected.end(), box.offset());
    EXPECT_EQ(box.is_run(), naive(box) == expected);
    runs += box.is_run() ? 1 : 0;
  }
  EXPECT_GT(runs, 20);
}

}  // namespace
}  // namespace nemo::hub_test
