// No bytes, however broken, do more than raise an error: deterministic mutations of valid files, under sanitizers as well.
#include <cstdlib>
#include <random>

#include <gtest/gtest.h>

#include "core/hub/import.hpp"
#include "core/hub/safetensors.hpp"
#include "tests/hub/files.hpp"

namespace nemo::hub_test {
namespace {

using Random = std::mt19937_64;

// NEMO_FUZZ_SEED = N tries other mutations than the tests' own.
Random seeded(uint64_t own) {
  const char* more = std::getenv("NEMO_FUZZ_SEED");
  return Random(own + (more == nullptr ? 0 : 1000 * std::strtoull(more, nullptr, 10)));
}

size_t below(Random& random, size_t n) { return n == 0 ? 0 : static_cast<size_t>(random() % n); }

// Flips, inserts, removes, doubles or replaces a few pieces; more often than not in the first `head` bytes.
std::string mutated(std::string bytes, Random& random, size_t head) {
  static const char* const kPieces[] = {"0",       "-1", "18446744073709551615", "[", "]", "{", "}", "\"", ",", "Infinity", "1e400", "null",
                                        "\\u0000", "F16"};
  for (size_t i = 0, n = 1 + below(random, 4); i < n && !bytes.empty(); ++i) {
    const size_t at = below(random, random() % 4 == 0 ? bytes.size() : std::min(bytes.size(), head));
    const size_t length = std::min(bytes.size() - at, 1 + below(random, 12));
    switch (random() % 6) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes.erase(at, length);
        break;
      case 2:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 3:
        bytes.insert(at, kPieces[below(random, std::size(kPieces))]);
        break;
      case 4:
        bytes.replace(at, length, kPieces[below(random, std::size(kPieces))]);
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

// Reads every byte of what was accepted, so that a wrong range is seen by the sanitizer.
uint64_t touch(const hub::SafetensorsFile& file) {
  uint64_t sum = 0;
  for (const auto& [name, tensor] : file.tensors())
    for (uint64_t i = 0; i < tensor.bytes; ++i) sum += static_cast<uint64_t>(file.data(tensor)[i]);
  return sum;
}

TEST(Mutations, of_a_safetensors_file_raise_errors_only) {
  const std::string good = safetensors(
      R"({"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}})",
      std::string(32, '\3'));
  const Folder folder;
  Random random = seeded(5);
  size_t accepted = 0;
  constexpr size_t kRounds = 4000;
  for (size_t i = 0; i < kRounds; ++i) {
    write(folder.path() / "x", mutated(good, random, good.size() - 32));
    const std::string says = fault([&] { accepted += touch(hub::SafetensorsFile(folder.path() / "x")) > 0 ? 1 : 0; });
    EXPECT_TRUE(says.empty() || says.find((folder.path() / "x").string()) == 0) << says;
  }
  EXPECT_LT(accepted, kRounds / 2);
}

TEST(Mutations, of_a_config_raise_errors_only) {
  Host host;
  const Folder folder;
  Random random = seeded(7);
  for (const char* model : {"llama3_rope_tied", "gemma2", "gpt2"}) {
    const std::string good = read(golden_folder(model) / "config.json");
    size_t refused = 0;
    for (size_t i = 0; i < 300; ++i) {
      write(folder.path() / "config.json", mutated(good, random, good.size()));
      refused += fault([&] { (void)hub::read_config(folder.path(), host.registry(), host.context.warn); }).empty() ? 0 : 1;
    }
    EXPECT_GT(refused, 50u) << model;
  }
}

TEST(Mutations, of_a_model_folder_raise_errors_and_leave_no_checkpoint) {
  Host host;
  const Folder folder;
  copy_model("llama3_rope_tied", folder.path() / "model");
  const auto file = folder.path() / "model/model.safetensors";
  const std::string good = read(file);
  uint64_t header = 0;
  std::memcpy(&header, good.data(), sizeof header);
  Random random = seeded(11);
  for (size_t i = 0; i < 60; ++i) {
    write(file, mutated(good, random, 8 + header));
    const auto to = folder.path() / "checkpoint";
    const std::string says = fault([&] {
      (void)hub::import_model({folder.path() / "model", to, kRecipe, {}}, host.registry(), host.context.warn);
    });
    EXPECT_EQ(says.empty(), std::filesystem::exists(to)) << says;
    std::filesystem::remove_all(to);
  }
}

}  // namespace
}  // namespace nemo::hub_test
