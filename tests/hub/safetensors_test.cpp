// What a safetensors file states is checked before it is believed; each fault names the file and the tensor.
#include <gmock/gmock.h>

#include "core/hub/safetensors.hpp"
#include "core/hub/safetensors_writer.hpp"
#include "tests/hub/files.hpp"

namespace nemo::hub_test {
namespace {

using hub::ModelFiles;
using hub::SafetensorsFile;
using ::testing::HasSubstr;

struct Case {
  const char* name;
  std::string bytes;
  const char* says;
};

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "\"" + name + "\": {\"dtype\": \"" + dtype + "\", \"shape\": " + shape + ", \"data_offsets\": " + offsets + "}";
}

std::string of(const std::string& tensors, size_t data) { return safetensors("{" + tensors + "}", std::string(data, '\1')); }

TEST(Safetensors, faults_name_file_and_tensor) {
  const std::string a = tensor("a", "F32", "[2]", "[0, 8]");
  const Case cases[] = {
      {"empty", "", "too short"},
      {"short", "1234567", "too short"},
      {"giant_header", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10), "at most 100 MB"},
      {"header_beyond_file", std::string("\x20\0\0\0\0\0\0\0{}", 10), "header of 32 bytes, but has 2"},
      {"no_json", safetensors("{\"a\"", ""), "is not JSON"},
      {"no_object", safetensors("[]", ""), "no JSON object"},
      {"truncated", of(a, 7), "tensor a lies at [0, 8) of 7 bytes of data (truncated"},
      {"overlap", of(a + ", " + tensor("b", "F32", "[2]", "[4, 12]"), 12), "tensor b overlaps with tensor a"},
      {"same_range", of(a + ", " + tensor("b", "F32", "[2]", "[0, 8]"), 8), "overlaps"},
      {"gap", of(a + ", " + tensor("b", "F32", "[1]", "[12, 16]"), 16), "tensor b follows 4 bytes that belong to no tensor"},
      {"rest", of(a, 9), "1 bytes at the end belong to no tensor"},
      {"backwards", of(tensor("a", "F32", "[2]", "[8, 0]"), 8), "tensor a lies at [8, 0)"},
      {"negative", of(tensor("a", "F32", "[2]", "[-8, 0]"), 8), "tensor a has a data offset that is no natural number"},
      {"unknown_dtype", of(tensor("a", "F31", "[2]", "[0, 8]"), 8), "tensor a has the unknown dtype \"F31\""},
      {"wrong_size", of(tensor("a", "F32", "[3]", "[0, 8]"), 8), "tensor a has 8 bytes, but F32 [3] needs 12"},
      {"huge_shape", of(tensor("a", "F32", "[4294967296, 4294967296]", "[0, 8]"), 8), "tensor a has a shape beyond all sizes"},
      {"overflowing_shape", of(tensor("a", "F32", "[18446744073709551615]", "[0, 8]"), 8), "tensor a has a shape beyond all sizes"},
      {"negative_shape", of(tensor("a", "F32", "[-2]", "[0, 8]"), 8), "tensor a has a size that is no natural number"},
      {"fraction", of(tensor("a", "F32", "[2.0]", "[0, 8]"), 8), "tensor a has a size that is no natural number"},
      {"no_shape", of("\"a\": {\"dtype\": \"F32\", \"data_offsets\": [0, 8]}", 8), "tensor a has no 'shape'"},
      {"three_offsets", of(tensor("a", "F32", "[2]", "[0, 8, 8]"), 8), "tensor a has data_offsets that are no pair"},
      {"entry_no_object", of("\"a\": 3", 0), "tensor a has no 'dtype'"},
      {"twice", of(a + ", " + a, 8), "has 'a' twice"},
  };
  const Folder folder;
  for (const Case& c : cases) {
    const auto file = folder.path() / (std::string(c.name) + ".safetensors");
    write(file, c.bytes);
    const std::string says = fault([&] { const SafetensorsFile f(file); });
    EXPECT_THAT(says, HasSubstr(c.says)) << c.name;
    EXPECT_THAT(says, HasSubstr(file.filename().string())) << c.name;
  }
}

