// nemo/cpp/text_files.hpp - text files named by paths and globs, and the documents in them.
#pragma once

#include <glob.h>
#include <sys/stat.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "nemo/cpp/mapped_file.hpp"

namespace nemo::sdk {
inline namespace v1 {

namespace text_files {

inline struct stat file_status(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) status.st_mode = 0;
  return status;
}

inline void add_matches(const std::string& pattern, std::vector<std::string>& files) {
  glob_t found{};
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
    for (size_t i = 0; i < found.gl_pathc; ++i)
      if (S_ISREG(file_status(found.gl_pathv[i]).st_mode)) files.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
}

inline size_t total_bytes(const std::vector<std::string>& files) {
  size_t bytes = 0;
  for (const std::string& file : files) bytes += static_cast<size_t>(file_status(file).st_size);
  return bytes;
}

}  // namespace text_files

// Calls take(document) for what `separator` cuts the text into; an empty one leaves it whole.
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

// The files that the paths and globs name, each pattern's in order of name. A pattern that names none, or files that are
// all empty, is NEMO_CODE_NOT_FOUND; `setting` is its setting.
[[nodiscard]] inline std::vector<std::string> find_files(const std::vector<std::string>& patterns, const std::string& setting) {
  std::vector<std::string> files;
  for (const std::string& pattern : patterns) {
    const mode_t mode = text_files::file_status(pattern).st_mode;
    if (S_ISDIR(mode))
      throw Error(NEMO_CODE_NOT_FOUND, "'" + pattern + "' is a folder; name its files, as in '" + pattern + "/*.txt'")
          .with("path", setting);
    const size_t before = files.size();
    if (mode != 0)
      files.push_back(pattern);
    else
      text_files::add_matches(pattern, files);
    if (files.size() == before)
      throw Error(NEMO_CODE_NOT_FOUND, "no file matches '" + pattern + "' (relative paths start at the current folder)")
          .with("path", setting)
          .with("file", pattern);
  }
  if (files.empty()) throw Error(NEMO_CODE_NOT_FOUND, "the list of text files is empty").with("path", setting);
  if (text_files::total_bytes(files) == 0)
    throw Error(NEMO_CODE_NOT_FOUND,
                files.size() == 1 ? "'" + files[0] + "' is empty"
                                  : "all " + std::to_string(files.size()) + " text files are empty, '" + files[0] + "' the first of them")
        .with("path", setting)
        .with("file", files[0]);
  return files;
}

// Calls take(whole text) for each file that is not empty.
inline void for_each_text(const std::vector<std::string>& files, const std::function<void(std::string_view)>& take) {
  for (const std::string& file : files) {
    const MappedFile mapped(file);
    mapped.read_ahead();
    if (mapped.size() > 0) take(mapped.view());
  }
}

}  // namespace v1
}  // namespace nemo::sdk
