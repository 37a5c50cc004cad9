#include "cudnn_library.hpp"

#include <dlfcn.h>

#include "nemo/cpp/core.hpp"

namespace nemo::cuda {

template <class F>
void Cudnn::find(F& function, const char* name) {
  function = reinterpret_cast<F>(dlsym(library_, name));
  if (function == nullptr) throw sdk::Error(NEMO_CODE_UNSUPPORTED, std::string("libcudnn.so.9 has no function ") + name);
}

std::shared_ptr<Cudnn> Cudnn::open() {
  std::shared_ptr<Cudnn> cudnn(new Cudnn);
  cudnn->library_ = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
  if (cudnn->library_ == nullptr)
    throw sdk::Error(NEMO_CODE_UNSUPPORTED, std::string("cuDNN cannot be loaded (") + dlerror() + "); put its folder on LD_LIBRARY_PATH");
  decltype(&cudnnGetVersion) version = nullptr;
  decltype(&cudnnCreate) create = nullptr;
  cudnn->find(version, "cudnnGetVersion");
  cudnn->find(create, "cudnnCreate");
  cudnn->find(cudnn->destroy_, "cudnnDestroy");
  cudnn->find(cudnn->last_error_, "cudnnGetLastErrorString");
  cudnn->find(cudnn->set_stream, "cudnnSetStream");
  cudnn->find(cudnn->create_descriptor, "cudnnBackendCreateDescriptor");
  cudnn->find(cudnn->destroy_descriptor, "cudnnBackendDestroyDescriptor");
  cudnn->find(cudnn->finalize, "cudnnBackendFinalize");
  cudnn->find(cudnn->set_attribute, "cudnnBackendSetAttribute");
  cudnn->find(cudnn->get_attribute, "cudnnBackendGetAttribute");
  cudnn->find(cudnn->execute, "cudnnBackendExecute");
  cudnn->version_ = version();
  // The graphs here follow what 9.11 and later expect; older ones want the accumulators cleared and other mask values.
  if (cudnn->version_ < 91100)
    throw sdk::Error(NEMO_CODE_UNSUPPORTED, "cuDNN " + std::to_string(cudnn->version_) + " is too old; 9.11 or newer is needed");
  cudnn->check(create(&cudnn->handle_), "cudnnCreate");
  return cudnn;
}

// The library stays loaded: its exit handlers run at the end of the process.
Cudnn::~Cudnn() {
  if (handle_ != nullptr) destroy_(handle_);
}

void Cudnn::check(cudnnStatus_t status, const char* what) const {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char words[512] = {};
  last_error_(words, sizeof words);
  const bool unsupported = CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED || CUDNN_STATUS_CATEGORY(status) == 2000;
  throw sdk::Error(unsupported ? NEMO_CODE_UNSUPPORTED : NEMO_CODE_DEVICE_ERROR,
                   std::string("cuDNN: ") + what + ": status " + std::to_string(status) + ": " + words);
}

}  // namespace nemo::cuda
