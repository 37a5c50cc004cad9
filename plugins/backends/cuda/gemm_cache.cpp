#include "gemm_cache.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <sstream>

namespace nemo::cuda {

namespace {

constexpr size_t kWords = sizeof(cublasLtMatmulAlgo_t::data) / sizeof(uint64_t);

std::string cache_folder() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg != 0) return std::string(xdg) + "/nemo-host";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != 0) return std::string(home) + "/.cache/nemo-host";
  return {};
}

}  // namespace

GemmCache::GemmCache(const std::string& name) {
  const std::string folder = cache_folder();
  if (folder.empty()) return;
  path_ = folder + "/" + name;
  std::ifstream file(path_);
  for (std::string line; std::getline(file, line);) {
    const size_t tab = line.find('\t');
    if (tab == std::string::npos) continue;
    std::istringstream words(line.substr(tab + 1));
    cublasLtMatmulAlgo_t algo{};
    for (size_t i = 0; i < kWords; ++i) words >> std::hex >> algo.data[i];
    if (!words.fail()) found_[line.substr(0, tab)] = algo;
  }
}

std::optional<cublasLtMatmulAlgo_t> GemmCache::find(const std::string& key) const {
  const auto it = found_.find(key);
  if (it == found_.end()) return std::nullopt;
  return it->second;
}

void GemmCache::add(const std::string& key, const cublasLtMatmulAlgo_t& algo) {
  found_[key] = algo;
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
  std::ostringstream line;
  line << key << '\t' << std::hex;
  for (size_t i = 0; i < kWords; ++i) line << (i ? " " : "") << algo.data[i];
  line << '\n';
  // One short write in append mode: lines of several processes do not mix.
  std::ofstream(path_, std::ios::app) << line.str() << std::flush;
}

}  // namespace nemo::cuda
