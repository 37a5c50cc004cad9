#include <cmath>
#include <cstdlib>
#include <cstring>

#include "tests/loggers/host.hpp"

namespace nemo::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

std::vector<fs::path> event_files(const fs::path& run) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(run / "tensorboard")) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

// CRC-32C bit by bit, by its definition (reflected polynomial 0x82f63b78), and TFRecord's mask.
uint32_t masked_crc(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <class T>
T at(const std::string& bytes, size_t offset) {
  T value{};
  if (offset + sizeof value > bytes.size()) throw std::runtime_error("file ends within a record");
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Payloads of all records; fails the test where a checksum is wrong.
std::vector<std::string> records(const fs::path& file) {
  const std::string bytes = content(file);
  std::vector<std::string> payloads;
  for (size_t i = 0; i < bytes.size();) {
    const auto length = at<uint64_t>(bytes, i);
    EXPECT_EQ(at<uint32_t>(bytes, i + 8), masked_crc(bytes.substr(i, 8)));
    payloads.push_back(bytes.substr(i + 12, length));
    EXPECT_EQ(at<uint32_t>(bytes, i + 12 + length), masked_crc(payloads.back()));
    i += 16 + length;
  }
  return payloads;
}

TEST(crc32c_of_this_test, gives_the_published_check_value) {
  const uint32_t check = 0xe3069283u;  // CRC-32C of "123456789"
  EXPECT_EQ(masked_crc("123456789"), ((check >> 15) | (check << 17)) + 0xa282ead8u);
}

TEST(tensorboard, file_is_records_with_right_checksums_starting_with_the_version) {
  const TemporaryFolder run;
  Logger logger("tensorboard", run.path());
  logger.metrics(1, {{"loss", 4.5}, {"lr", 0.25}});
  logger.metrics(300, {{"loss", 3.5}});
  logger.finish();
  const std::vector<fs::path> files = event_files(run.path());
  ASSERT_EQ(files.size(), 1u);
  EXPECT_THAT(files[0].filename().string(), testing::StartsWith("events.out.tfevents."));
  const std::vector<std::string> payloads = records(files[0]);
  ASSERT_EQ(payloads.size(), 4u);
  EXPECT_THAT(payloads[0], HasSubstr(std::string("\x1a\x0d") + "brain.Event:2"));
  EXPECT_EQ(payloads[1].substr(9), std::string("\x10\x01\x3a\x02\x08\x01"));  // step 1, session_log { status: START }
  EXPECT_EQ(payloads[2].substr(9),
            std::string("\x10\x01\x2a\x18\x0a\x0b\x0a\x04loss\x15\x00\x00\x90\x40\x0a\x09\x0a\x02lr\x15\x00\x00\x80\x3e", 28));
  EXPECT_EQ(payloads[3].substr(9), std::string("\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x60\x40", 18));
}

TEST(tensorboard, points_are_on_disk_before_finish) {
  const TemporaryFolder run;
  Logger logger("tensorboard", run.path());
  for (int step = 1; step <= 10; ++step) logger.metrics(step, {{"loss", 1}});
  EXPECT_EQ(records(event_files(run.path())[0]).size(), 12u);
}

TEST(tensorboard, each_part_of_a_run_has_its_own_later_file) {
  const TemporaryFolder run;
  std::vector<fs::path> made;
  for (int part = 0; part < 3; ++part) {
    Logger logger("tensorboard", run.path());
    for (const fs::path& file : event_files(run.path()))
      if (std::find(made.begin(), made.end(), file) == made.end()) made.push_back(file);
  }
  EXPECT_EQ(made, event_files(run.path()));
}

TEST(tensorboard, is_read_by_tensorboard_and_a_resumed_run_purges_what_it_repeats) {
  const char* chosen = std::getenv("NEMO_TEST_PYTHON");
  const std::string python = chosen == nullptr ? "python3" : chosen;
  if (std::system((python + " -c 'import tensorboard' > /dev/null 2>&1").c_str()) != 0)
    GTEST_SKIP() << python << " has no tensorboard; set NEMO_TEST_PYTHON to one that has";
  const TemporaryFolder run;
  {
    Logger logger("tensorboard", run.path());
    for (int step = 1; step <= 10; ++step) logger.metrics(step, {{"loss", 10.0 - step}, {"lr", 0.5}});
  }
  Logger logger("tensorboard", run.path(), {.first_step = 8});
  for (int step = 8; step <= 12; ++step) logger.metrics(step, {{"loss", 100.0 + step}, {"nan", NAN}});
  logger.finish();
  const std::string script = NEMO_SOURCE_DIR "/tests/loggers/read_with_tensorboard.py";
  EXPECT_EQ(std::system((python + " " + script + " " + (run.path() / "tensorboard").string()).c_str()), 0);
}

TEST(tensorboard, folder_that_cannot_be_made_is_an_error_with_file_and_reason) {
  const TemporaryFolder run;
  write(run.path() / "tensorboard", "a file");
  try {
    Logger logger("tensorboard", run.path());
    FAIL();
  } catch (const PluginError& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr((run.path() / "tensorboard").string()), HasSubstr("cannot")));
  }
}

TEST(tensorboard, full_disk_is_an_error_with_file_and_reason) {
  const TemporaryFolder run;
  Logger logger("tensorboard", run.path());
  with_file_size_limit(100, [&] {
    try {
      for (int step = 1; step < 100; ++step) logger.metrics(step, {{"loss", 1}});
      ADD_FAILURE() << "the limit was not met";
    } catch (const PluginError& e) {
      EXPECT_THAT(e.what(), AllOf(HasSubstr("events.out.tfevents."), HasSubstr("File too large")));
    }
  });
}

}  // namespace
}  // namespace nemo::test
