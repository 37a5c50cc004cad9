// Random Unicode texts against the tokenizers library itself, run by NEMO_TEST_PYTHON; skips without it.
#include <unistd.h>

#include <cstdio>

#include "core/text/hf/hf_tokenizer.hpp"
#include "core/text/utf8.hpp"
#include "tests/text/golden_files.hpp"

namespace nemo::text::hf {
namespace {

std::string output_of(const std::string& command) {
  std::string out;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return out;
  char buffer[1 << 16];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
  pclose(pipe);
  return out;
}

// Where the library can run: its Python; nothing: skip.
const char* python_with_library() {
  const char* python = std::getenv("NEMO_TEST_PYTHON");
  const bool has = python != nullptr && std::system(("'" + std::string(python) + "' -c 'import tokenizers' 2>/dev/null").c_str()) == 0;
  return has ? python : nullptr;
}

std::string shown(const Encoding& e) {
  return "\n  ids " + ::testing::PrintToString(e.ids) + "\n  offsets " + ::testing::PrintToString(e.offsets) + "\n  tokens " +
         nlohmann::json(e.tokens).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Encodes and decodes `count` random texts; gives back how many there were.
int compare(const std::string& python, const std::filesystem::path& folder, int count, int seed) {
  const std::string file = (folder / "tokenizer.json").string();
  const auto loaded = load_huggingface(file);
  const auto& t = dynamic_cast<const HfTokenizer&>(*loaded);
  std::istringstream lines(output_of("'" + python + "' '" + NEMO_SOURCE_DIR + "/tests/interop/random_texts.py' '" + file + "' " +
                                     std::to_string(count) + " " + std::to_string(seed)));
  int wrong = 0, compared = 0;
  for (std::string line; std::getline(lines, line) && wrong < 3; ++compared) {
    const auto row = nlohmann::json::parse(line);
    const auto text = row["text"].get<std::string>();
    const Encoding e = t.encode_all(text, std::nullopt, Specials::kAdd);
    const bool same_encoding = e.ids == ids_of(row["ids"]) && e.offsets == spans_of(row["offsets"]) &&
                               e.tokens == row["tokens"].get<std::vector<std::string>>() && t.encode(text) == ids_of(row["plain"]);
    const std::string decoded = t.decode(ids_of(row["ids"])),
                      skipped = replace_invalid_utf8(t.decode_text(ids_of(row["ids"]), Shown::kWithoutSpecials));
    if (same_encoding && decoded == row["decoded"].get<std::string>() && skipped == row["skipped"].get<std::string>()) continue;
    ++wrong;
    ADD_FAILURE() << folder.filename() << " " << row["text"].dump(-1, ' ', true) << shown(e) << "\n  decoded " << nlohmann::json(decoded)
                  << "\nbut\n  ids " << row["ids"] << "\n  offsets " << row["offsets"] << "\n  tokens " << row["tokens"] << "\n  plain "
                  << row["plain"] << "\n  decoded " << row["decoded"];
  }
  return compared;
}

int texts_each(int otherwise) {
  const char* wanted = std::getenv("NEMO_RANDOM_TEXTS");
  return wanted != nullptr ? std::atoi(wanted) : otherwise;
}

TEST(RandomTexts, ids_offsets_and_text_are_those_of_the_library) {
  const char* python = python_with_library();
  if (python == nullptr) GTEST_SKIP() << "NEMO_TEST_PYTHON is not set or has no package `tokenizers`; ./dev test makes one that has";
  int seed = 0, compared = 0;
  for (const auto& folder : golden_folders("tokenizer.json")) compared += compare(python, folder, texts_each(720), ++seed);
  EXPECT_GE(compared, 14 * texts_each(720));  // 10,000
}

TEST(RandomTexts, every_kind_of_part_does_what_the_library_does) {
  const char* python = python_with_library();
  if (python == nullptr) GTEST_SKIP() << "NEMO_TEST_PYTHON is not set or has no package `tokenizers`; ./dev test makes one that has";
  const auto dir = std::filesystem::path(::testing::TempDir()) / ("nemo_varied_" + std::to_string(::getpid()));
  std::filesystem::remove_all(dir);
  (void)output_of("'" + std::string(python) + "' '" + NEMO_SOURCE_DIR + "/tests/interop/varied_tokenizers.py' '" + goldens_root().string() +
                  "' '" + dir.string() + "'");
  int seed = 1000, kinds = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    EXPECT_EQ(compare(python, entry.path(), texts_each(60), ++seed), texts_each(60)) << entry.path();
    ++kinds;
  }
  EXPECT_GT(kinds, 60);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace nemo::text::hf
