// plugins/data/denoising/corpus.hpp - documents made of sentences made of token ids, end to end: text that is tokenised when opened, or
// Megatron .bin/.idx files, memory-mapped.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nemo/cpp/data.hpp"
#include "nemo/cpp/indexed_dataset.hpp"

namespace nemo::denoising {

// How text is cut.
struct Cut {
  bool lines = false;     // true: a line is a sentence, an empty line ends a document; false: a document is one sentence
  std::string separator;  // where not lines: text between documents; empty: a file is a document
  int32_t end = -1;       // where not lines: id behind each document; -1: none
};

// Immutable; any thread may read.
class Corpus {
 public:
  static Corpus of_text(const std::vector<std::string>& files, const sdk::TokenizerView& tokenizer, const Cut& cut);
  // Prefixes (paths without .bin/.idx); a sequence is a sentence.
  static Corpus of_indexed(const std::vector<std::string>& prefixes);

  [[nodiscard]] int64_t tokens() const { return sentences_.back(); }
  [[nodiscard]] int64_t num_sentences() const { return static_cast<int64_t>(sentences_.size()) - 1; }
  [[nodiscard]] int64_t num_documents() const { return static_cast<int64_t>(documents_.size()) - 1; }
  // Of documents 0 .. num_documents(): the first sentence, or the number of sentences.
  [[nodiscard]] int64_t first_sentence(int64_t document) const { return documents_[static_cast<size_t>(document)]; }
  // Of sentences 0 .. num_sentences(): the place of the first token, or the number of tokens.
  [[nodiscard]] int64_t first_token(int64_t sentence) const { return sentences_[static_cast<size_t>(sentence)]; }
  // Tokens [from, from + n), over the borders of sentences.
  void read(int64_t from, int64_t n, int32_t* out) const;

 private:
  void end_sentence(int64_t tokens);
  void end_document();
  void add_lines(std::string_view text, const sdk::TokenizerView& tokenizer);
  std::vector<int64_t> sentences_{0}, documents_{0};
  std::vector<int32_t> text_;
  struct Part {
    std::shared_ptr<const sdk::IndexedDataset> file;
    int64_t first = 0;  // its first sequence is this sentence
  };
  std::vector<Part> parts_;
};

}  // namespace nemo::denoising
