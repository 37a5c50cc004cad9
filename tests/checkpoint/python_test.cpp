#include <cstdlib>

#include "core/checkpoint/bf16.hpp"
#include "tests/checkpoint/sample.hpp"

namespace nemo::checkpoint {
namespace {

std::string python() {
  const char* chosen = std::getenv("NEMO_TEST_PYTHON");
  return chosen == nullptr ? "python3" : chosen;
}

void write_for_python(const std::filesystem::path& path) {
  const std::vector<float> f32 = ramp(6);
  const std::vector<double> f64(f32.begin(), f32.end());
  const std::vector<int32_t> i32 = {-1, 0, 7};
  const std::vector<int64_t> i64 = {int64_t{1} << 40};
  const std::vector<uint8_t> u8 = {0, 255};
  const std::vector<uint16_t> f16 = {0x3c00, 0xc100};  // 1, -2.5
  std::vector<uint16_t> bf16;
  for (const float value : f32) bf16.push_back(bf16_of_float(value));
  const float scalar = 0.25f;
  Writer writer(path);
  writer.write(kParameters, {"layers.0.attention.q.weight", NEMO_DTYPE_F32, {2, 3}, f32.data()});
  writer.write(kParameters, {"embedding.weight", NEMO_DTYPE_BF16, {3, 2}, bf16.data()});
  writer.write(kMaster, {"embedding.weight", NEMO_DTYPE_F64, {3, 2}, f64.data()});
  writer.write("other", {"f16", NEMO_DTYPE_F16, {2}, f16.data()});
  writer.write("other", {"i32", NEMO_DTYPE_I32, {3}, i32.data()});
  writer.write("other", {"i64", NEMO_DTYPE_I64, {1}, i64.data()});
  writer.write("other", {"u8", NEMO_DTYPE_U8, {2}, u8.data()});
  writer.write("other", {"scalar", NEMO_DTYPE_F32, {}, &scalar});
  writer.attribute("step", int64_t{200});
  writer.attribute("loss_scale", 0.5);
  writer.attribute("plugins", "[\"gpt\"]");
  writer.commit({200, {}, {}});
}

TEST(checkpoint_file, is_readable_with_plain_h5py) {
  if (std::system((python() + " -c 'import h5py' 2> /dev/null").c_str()) != 0)
    GTEST_SKIP() << python() << " has no h5py; set NEMO_TEST_PYTHON to one that has";
  const TemporaryFolder folder;
  write_for_python(folder.path() / "a");
  const std::string script = NEMO_SOURCE_DIR "/tests/checkpoint/read_with_h5py.py";
  EXPECT_EQ(std::system((python() + " " + script + " " + (folder.path() / "a" / kTensorFile).string()).c_str()), 0);
}

}  // namespace
}  // namespace nemo::checkpoint
