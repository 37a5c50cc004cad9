#include "cublaslt.hpp"

#include <dlfcn.h>

#include "nemo/cpp/core.hpp"

namespace nemo::cuda {

namespace {

constexpr const char* kName = "libcublasLt.so.13";

struct Opened {
  CublasLt table;
  std::string missing;
};

Opened open_library() {
  Opened o;
  void* library = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) library = dlopen("/usr/local/cuda/lib64/libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    o.missing = std::string(kName) + " not found; put its folder on LD_LIBRARY_PATH";
    return o;
  }
#define NEMO_LOAD(name)                                                      \
  o.table.name = reinterpret_cast<decltype(&::name)>(dlsym(library, #name)); \
  if (o.table.name == nullptr) o.missing = std::string(kName) + " has no function " #name;
  NEMO_CUBLASLT_FUNCTIONS(NEMO_LOAD)
#undef NEMO_LOAD
  return o;
}

const Opened& opened() {
  static const Opened o = open_library();
  return o;
}

}  // namespace

std::string CublasLt::missing() { return opened().missing; }

const CublasLt& CublasLt::get() {
  if (!opened().missing.empty()) throw sdk::Error(NEMO_CODE_NOT_FOUND, "cuda backend: " + opened().missing);
  return opened().table;
}

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw sdk::Error(NEMO_CODE_DEVICE_ERROR, std::string("cuda backend: ") + what + ": cuBLASLt status " + std::to_string(status));
}

}  // namespace nemo::cuda
