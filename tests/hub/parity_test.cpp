// The golden model folders pass every check, with config.json in both of its forms.
#include <gtest/gtest.h>

#include "core/hub/parity.hpp"
#include "tests/hub/files.hpp"

namespace nemo::hub_test {
namespace {

void expect_parity(const std::filesystem::path& folder, const std::string& model) {
  Host host;
  const Folder work;
  const auto rows =
      hub::parity({folder, golden_folder(model) / "golden.safetensors", work.path(), kRecipe, {}}, host.registry(), host.context);
  EXPECT_GE(rows.size(), 6u);
  for (const hub::ParityRow& row : rows) EXPECT_TRUE(row.ok) << row.check << ": " << row.measured << ", " << row.worst << " of the bound";
  EXPECT_EQ(host.warnings, std::vector<std::string>{});
}

class ModelFolder : public ::testing::TestWithParam<const char*> {};

TEST_P(ModelFolder, equals_transformers_from_import_to_export) { expect_parity(golden_folder(GetParam()), GetParam()); }

TEST_P(ModelFolder, reads_the_config_of_transformers_4) {
  if (!std::filesystem::exists(golden_folder(GetParam()) / "config.v4.json")) GTEST_SKIP() << "no config.v4.json";
  const Folder folder;
  copy_model(GetParam(), folder.path() / "model");
  std::filesystem::rename(folder.path() / "model/config.v4.json", folder.path() / "model/config.json");
  expect_parity(folder.path() / "model", GetParam());
}

INSTANTIATE_TEST_SUITE_P(, ModelFolder,
                         ::testing::Values("gpt2", "gpt2_fp16", "llama", "llama3_rope_tied", "llama_linear_rope", "llama_yarn_bias",
                                           "gemma2", "phi3", "nemotron", "gpt_oss", "nemotron_h_moe"),
                         [](const auto& info) { return info.param; });

TEST(Parity, another_weight_is_missed) {
  Host host;
  const Folder folder;
  copy_model("llama3_rope_tied", folder.path() / "model");
  std::string bytes = read(folder.path() / "model/model.safetensors");
  bytes[bytes.size() - 2] ^= 0x08;  // of the last norm's last weight
  write(folder.path() / "model/model.safetensors", bytes);
  const auto rows =
      hub::parity({folder.path() / "model", golden_folder("llama3_rope_tied") / "golden.safetensors", folder.path(), kRecipe, {}},
                  host.registry(), host.context);
  EXPECT_TRUE(std::any_of(rows.begin(), rows.end(), [](const hub::ParityRow& row) { return !row.ok; }));
}

}  // namespace
}  // namespace nemo::hub_test
