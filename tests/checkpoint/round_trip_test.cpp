#include <cmath>
#include <cstring>
#include <fstream>
#include <thread>

#include "core/checkpoint/bf16.hpp"
#include "tests/checkpoint/sample.hpp"

namespace nemo::checkpoint {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class EveryDtype : public testing::TestWithParam<nemo_dtype> {};

TEST_P(EveryDtype, comes_back_bit_for_bit) {
  const TemporaryFolder folder;
  const size_t bytes = element_bytes(GetParam()) * 24;
  std::vector<uint8_t> data(bytes), back(bytes);
  for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>(37 * i + 11);
  {
    Writer writer(folder.path() / "a");
    writer.write(kParameters, {"tensor", GetParam(), {2, 3, 4}, data.data()});
    writer.write(kParameters, {"scalar", GetParam(), {}, data.data()});
    writer.write(kParameters, {"empty", GetParam(), {0, 7}, nullptr});
    writer.commit({});
  }
  const Reader reader(folder.path() / "a");
  EXPECT_EQ(reader.info(kParameters, "tensor").dtype, GetParam());
  EXPECT_THAT(reader.info(kParameters, "tensor").shape, ElementsAre(2, 3, 4));
  EXPECT_THAT(reader.info(kParameters, "scalar").shape, ElementsAre());
  EXPECT_THAT(reader.info(kParameters, "empty").shape, ElementsAre(0, 7));
  reader.read(kParameters, {"tensor", GetParam(), {2, 3, 4}, back.data()});
  EXPECT_EQ(back, data);
  std::vector<uint8_t> one(element_bytes(GetParam()));
  reader.read(kParameters, {"scalar", GetParam(), {}, one.data()});
  EXPECT_EQ(std::memcmp(one.data(), data.data(), one.size()), 0);
  reader.read(kParameters, {"empty", GetParam(), {0, 7}, nullptr});
}
INSTANTIATE_TEST_SUITE_P(dtypes, EveryDtype,
                         testing::Values(NEMO_DTYPE_F32, NEMO_DTYPE_F64, NEMO_DTYPE_BF16, NEMO_DTYPE_F16, NEMO_DTYPE_I32, NEMO_DTYPE_I64,
                                         NEMO_DTYPE_U8),
                         [](const auto& p) { return dtype_name(p.param); });

TEST(checkpoint, keeps_groups_names_attributes_files_and_facts) {
  const TemporaryFolder folder;
  const std::filesystem::path tokenizer = folder.path() / "source";
  std::filesystem::create_directories(tokenizer / "deep");
  std::ofstream(tokenizer / "vocab.json") << "{}";
  std::ofstream(tokenizer / "deep" / "merges.txt") << "a b\n";
  const std::vector<float> data = ramp(4);
  const std::string plugins(200000, 'x');  // longer than HDF5's 64 KiB limit of plain attributes
  {
    Writer writer(folder.path() / "checkpoints" / "step_00000200");
    writer.write(kParameters, {"b.weight", NEMO_DTYPE_F32, {4}, data.data()});
    writer.write(kParameters, {"a.weight", NEMO_DTYPE_F32, {2, 2}, data.data()});
    writer.write(kExpAvgSq, {"a.weight", NEMO_DTYPE_F32, {2, 2}, data.data()});
    writer.attribute("step", int64_t{200});
    writer.attribute("loss_scale", 0.1);
    writer.attribute("plugins", plugins);
    writer.add_text_file(kRecipeFile, "[job]\n");
    writer.add_folder("tokenizer", tokenizer);
    writer.commit({200, {{"val_loss", 1.875}, {"bad", NAN}}, {{"model", "gpt", "1.0.0"}, {"backend", "cpu", "1.2.0"}}});
  }
  const Reader reader(folder.path() / "checkpoints" / "step_00000200");
  EXPECT_THAT(reader.names(kParameters), ElementsAre("a.weight", "b.weight"));
  EXPECT_THAT(reader.names(kExpAvgSq), ElementsAre("a.weight"));
  EXPECT_THAT(reader.names(kMaster), ElementsAre());
  EXPECT_THAT(reader.names("optimizer"), ElementsAre());
  EXPECT_EQ(reader.attribute_int("step"), 200);
  EXPECT_EQ(reader.attribute_double("loss_scale"), 0.1);
  EXPECT_EQ(reader.attribute_string("plugins"), plugins);
  EXPECT_TRUE(reader.has_attribute("step"));
  EXPECT_FALSE(reader.has_attribute("epoch"));
  EXPECT_EQ(reader.recipe(), "[job]\n");
  EXPECT_EQ(reader.text_file("tokenizer/vocab.json"), "{}");
  EXPECT_EQ(reader.text_file("tokenizer/deep/merges.txt"), "a b\n");
  EXPECT_EQ(reader.facts().step, 200);
  EXPECT_EQ(reader.facts().metrics.at("val_loss"), 1.875);
  EXPECT_TRUE(std::isnan(reader.facts().metrics.at("bad")));
  EXPECT_EQ(reader.facts().plugins.at(1), (PluginId{"backend", "cpu", "1.2.0"}));
}

TEST(checkpoint, of_the_same_state_has_the_same_bytes) {
  const TemporaryFolder folder;
  write_sample(folder.path() / "a", 7);
  write_sample(folder.path() / "b", 7);
  for (const char* file : {kTensorFile, kManifestFile, kRecipeFile})
    EXPECT_EQ(read_file(folder.path() / "a" / file), read_file(folder.path() / "b" / file)) << file;
}

TEST(checkpoint, converts_between_f32_and_bf16_on_reading) {
  const TemporaryFolder folder;
  const std::vector<float> exact = {1.0f, -2.5f, 0.0f, INFINITY}, ties = {1.00390625f, 1.01171875f, -1e-40f, NAN};
  std::vector<uint16_t> half;
  for (const float value : exact) half.push_back(bf16_of_float(value));
  {
    Writer writer(folder.path() / "a");
    writer.write(kParameters, {"bf16", NEMO_DTYPE_BF16, {4}, half.data()});
    writer.write(kParameters, {"f32", NEMO_DTYPE_F32, {4}, ties.data()});
    writer.commit({});
  }
  const Reader reader(folder.path() / "a");
  std::vector<float> wide(4);
  reader.read(kParameters, {"bf16", NEMO_DTYPE_F32, {4}, wide.data()});
  EXPECT_EQ(wide, exact);
  std::vector<uint16_t> narrow(4);
  reader.read(kParameters, {"f32", NEMO_DTYPE_BF16, {4}, narrow.data()});
  EXPECT_EQ(narrow[0], 0x3f80);  // 1 + 2^-8 is halfway; the even neighbour is 1
  EXPECT_EQ(narrow[1], 0x3f82);  // 1 + 3 * 2^-8 is halfway; the even neighbour is 1 + 2^-6
  EXPECT_EQ(narrow[2], 0x8001);
  EXPECT_TRUE(std::isnan(float_of_bf16(narrow[3])));
}

TEST(checkpoint, converts_f16_to_and_from_the_other_floats_on_reading) {
  const TemporaryFolder folder;
  const std::vector<float> exact = {1.0f, -65504.0f, 0x1p-24f, INFINITY};
  const std::vector<uint16_t> f16{0x3c00, 0xfbff, 0x0001, 0x7c00}, bf16{0x3f80, 0xc77f, 0x3380, 0x7f80};
  {
    Writer writer(folder.path() / "a");
    writer.write(kParameters, {"f16", NEMO_DTYPE_F16, {4}, f16.data()});
    writer.write(kParameters, {"f32", NEMO_DTYPE_F32, {4}, exact.data()});
    writer.write(kParameters, {"bf16", NEMO_DTYPE_BF16, {4}, bf16.data()});
    writer.commit({});
  }
  const Reader reader(folder.path() / "a");
  std::vector<float> wide(4);
  reader.read(kParameters, {"f16", NEMO_DTYPE_F32, {4}, wide.data()});
  EXPECT_EQ(wide, exact);
  std::vector<uint16_t> narrow(4);
  reader.read(kParameters, {"f32", NEMO_DTYPE_F16, {4}, narrow.data()});
  EXPECT_EQ(narrow, f16);
  reader.read(kParameters, {"bf16", NEMO_DTYPE_F16, {4}, narrow.data()});
  EXPECT_EQ(narrow, (std::vector<uint16_t>{0x3c00, 0xfbf8, 0x0001, 0x7c00}));
  reader.read(kParameters, {"f16", NEMO_DTYPE_BF16, {4}, narrow.data()});
  EXPECT_EQ(narrow, (std::vector<uint16_t>{0x3f80, 0xc780, 0x3380, 0x7f80}));
}

TEST(checkpoint, refuses_another_shape_dtype_or_name_and_says_both) {
  const TemporaryFolder folder;
  write_sample(folder.path() / "a", 1);
  const Reader reader(folder.path() / "a");
  const std::string name = "layers.0.attention.q.weight";
  std::vector<double> out(6);
  const auto read = [&](const std::string& n, nemo_dtype dtype, std::vector<int64_t> shape) {
    return error_of([&] { reader.read(kParameters, {n, dtype, shape, out.data()}); });
  };
  EXPECT_THAT(read(name, NEMO_DTYPE_F32, {3, 2}).what(), HasSubstr(name + " is f32 [2 3], but the program's is f32 [3 2]"));
  EXPECT_THAT(read(name, NEMO_DTYPE_I64, {2, 3}).what(), HasSubstr("is f32 [2 3], but the program's is i64 [2 3]"));
  EXPECT_EQ(read(name, NEMO_DTYPE_I32, {2, 3}).code(), Code::kConfig);
  EXPECT_THAT(read("layers.0.attention.k.weight", NEMO_DTYPE_F32, {2, 3}).what(), HasSubstr("the nearest is " + name));
}

TEST(writer, refuses_what_breaks_its_contract) {
  const TemporaryFolder folder;
  const float one = 1;
  Writer writer(folder.path() / "a");
  writer.write(kParameters, {"w", NEMO_DTYPE_F32, {1}, &one});
  const auto refused = [&](const TensorView& t) { return error_of([&] { writer.write(kParameters, t); }); };
  EXPECT_EQ(refused({"w", NEMO_DTYPE_F32, {1}, &one}).code(), Code::kInvalidArgument);
  EXPECT_EQ(refused({"a/b", NEMO_DTYPE_F32, {1}, &one}).code(), Code::kInvalidArgument);
  EXPECT_EQ(refused({"n", NEMO_DTYPE_F32, {-1}, &one}).code(), Code::kInvalidArgument);
  EXPECT_EQ(refused({"n", NEMO_DTYPE_F32, {1}, nullptr}).code(), Code::kInvalidArgument);
  EXPECT_EQ(refused({"n", NEMO_DTYPE_E4M3, {1}, &one}).code(), Code::kUnsupported);
  EXPECT_EQ(error_of([&] { writer.add_text_file("../x", ""); }).code(), Code::kInvalidArgument);
  EXPECT_EQ(error_of([&] { writer.add_text_file(kManifestFile, ""); }).code(), Code::kInvalidArgument);
  EXPECT_EQ(error_of([&] { writer.add_folder("tokenizer", folder.path() / "none"); }).code(), Code::kNotFound);
  writer.commit({});
  EXPECT_EQ(refused({"late", NEMO_DTYPE_F32, {1}, &one}).code(), Code::kInvalidArgument);
  EXPECT_THAT(Reader(folder.path() / "a").names(kParameters), ElementsAre("w"));
}

TEST(writer, replaces_a_checkpoint_of_the_same_step) {
  const TemporaryFolder folder;
  write_sample(folder.path() / "a", 1, {{"val_loss", 2.0}});
  write_sample(folder.path() / "a", 1, {{"val_loss", 1.0}});
  EXPECT_EQ(Reader(folder.path() / "a").facts().metrics.at("val_loss"), 1.0);
  EXPECT_THAT(listing(folder.path()), ElementsAre("a"));
}

TEST(writer, works_on_several_threads_at_once) {
  const TemporaryFolder folder;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 8; ++i) {
        const std::filesystem::path path = folder.path() / (std::to_string(t) + "_" + std::to_string(i));
        write_sample(path, i);
        EXPECT_EQ(Reader(path).attribute_int("step"), i);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(listing(folder.path()).size(), 32u);
}

}  // namespace
}  // namespace nemo::checkpoint
