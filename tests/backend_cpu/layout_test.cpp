#include <cstring>

#include "tests/backend_cpu/fake_host.hpp"
#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {
namespace {

Array naive_product(const Array& x, const Array& w, int64_t m, int64_t n, int64_t k) {
  Array y(F64, {m, n});
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t p = 0; p < k; ++p) sum += x.get(i * k + p) * w.get(j * k + p);
      y.set(i * n + j, sum);
    }
  return y;
}

class Shapes : public ::testing::TestWithParam<std::tuple<int, int, int>> {};
TEST_P(Shapes, linear_equals_the_plain_sum_in_every_dtype_and_thread_count) {
  static const Device three(3);
  const auto [m, n, k] = GetParam();
  const Array x = normal_array(BF16, {m, k}, 1), w = normal_array(BF16, {n, k}, 2, 1 / std::sqrt(k));
  const Array want = naive_product(x, w, m, n, k);
  for (const Device* on : {&device(), &three}) {
    expect_close(on->apply("linear", {x.as(F32), w.as(F32)}, {Array(F32, {m, n})})[0], want, kReduction, "f32");
    expect_close(on->apply("linear", {x.as(F64), w.as(F64)}, {Array(F64, {m, n})})[0], want, {1e-12, 1e-12}, "f64");
    expect_close(on->apply("linear", {x, w}, {Array(BF16, {m, n})})[0], want, kBf16, "bf16");
  }
}
INSTANTIATE_TEST_SUITE_P(odd, Shapes,
                         ::testing::Values(std::tuple{1, 1, 1}, std::tuple{1, 700, 65}, std::tuple{700, 1, 65}, std::tuple{17, 31, 1},
                                           std::tuple{129, 257, 33}, std::tuple{400, 390, 520}, std::tuple{2, 3, 1100}));

TEST(Memory, is_aligned_and_copies_come_back) {
  const auto& api = device().api();
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{4097}, uint64_t{10} << 20}) {
    void* memory = nullptr;
    check(api.allocate(device().handle(), bytes, NEMO_STR("test"), &memory));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 256, 0u);
    std::vector<char> sent(bytes, '\x3c'), back(bytes);
    check(api.copy_in(device().handle(), memory, sent.data(), bytes, nullptr));
    check(api.copy_out(device().handle(), back.data(), memory, bytes, nullptr));
    check(api.synchronize(device().handle(), nullptr));
    EXPECT_EQ(sent, back);
    api.release(device().handle(), memory);
  }
  EXPECT_THROW(
      {
        void* memory = nullptr;
        check(api.allocate(device().handle(), uint64_t{1} << 60, NEMO_STR("too much"), &memory));
      },
      std::runtime_error);
}

TEST(DeviceInfo, tells_processor_memory_and_threads) {
  nemo_device_info info{};
  info.struct_size = sizeof info;
  check(device().api().device_info(device().handle(), &info));
  EXPECT_GT(info.name.len, 0u);
  EXPECT_GT(info.memory_bytes, uint64_t{64} << 20);
  EXPECT_GT(info.overhead_bytes, 0u);
  EXPECT_EQ(info.device_type, 1);
  EXPECT_EQ(info.threads, 2);
}

}  // namespace
}  // namespace nemo::backend_cpu
