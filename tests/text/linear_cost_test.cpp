// The cost of a text grows with its length, also where it is one long word.
#include <ctime>

#include "tests/text/golden_files.hpp"

namespace nemo::text {
namespace {

double seconds(const Tokenizer& t, const std::string& text) {
  double best = 1e30;
  for (int i = 0; i < 2; ++i) {
    timespec a{}, b{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    (void)t.encode(text);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    best = std::min(best, static_cast<double>(b.tv_sec - a.tv_sec) + 1e-9 * static_cast<double>(b.tv_nsec - a.tv_nsec));
  }
  return best;
}

TEST(TokenizerCost, is_linear_in_one_letter_and_in_spaces) {
  for (const char* name : {"gpt2", "llama3", "llama2", "gemma", "o200k", "deepseek", "t5_unigram", "bert_uncased", "tiktoken"}) {
    const auto t = load_tokenizer(goldens_root() / name);
    for (const char c : {'a', ' ', '\n', '1', '-'}) {
      const size_t n = 1 << 14;
      const double once = seconds(*t, std::string(n, c)), eight = seconds(*t, std::string(8 * n, c));
      EXPECT_LT(eight, 24 * once + 0.01) << name << " '" << c << "'";  // quadratic would be 64
    }
  }
}

}  // namespace
}  // namespace nemo::text
