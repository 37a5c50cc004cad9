// Tokenizes a text with each tokenizer given and prints MB per second of CPU time and, where NEMO_TEST_PYTHON can import `tokenizers`, the
// ratio to that library on one thread, on the same text in the same run. usage: bench_tokenize [TEXT [tokenizer.json ...]]
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/text/tokenizer.hpp"

namespace {

// CPU time of this thread: other programs on the machine do not count.
double now() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

std::string read(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Best of three, in seconds of CPU time.
double time_of(const nemo::text::Tokenizer& t, const std::string& text) {
  double best = 1e30;
  for (int i = 0; i < 3; ++i) {
    const double start = now();
    size_t n = 0;
    t.encode_to(text, [&](std::span<const int32_t> ids) { n += ids.size(); });
    best = std::min(best, now() - start);
  }
  return best;
}

// The library's own time on the same file; negative: not available.
double library_time(const std::string& tokenizer, const std::string& text_file) {
  const char* python = std::getenv("NEMO_TEST_PYTHON");
  if (python == nullptr) return -1;
  const std::string command = "TOKENIZERS_PARALLELISM=false RAYON_NUM_THREADS=1 '" + std::string(python) +
                              "' -c 'import sys, time\n"
                              "from tokenizers import Tokenizer\n"
                              "t = Tokenizer.from_file(sys.argv[1]); s = open(sys.argv[2], newline=\"\").read(); b = 1e30\n"
                              "for i in range(3):\n"
                              "    a = time.process_time(); t.encode(s, add_special_tokens=False); b = min(b, time.process_time() - a)\n"
                              "print(b)' '" +
                              tokenizer + "' '" + text_file + "' 2>/dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  double seconds = -1;
  if (pipe == nullptr) return -1;
  if (std::fscanf(pipe, "%lf", &seconds) != 1) seconds = -1;
  pclose(pipe);
  return seconds;
}

void row(const std::string& name, const std::string& text, double ours, double library) {
  std::printf("%-28s %8.1f MB %9.1f MB/s", name.c_str(), static_cast<double>(text.size()) / 1e6,
              static_cast<double>(text.size()) / 1e6 / ours);
  if (library > 0) std::printf(" %9.1f MB/s %6.1f x", static_cast<double>(text.size()) / 1e6 / library, library / ours);
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string text_file = argc > 1 ? argv[1] : NEMO_SOURCE_DIR "/host/data/tinyshakespeare.txt";
  std::vector<std::string> tokenizers(argv + std::min(argc, 2), argv + argc);
  const std::string goldens = NEMO_SOURCE_DIR "/tests/golden/tokenizers/";
  if (tokenizers.empty())
    for (const char* name : {"gpt2", "llama3", "llama2", "qwen2", "gemma", "t5_unigram", "bert_uncased"})
      tokenizers.push_back(goldens + name + "/tokenizer.json");
  const std::string text = read(text_file);
  std::printf("%-28s %11s %14s %14s\n", "tokenizer", "text", "nemo-host", "tokenizers");
  for (const std::string& file : tokenizers) {
    const auto t = nemo::text::load_tokenizer(file);
    const std::filesystem::path path(file);
    const std::string name = path.filename() == "tokenizer.json" ? path.parent_path().filename().string() : path.filename().string();
    row(name, text, time_of(*t, text), library_time(file, text_file));
    for (const size_t n : {size_t{1} << 20, size_t{2} << 20}) {
      row("  one letter", std::string(n, 'a'), time_of(*t, std::string(n, 'a')), -1);
      row("  spaces", std::string(n, ' '), time_of(*t, std::string(n, ' ')), -1);
    }
  }
}
