#include "documents.hpp"

#include <glob.h>
#include <sys/stat.h>

#include "nemo/cpp/mapped_file.hpp"

namespace nemo::text_data {
namespace {

using sdk::Error;

struct stat file_status(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) status.st_mode = 0;
  return status;
}

void add_matches(const std::string& pattern, std::vector<std::string>& files) {
  glob_t found{};
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
    for (size_t i = 0; i < found.gl_pathc; ++i)
      if (S_ISREG(file_status(found.gl_pathv[i]).st_mode)) files.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
}

size_t total_bytes(const std::vector<std::string>& files) {
  size_t bytes = 0;
  for (const std::string& file : files) bytes += static_cast<size_t>(file_status(file).st_size);
  return bytes;
}

template <class Take>
void for_each_document(std::string_view text, const std::string& separator, Take&& take) {
  while (!text.empty()) {
    const size_t end = separator.empty() ? std::string_view::npos : text.find(separator);
    const std::string_view document = text.substr(0, end);
    if (!document.empty()) take(document);
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + separator.size());
  }
}

}  // namespace

std::vector<std::string> find_files(const std::vector<std::string>& patterns, const std::string& setting) {
  std::vector<std::string> files;
  for (const std::string& pattern : patterns) {
    const mode_t mode = file_status(pattern).st_mode;
    if (S_ISDIR(mode))
      throw Error(NEMO_CODE_NOT_FOUND, "'" + pattern + "' is a folder; name its files, as in '" + pattern + "/*.txt'")
          .with("path", setting);
    const size_t before = files.size();
    if (mode != 0)
      files.push_back(pattern);
    else
      add_matches(pattern, files);
    if (files.size() == before)
      throw Error(NEMO_CODE_NOT_FOUND, "no file matches '" + pattern + "' (relative paths start at the current folder)")
          .with("path", setting)
          .with("file", pattern);
  }
  if (files.empty()) throw Error(NEMO_CODE_NOT_FOUND, "the list of text files is empty").with("path", setting);
  if (total_bytes(files) == 0)
    throw Error(NEMO_CODE_NOT_FOUND,
                files.size() == 1 ? "'" + files[0] + "' is empty"
                                  : "all " + std::to_string(files.size()) + " text files are empty, '" + files[0] + "' the first of them")
        .with("path", setting)
        .with("file", files[0]);
  return files;
}

void for_each_text(const std::vector<std::string>& files, const std::function<void(std::string_view)>& take) {
  for (const std::string& file : files) {
    const sdk::MappedFile mapped(file);
    mapped.read_ahead();
    if (mapped.size() > 0) take(mapped.view());
  }
}

TokenRow::TokenRow(int64_t vocab_size, size_t expected) : narrow_(vocab_size <= 65536) {
  if (narrow_)
    small_.reserve(expected);
  else
    large_.reserve(expected);
}

void TokenRow::append(const int32_t* ids, size_t n) {
  if (narrow_)
    small_.insert(small_.end(), ids, ids + n);
  else
    large_.insert(large_.end(), ids, ids + n);
}

void TokenRow::copy(int64_t from, int64_t n, int32_t* out) const {
  if (narrow_)
    std::copy_n(small_.begin() + from, n, out);
  else
    std::copy_n(large_.begin() + from, n, out);
}

TokenRow tokenize(const std::vector<std::string>& files, const sdk::TokenizerView& tokenizer, const std::string& separator) {
  const auto eos = static_cast<int32_t>(tokenizer.eos());
  // No tokenizer of the host makes more tokens than bytes; what is reserved but never written takes no memory.
  TokenRow row(tokenizer.vocab_size(), total_bytes(files) + files.size());
  for_each_text(files, [&](std::string_view text) {
    for_each_document(text, separator, [&](std::string_view document) {
      tokenizer.encode(document, [&](const int32_t* ids, size_t n) { row.append(ids, n); });
      if (eos >= 0) row.append(&eos, 1);
    });
    if (sdk::cancelled()) throw Error(NEMO_CODE_CANCELLED, "stopped while the text was tokenised");
  });
  return row;
}

}  // namespace nemo::text_data
