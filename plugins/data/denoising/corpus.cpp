#include "corpus.hpp"

#include <algorithm>

#include "nemo/cpp/text_files.hpp"

namespace nemo::denoising {

void Corpus::end_sentence(int64_t tokens) {
  if (tokens > sentences_.back()) sentences_.push_back(tokens);
}

void Corpus::end_document() {
  if (num_sentences() > documents_.back()) documents_.push_back(num_sentences());
}

void Corpus::add_lines(std::string_view text, const sdk::TokenizerView& tokenizer) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos) {
      end_document();
      continue;
    }
    tokenizer.encode(line, [&](const int32_t* ids, size_t n) { text_.insert(text_.end(), ids, ids + n); });
    end_sentence(static_cast<int64_t>(text_.size()));
  }
}

Corpus Corpus::of_text(const std::vector<std::string>& files, const sdk::TokenizerView& tokenizer, const Cut& cut) {
  Corpus corpus;
  sdk::for_each_text(files, [&](std::string_view text) {
    if (cut.lines) {
      corpus.add_lines(text, tokenizer);
    } else {
      sdk::for_each_document(text, cut.separator, [&](std::string_view document) {
        tokenizer.encode(document, [&](const int32_t* ids, size_t n) { corpus.text_.insert(corpus.text_.end(), ids, ids + n); });
        if (cut.end >= 0) corpus.text_.push_back(cut.end);
        corpus.end_sentence(static_cast<int64_t>(corpus.text_.size()));
        corpus.end_document();
      });
    }
    corpus.end_document();
    if (sdk::cancelled()) throw sdk::Error(NEMO_CODE_CANCELLED, "stopped while the text was tokenised");
  });
  return corpus;
}

Corpus Corpus::of_indexed(const std::vector<std::string>& prefixes) {
  Corpus corpus;
  for (const std::string& prefix : prefixes) {
    auto file = std::make_shared<const sdk::IndexedDataset>(prefix);
    const int64_t first = corpus.num_sentences();
    for (int64_t i = 0; i < file->num_sequences(); ++i) corpus.sentences_.push_back(corpus.tokens() + file->length(i));
    for (int64_t d = 1; d <= file->num_documents(); ++d)
      if (const int64_t end = first + file->document_index(d); end > corpus.documents_.back()) corpus.documents_.push_back(end);
    corpus.parts_.push_back({std::move(file), first});
  }
  return corpus;
}

void Corpus::read(int64_t from, int64_t n, int32_t* out) const {
  if (parts_.empty()) {
    std::copy_n(text_.begin() + from, n, out);
    return;
  }
  int64_t sentence = std::upper_bound(sentences_.begin(), sentences_.end(), from) - sentences_.begin() - 1;
  while (n > 0) {
    const auto part =
        std::prev(std::upper_bound(parts_.begin(), parts_.end(), sentence, [](int64_t s, const Part& p) { return s < p.first; }));
    const int64_t offset = from - first_token(sentence), count = std::min(n, first_token(sentence + 1) - from);
    part->file->read(sentence - part->first, offset, count, out);
    from += count, out += count, n -= count, ++sentence;
  }
}

}  // namespace nemo::denoising
