// Random Unicode texts against the tokenizers library itself, run by NEMO_TEST_PYTHON; skips without it.
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

TEST(RandomTexts, ids_offsets_and_text_are_those_of_the_library) {
  const char* python = std::getenv("NEMO_TEST_PYTHON");
  if (python == nullptr) GTEST_SKIP() << "NEMO_TEST_PYTHON is not set; ./dev test sets it";
  if (std::system(("'" + std::string(python) + "' -c 'import tokenizers' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << "NEMO_TEST_PYTHON has no package `tokenizers`";
  const char* wanted = std::getenv("NEMO_RANDOM_TEXTS");
  const int per_tokenizer = wanted != nullptr ? std::atoi(wanted) : 720;  // 10,000 in all
  int seed = 0, compared = 0;
  for (const auto& folder : golden_folders("tokenizer.json")) {
    const std::string file = (folder / "tokenizer.json").string();
    const auto loaded = load_huggingface(file);
    const auto& t = dynamic_cast<const HfTokenizer&>(*loaded);
    std::istringstream lines(output_of("'" + std::string(python) + "' '" + NEMO_SOURCE_DIR + "/tests/interop/random_texts.py' '" + file +
                                       "' " + std::to_string(per_tokenizer) + " " + std::to_string(++seed)));
    int wrong = 0;
    for (std::string line; std::getline(lines, line) && wrong < 5; ++compared) {
      const auto row = nlohmann::json::parse(line);
      const auto text = row["text"].get<std::string>();
      const Encoding e = t.encode_all(text, std::nullopt, Specials::kAdd);
      const bool same = e.ids == ids_of(row["ids"]) && e.offsets == spans_of(row["offsets"]) &&
                        e.tokens == row["tokens"].get<std::vector<std::string>>() && t.encode(text) == ids_of(row["plain"]) &&
                        t.decode(e.ids) == row["decoded"].get<std::string>() &&
                        replace_invalid_utf8(t.decode_text(e.ids, Shown::kWithoutSpecials)) == row["skipped"].get<std::string>();
      if (same) continue;
      ++wrong;
      ADD_FAILURE() << folder.filename() << " " << row["text"].dump(-1, ' ', true) << "\n  ids " << ::testing::PrintToString(e.ids)
                    << "\n   of " << row["ids"] << "\n  offsets " << ::testing::PrintToString(e.offsets) << "\n   of " << row["offsets"]
                    << "\n  tokens " << row["tokens"] << "\n  decoded " << nlohmann::json(t.decode(e.ids)).dump() << "\n   of "
                    << row["decoded"];
    }
  }
  EXPECT_GE(compared, 14 * per_tokenizer);
}

}  // namespace
}  // namespace nemo::text::hf
