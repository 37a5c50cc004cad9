#include "indexed_dataset.hpp"

#include "indexed_writer.hpp"
#include "tests/data/golden.hpp"

namespace nemo::megatron {
namespace {

// The tokens of sequence i as datasets.json states them, by list or by formula.
std::vector<int64_t> content_of(const nlohmann::json& dataset, int64_t i) {
  const auto& content = dataset["content"];
  if (content.is_array()) return content[static_cast<size_t>(i)].get<std::vector<int64_t>>();
  std::vector<int64_t> out(dataset["lengths"][static_cast<size_t>(i)].get<size_t>());
  const auto vocab = dataset["vocab"].get<int64_t>();
  for (int64_t j = 0; j < static_cast<int64_t>(out.size()); ++j)
    out[static_cast<size_t>(j)] = (i * 131 + j * 17 + (i * j) % 29) % (vocab - 1) + 1;
  out.back() = dataset["eod"].get<int64_t>();
  return out;
}

TEST(IndexedDataset, reads_every_golden_dataset) {
  const nlohmann::json datasets = golden_json("indexed/datasets.json");
  for (const auto& [name, d] : datasets.items()) {
    const IndexedDataset data(golden("indexed/" + name));
    EXPECT_EQ(static_cast<int>(data.type()), d["dtype_code"].get<int>());
    ASSERT_EQ(data.num_sequences(), d["sequences"].get<int64_t>());
    EXPECT_EQ(data.num_documents(), d["documents"].get<int64_t>());
    EXPECT_EQ(data.has_modes(), d.contains("modes"));
    for (int64_t i = 0; i <= data.num_documents(); ++i)
      EXPECT_EQ(data.document_index(i), d["document_indices"][static_cast<size_t>(i)].get<int64_t>());
    for (int64_t i = 0; i < data.num_sequences(); ++i) {
      const std::vector<int64_t> expected = content_of(d, i);
      ASSERT_EQ(data.length(i), static_cast<int32_t>(expected.size()));
      std::vector<int32_t> tokens(expected.size());
      data.read(i, 0, data.length(i), tokens.data());
      EXPECT_EQ(std::vector<int64_t>(tokens.begin(), tokens.end()), expected) << name << " " << i;
      if (data.has_modes()) {
        EXPECT_EQ(data.mode(i), d["modes"][static_cast<size_t>(i)].get<int>());
      }
    }
  }
}

TEST(IndexedWriter, writes_the_same_bytes_as_megatron) {
  const std::string dir = fresh_dir("writer");
  const nlohmann::json datasets = golden_json("indexed/datasets.json");
  for (const auto& [name, d] : datasets.items()) {
    const std::string prefix = dir + "/" + name;
    IndexedWriter writer(prefix, static_cast<TokenType>(d["dtype_code"].get<int>()));
    size_t document = 1;
    const auto ends = d["document_indices"].get<std::vector<int64_t>>();
    for (int64_t i = 0; i < d["sequences"].get<int64_t>(); ++i) {
      const std::vector<int64_t> tokens = content_of(d, i);
      if (d.contains("modes"))
        writer.add_sequence(tokens, d["modes"][static_cast<size_t>(i)].get<int8_t>());
      else
        writer.add_sequence(tokens);
      for (; document < ends.size() && ends[document] == i + 1; ++document) writer.end_document();
    }
    writer.finish();
    EXPECT_EQ(read_bytes(prefix + ".bin"), read_bytes(golden("indexed/" + name + ".bin"))) << name;
    EXPECT_EQ(read_bytes(prefix + ".idx"), read_bytes(golden("indexed/" + name + ".idx"))) << name;
  }
}

TEST(IndexedDataset, every_token_type_is_read) {
  const std::string dir = fresh_dir("types");
  for (int code = 1; code <= 8; ++code) {
    const std::string prefix = dir + "/t" + std::to_string(code);
    const std::vector<int64_t> tokens = {5, 127, 0, 99};
    IndexedWriter writer(prefix, static_cast<TokenType>(code));
    writer.add_sequence(std::vector<int64_t>{1});
    writer.add_sequence(tokens);
    writer.end_document();
    writer.finish();
    const IndexedDataset data(prefix);
    std::vector<int32_t> out(3);
    data.read(1, 1, 3, out.data());
    EXPECT_EQ(out, (std::vector<int32_t>{127, 0, 99})) << code;
  }
}

TEST(IndexedDataset, a_wide_value_that_is_no_token_id_is_reported) {
  const std::string prefix = fresh_dir("wide") + "/w";
  IndexedWriter writer(prefix, TokenType::kI64);
  writer.add_sequence(std::vector<int64_t>{1, int64_t{1} << 40});
  writer.end_document();
  writer.finish();
  const IndexedDataset data(prefix);
  int32_t out[2];
  EXPECT_NE(message_of(NEMO_CODE_DATA_LOSS, [&] { data.read(0, 0, 2, out); })
                .find("token 1 of sequence 0 is 1099511627776, which is no token id"),
            std::string::npos);
}

class BrokenDataset : public ::testing::Test {
 protected:
  BrokenDataset()
      : prefix_(fresh_dir("broken") + "/d"),
        idx_(read_bytes(golden("indexed/small_u16.idx"))),
        bin_(read_bytes(golden("indexed/small_u16.bin"))) {}
  std::string error(const std::string& idx, const std::string& bin, nemo_code code = NEMO_CODE_DATA_LOSS) {
    write_bytes(prefix_ + ".idx", idx);
    write_bytes(prefix_ + ".bin", bin);
    return message_of(code, [&] { const IndexedDataset data(prefix_); });
  }
  template <class T>
  std::string patched(size_t at, T value) const {
    std::string out = idx_;
    std::memcpy(out.data() + at, &value, sizeof value);
    return out;
  }
  std::string prefix_, idx_, bin_;
};

TEST_F(BrokenDataset, an_index_cut_anywhere_is_refused) {
  for (size_t n = 0; n < idx_.size(); ++n) EXPECT_NE(error(idx_.substr(0, n), bin_).find(prefix_ + ".idx: "), std::string::npos);
  EXPECT_EQ(error(idx_.substr(0, 20), bin_), prefix_ + ".idx: the header of an index takes 34 bytes, found 20; the file is truncated");
  EXPECT_EQ(error(idx_.substr(0, 100), bin_), prefix_ +
                                                  ".idx: the header counts 9 sequences and 10 document indices, which take 222 bytes (231 "
                                                  "with modes), found 100; the file is truncated");
}

TEST_F(BrokenDataset, a_short_bin_is_refused_with_the_bytes_that_are_missing) {
  EXPECT_EQ(error(idx_, bin_.substr(0, bin_.size() - 1)),
            prefix_ + ".bin: sequence 8 of 9 takes bytes " +
                std::to_string(232 - 2 * IndexedDataset(golden("indexed/small_u16")).length(8)) +
                " to 232, but the file has 231; it is truncated, or the .idx belongs to another .bin");
  EXPECT_NE(error(idx_, "").find("but the file has 0"), std::string::npos);
}

TEST_F(BrokenDataset, wrong_header_fields_are_named) {
  EXPECT_NE(error("x" + idx_.substr(1), bin_).find("expected \"MMIDIDX\""), std::string::npos);
  EXPECT_NE(error(patched(9, uint64_t{2}), bin_).find("expected format version 1, found 2"), std::string::npos);
  EXPECT_NE(error(patched(17, uint8_t{9}), bin_).find("expected a dtype code of 1 to 8, found 9"), std::string::npos);
  EXPECT_NE(error(patched(18, uint64_t{1000}), bin_).find("counts 1000 sequences"), std::string::npos);
  EXPECT_NE(error(patched(18, ~uint64_t{0}), bin_).find("more than any disk holds"), std::string::npos);
}

TEST_F(BrokenDataset, wrong_lengths_offsets_and_documents_are_named) {
  EXPECT_NE(error(patched(34, int32_t{-1}), bin_).find("sequence 0 of 9 has length -1"), std::string::npos);
  EXPECT_NE(error(patched(34, int32_t{0x7fffffff}), bin_).find("sequence 0 of 9 takes bytes 0 to 4294967294"), std::string::npos);
  EXPECT_NE(error(patched(34 + 36, int64_t{-8}), bin_).find("starts at byte -8"), std::string::npos);
  EXPECT_NE(error(patched(34 + 36, std::numeric_limits<int64_t>::max()), bin_).find("sequence 0 of 9 takes bytes 9223372036854775807"),
            std::string::npos);
  EXPECT_NE(error(patched(34 + 108, int64_t{1}), bin_).find("expected document index 0 to be 0, found 1"), std::string::npos);
  EXPECT_NE(error(patched(34 + 108 + 8, int64_t{10}), bin_).find("document index 1 is 10; expected 0 to 9"), std::string::npos);
}

TEST_F(BrokenDataset, a_missing_file_is_not_found) {
  write_bytes(prefix_ + ".idx", idx_);
  EXPECT_EQ(message_of(NEMO_CODE_NOT_FOUND, [&] { const IndexedDataset data(prefix_); }),
            prefix_ + ".bin: cannot be read: No such file or directory");
}

}  // namespace
}  // namespace nemo::megatron
