#include "index_cache.hpp"

#include <algorithm>
#include <future>

#include <gmock/gmock.h>

#include "indexed_dataset.hpp"
#include "md5.hpp"
#include "tests/data/golden.hpp"

namespace nemo::megatron {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

TEST(Md5, digests_are_those_of_rfc_1321_in_any_pieces) {
  EXPECT_EQ(md5(""), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(md5("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
  const std::string digits = "12345678901234567890123456789012345678901234567890123456789012345678901234567890";
  EXPECT_EQ(md5(digits), "57edf4a22be3c955ac49da2e2107b67a");
  for (size_t piece : {1, 7, 63, 64, 65}) {
    Md5 digest;
    for (size_t at = 0; at < digits.size(); at += piece) digest.update(std::string_view(digits).substr(at, piece));
    EXPECT_EQ(digest.hex(), "57edf4a22be3c955ac49da2e2107b67a") << piece;
  }
}

class Cache : public ::testing::Test {
 protected:
  Cache() : folder_(fresh_dir("index_cache")) {}
  ~Cache() override { fs::remove_all(folder_); }

  GptIndex get() {
    warnings_.clear();
    const IndexCache cache(folder_, [this](const std::string& w) { warnings_.push_back(w); });
    return cache.get(
        key_, request_, [this](int64_t d) { return lengths_.at(static_cast<size_t>(d)); }, "data");
  }
  GptIndex built() const {
    return build_gpt_index(
        request_, [this](int64_t d) { return lengths_.at(static_cast<size_t>(d)); }, "data");
  }
  static void expect_equal(const GptIndex& a, const GptIndex& b) {
    EXPECT_EQ(a.documents, b.documents);
    EXPECT_EQ(a.samples, b.samples);
    EXPECT_EQ(a.shuffle, b.shuffle);
    EXPECT_EQ(a.epochs, b.epochs);
    EXPECT_EQ(a.tokens_per_epoch, b.tokens_per_epoch);
    EXPECT_EQ(a.separate_final_epoch, b.separate_final_epoch);
  }
  std::vector<std::string> files(const std::string& ending = "") const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(folder_))
      if (const std::string path = entry.path().string(); path.ends_with(ending)) out.push_back(path);
    std::sort(out.begin(), out.end());
    return out;
  }
  std::string only(const std::string& ending) const {
    const auto found = files(ending);
    EXPECT_EQ(found.size(), 1u) << ending;
    return found.at(0);
  }

  std::string folder_;
  IndexCacheKey key_{"/data/text", "validation", "90,8,2", {{0, 0.9}, {0.9, 0.98}, {0.98, 1}}};
  GptIndexRequest request_{0, 40, 16, 200, 1234, 1, LastSample::kDrop};
  std::vector<int32_t> lengths_ = [] {
    std::vector<int32_t> out;
    for (int32_t i = 0; i < 40; ++i) out.push_back(10 + i * 7 % 31);
    return out;
  }();
  std::vector<std::string> warnings_;
};

TEST_F(Cache, maps_are_kept_under_megatrons_names_and_found_again) {
  expect_equal(get(), built());
  const std::string description = read_bytes(only("-GPTDataset-valid-description.txt"));
  EXPECT_THAT(only("description.txt"), HasSubstr("/" + md5(description) + "-GPTDataset-valid-"));
  const auto json = nlohmann::ordered_json::parse(description);
  EXPECT_EQ(json.dump(4).substr(0, 25), description.substr(0, 25));
  EXPECT_EQ(json["dataset_path"], "/data/text");
  EXPECT_EQ(json["num_samples"], 200);
  EXPECT_EQ(json["index_split"], "valid");
  EXPECT_EQ(json["split_matrix"][1][0], 0.9);
  EXPECT_EQ(files().size(), 5u) << "and nothing unfinished";
  const auto time = fs::last_write_time(only("document_index.npy"));
  expect_equal(get(), built());
  EXPECT_EQ(fs::last_write_time(only("document_index.npy")), time) << "read, not built";
  EXPECT_TRUE(warnings_.empty());
}

// What numpy.save writes for these arrays.
TEST_F(Cache, arrays_are_npy_files_with_numpys_headers) {
  const GptIndex index = get();
  const std::string samples = read_bytes(only("sample_index.npy"));
  EXPECT_EQ(samples.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  EXPECT_THAT(samples.substr(10, 118),
              HasSubstr("{'descr': '<i4', 'fortran_order': False, 'shape': (" + std::to_string(index.samples.size()) + ", 2), } "));
  EXPECT_EQ(samples[127], '\n');
  ASSERT_EQ(samples.size(), 128 + 8 * index.samples.size());
  EXPECT_EQ(std::memcmp(samples.data() + 128, index.samples.data(), 8 * index.samples.size()), 0);
  EXPECT_THAT(read_bytes(only("shuffle_index.npy")).substr(0, 128),
              HasSubstr("{'descr': '<u4', 'fortran_order': False, 'shape': (" + std::to_string(index.shuffle.size()) + ",), } "));
}

TEST_F(Cache, whatever_the_maps_follow_from_gives_other_names) {
  static_cast<void>(get());
  size_t sets = 1;
  const auto expect_new = [&] {
    expect_equal(get(), built());
    EXPECT_EQ(files("checksums.txt").size(), ++sets);
  };
  request_.seed = 7, expect_new();
  request_.num_samples = 150, expect_new();
  request_.seq_length = 8, expect_new();
  request_.extra_token = 0, expect_new();
  request_.last_sample = LastSample::kKeep, expect_new();
  key_.dataset = "/data/other", expect_new();
  key_.split_name = "test", expect_new();
  std::swap(lengths_[3], lengths_[4]), expect_new();  // the same path, the same size, another dataset
}

TEST_F(Cache, a_damaged_or_missing_file_is_named_and_built_again) {
  static_cast<void>(get());
  for (const char* name : {"document_index.npy", "sample_index.npy", "shuffle_index.npy"})
    for (const int damage : {0, 1, 2, 3}) {
      const std::string path = only(name), whole = read_bytes(path);
      std::string bytes = whole;
      bytes[bytes.size() - 3] ^= 1;
      if (damage == 0) write_bytes(path, bytes);
      if (damage == 1) write_bytes(path, whole.substr(0, whole.size() - 1));
      if (damage == 2) write_bytes(path, "");
      if (damage == 3) fs::remove(path);
      expect_equal(get(), built());
      ASSERT_EQ(warnings_.size(), 1u) << name << damage;
      EXPECT_THAT(warnings_[0], HasSubstr(path));
      EXPECT_EQ(read_bytes(path), whole);
      expect_equal(get(), built());
      EXPECT_TRUE(warnings_.empty());
    }
}

TEST_F(Cache, maps_without_checksums_are_unfinished_and_built_again) {
  static_cast<void>(get());
  fs::remove(only("checksums.txt"));
  expect_equal(get(), built());
  EXPECT_TRUE(warnings_.empty());
  EXPECT_EQ(files().size(), 5u);
}

// Right checksums do not make an array right: indices that lead outside are refused.
TEST_F(Cache, maps_that_lead_outside_of_the_dataset_are_built_again) {
  static_cast<void>(get());
  const std::string path = only("document_index.npy"), sums_path = only("checksums.txt");
  std::string bytes = read_bytes(path), sums = read_bytes(sums_path);
  const std::string before = md5(bytes);
  bytes[bytes.size() - 1] = 0x7f;
  write_bytes(path, bytes);
  write_bytes(sums_path, sums.replace(sums.find(before), 32, md5(bytes)));
  expect_equal(get(), built());
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr("not of this dataset"));
}

TEST_F(Cache, readers_and_builders_at_once_never_see_half_a_file) {
  const GptIndex expected = built();
  std::vector<std::future<int>> threads;
  for (int t = 0; t < 4; ++t)
    threads.push_back(std::async(std::launch::async, [&] {
      int wrong = 0;
      for (int i = 0; i < 20; ++i) {
        const IndexCache cache(folder_, [&](const std::string&) { ++wrong; });
        const GptIndex got = cache.get(
            key_, request_, [this](int64_t d) { return lengths_.at(static_cast<size_t>(d)); }, "data");
        wrong += got.samples != expected.samples || got.documents != expected.documents || got.shuffle != expected.shuffle;
      }
      return wrong;
    }));
  for (auto& t : threads) EXPECT_EQ(t.get(), 0);
  EXPECT_EQ(files().size(), 5u);
}

TEST_F(Cache, a_folder_that_cannot_be_made_is_a_fault_of_its_setting) {
  write_bytes(folder_ + "/file", "");
  const std::string message = message_of(NEMO_CODE_CONFIG_INVALID, [&] { IndexCache(folder_ + "/file/maps", {}); });
  EXPECT_THAT(message, HasSubstr(folder_ + "/file/maps"));
}

}  // namespace
}  // namespace nemo::megatron
