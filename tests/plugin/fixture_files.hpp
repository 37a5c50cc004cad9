// tests/plugin/fixture_files.hpp - folders that a test fills with fixture libraries.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace nemo::plugin {

inline std::filesystem::path fixture(const std::string& name) { return std::filesystem::path(PLUGIN_FIXTURES) / (name + ".so"); }

inline std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A new folder that only its owner may write to; removed with everything in it.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "nemo_plugin_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = std::filesystem::canonical(pattern);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path_ / name;
  }
  std::filesystem::path copy(const std::string& fixture_name, const std::string& as = "") const {
    const auto to = path_ / ((as.empty() ? fixture_name : as) + ".so");
    std::filesystem::copy_file(fixture(fixture_name), to);
    return to;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace nemo::plugin
