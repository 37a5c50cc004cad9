// The algorithms that earlier runs found, in a text file per cuBLASLt version and device model: one line per product, its key, a tab, and
// the algorithm's opaque words in hex. Unreadable lines are passed over: the worst case is a new search.
#pragma once

#include <cublasLt.h>

#include <map>
#include <optional>
#include <string>

namespace nemo::cuda {

class GemmCache {
 public:
  // The file $XDG_CACHE_HOME/nemo-host/NAME, else $HOME/.cache/nemo-host/NAME; without either nothing is kept.
  explicit GemmCache(const std::string& name);
  std::optional<cublasLtMatmulAlgo_t> find(const std::string& key) const;
  void add(const std::string& key, const cublasLtMatmulAlgo_t& algo);

 private:
  std::string path_;
  std::map<std::string, cublasLtMatmulAlgo_t> found_;
};

}  // namespace nemo::cuda