TEST(Safetensors, scalars_and_empty_tensors_are_legal) {
  const Folder folder;
  write(folder.path() / "x", of(tensor("e", "F32", "[0, 3]", "[0, 0]") + ", " + tensor("s", "BF16", "[]", "[0, 2]"), 2));
  const SafetensorsFile file(folder.path() / "x");
  EXPECT_EQ(file.tensors().at("s").bytes, 2u);
  EXPECT_EQ(file.tensors().at("e").bytes, 0u);
}

TEST(Safetensors, index_and_shards_must_agree) {
  const std::string a = of(tensor("a", "F32", "[2]", "[0, 8]"), 8), b = of(tensor("b", "F32", "[2]", "[0, 8]"), 8);
  const auto says = [&](const std::string& index, const std::string& one, const std::string& two) {
    const Folder folder;
    write(folder.path() / "model.safetensors.index.json", index);
    write(folder.path() / "1.safetensors", one);
    write(folder.path() / "2.safetensors", two);
    return fault([&] { const ModelFiles files(folder.path()); });
  };
  const std::string good = R"({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})";
  EXPECT_EQ(says(good, a, b), "");
  EXPECT_THAT(says(good, a, a), HasSubstr("tensor a is also in 1.safetensors"));
  EXPECT_THAT(says(good, b, a), HasSubstr("tensor a is not in 1.safetensors, where the index says it is"));
  EXPECT_THAT(says(R"({"weight_map": {"a": "1.safetensors"}})", b, b), HasSubstr("tensor a is not in 1.safetensors"));
  EXPECT_THAT(says(R"({"weight_map": {"b": "2.safetensors", "c": "1.safetensors"}})", a, b), HasSubstr("tensor c is not in 1.safetensors"));
  EXPECT_THAT(says(R"({"weight_map": {"b": "../2.safetensors"}})", a, b), HasSubstr("which is no file of the folder"));
  EXPECT_THAT(says(R"({"weight_map": {"b": "3.safetensors"}})", a, b), HasSubstr("3.safetensors: cannot be opened"));
  EXPECT_THAT(says(R"({})", a, b), HasSubstr("no object 'weight_map'"));
  EXPECT_THAT(says(R"({"weight_map": {"b": "2.safetensors"}})", a,
                   of(tensor("b", "F32", "[2]", "[0, 8]") + ", " + tensor("c", "F32", "[1]", "[8, 12]"), 12)),
              HasSubstr("tensor c is not listed"));
}

TEST(Safetensors, what_is_written_is_read_in_one_file_and_in_shards) {
  for (const uint64_t limit : {uint64_t{1000}, uint64_t{40}, uint64_t{1}}) {
    const Folder folder;
    std::vector<hub::TensorPlan> plan;
    for (int i = 0; i < 5; ++i) plan.push_back({"t" + std::to_string(i), "F32", {2, i}});
    hub::SafetensorsWriter writer(folder.path(), plan, limit);
    for (int i = 0; i < 5; ++i) {
      const std::vector<std::byte> bytes(static_cast<size_t>(8 * i), std::byte(i));
      writer.write(bytes.data(), bytes.size());
    }
    writer.finish();
    const ModelFiles files(folder.path());
    ASSERT_EQ(files.tensors().size(), 5u);
    for (int i = 1; i < 5; ++i) {
      const auto& entry = files.tensors().at("t" + std::to_string(i));
      EXPECT_EQ(entry.tensor->shape, (std::vector<int64_t>{2, i}));
      EXPECT_EQ(entry.data()[8 * i - 1], std::byte(i));
    }
    EXPECT_EQ(std::filesystem::exists(folder.path() / "model.safetensors"), limit == 1000);
  }
}

TEST(Safetensors, an_unfinished_write_leaves_no_files) {
  const Folder folder;
  {
    hub::SafetensorsWriter writer(folder.path(), {{"a", "F32", {2}}, {"b", "F32", {2}}}, 8);
    const std::vector<std::byte> bytes(8);
    writer.write(bytes.data(), 8);
    writer.write(bytes.data(), 8);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace nemo::hub_test
