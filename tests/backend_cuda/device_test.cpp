#include "tests/backend_cpu/fake_host.hpp"
#include "tests/backend_cuda/parity.hpp"

namespace nemo::backend_cuda {
namespace {

using backend_cpu::check;
using backend_cpu::I32;

TEST(CudaMachine, a_machine_without_device_says_why_in_one_line) {
  std::string reason;
  const int64_t count = device_count(&reason);
  EXPECT_EQ(count == 0, !reason.empty());
  EXPECT_EQ(reason.find('\n'), std::string::npos);
  if (count > 0) return;
  const nemo_config config{};
  nemo_backend* backend = nullptr;
  EXPECT_THROW(check(cuda_api().open(nullptr, &config, 0, &backend)), std::runtime_error);
}

TEST(CudaMachine, device_info_tells_name_memory_and_overhead) {
  NEMO_NEEDS_GPU();
  nemo_device_info info{};
  info.struct_size = sizeof info;
  check(gpu()->api().device_info(gpu()->handle(), &info));
  EXPECT_GT(info.name.len, 0u);
  EXPECT_GT(info.memory_bytes, uint64_t{16} << 30);
  EXPECT_GT(info.overhead_bytes, uint64_t{64} << 20);
  EXPECT_EQ(info.device_type, 2);
}

TEST(CudaMemory, is_aligned_and_copies_come_back) {
  NEMO_NEEDS_GPU();
  const auto& api = gpu()->api();
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{4097}, uint64_t{70} << 20}) {
    void* memory = nullptr;
    check(api.allocate(gpu()->handle(), bytes, NEMO_STR("test"), &memory));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 256, 0u);
    std::vector<char> sent(bytes), back(bytes);
    for (uint64_t i = 0; i < bytes; ++i) sent[i] = static_cast<char>(i * 131 / 7);
    check(api.copy_in(gpu()->handle(), memory, sent.data(), bytes, nullptr));
    check(api.copy_out(gpu()->handle(), back.data(), memory, bytes, nullptr));
    check(api.synchronize(gpu()->handle(), nullptr));
    EXPECT_EQ(sent == back, true);
    api.release(gpu()->handle(), memory);
  }
  void* memory = nullptr;
  EXPECT_THROW(check(api.allocate(gpu()->handle(), uint64_t{1} << 50, NEMO_STR("too much"), &memory)), std::runtime_error);
}

TEST(CudaFaults, data_faults_are_reported_by_synchronize) {
  NEMO_NEEDS_GPU();
  const Array logits(F32, {2, 10}), label(I32, {2}, {3, 10}), id(I32, {1}, {-1});
  Arrays loss{Array(F32, {2}), Array(F32, {2})}, row{Array(F32, {1, 10})};
  EXPECT_THROW(gpu()->run("cross_entropy", {logits, label}, loss), std::runtime_error);
  EXPECT_THROW(gpu()->run("embedding", {id, logits}, row), std::runtime_error);
  EXPECT_NO_THROW(gpu()->run("cross_entropy", {logits, Array(I32, {2}, {3, 9})}, loss));
}

TEST(CudaRefusals, f64_is_refused_by_name) {
  NEMO_NEEDS_GPU();
  Arrays y{Array(F64, {4})};
  try {
    gpu()->run("add", {Array(F64, {4}), Array(F64, {4})}, y);
    FAIL() << "no error";
  } catch (const std::runtime_error& e) {
    EXPECT_NE(std::string(e.what()).find("f32 bf16 f16"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace nemo::backend_cuda
