// cuDNN's C backend, opened at run time: there is no link dependency. One handle per device, used by one thread at a time.
#pragma once

#include <cudnn_graph.h>

#include <memory>
#include <string>

namespace nemo::cuda {

class Cudnn {
 public:
  // Throws sdk::Error (UNSUPPORTED) where the library cannot be loaded, is older than 9.11, or cannot use the current device.
  static std::shared_ptr<Cudnn> open();
  ~Cudnn();
  Cudnn(const Cudnn&) = delete;
  Cudnn& operator=(const Cudnn&) = delete;

  cudnnHandle_t handle() const { return handle_; }
  size_t version() const { return version_; }
  // Throws sdk::Error: UNSUPPORTED where cuDNN says that it does not do this, DEVICE_ERROR otherwise, with cuDNN's own words.
  void check(cudnnStatus_t status, const char* what) const;

  decltype(&cudnnSetStream) set_stream = nullptr;
  decltype(&cudnnBackendCreateDescriptor) create_descriptor = nullptr;
  decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor = nullptr;
  decltype(&cudnnBackendFinalize) finalize = nullptr;
  decltype(&cudnnBackendSetAttribute) set_attribute = nullptr;
  decltype(&cudnnBackendGetAttribute) get_attribute = nullptr;
  decltype(&cudnnBackendExecute) execute = nullptr;

 private:
  Cudnn() = default;
  template <class F>
  void find(F& function, const char* name);

  void* library_ = nullptr;
  cudnnHandle_t handle_ = nullptr;
  size_t version_ = 0;
  decltype(&cudnnGetLastErrorString) last_error_ = nullptr;
  decltype(&cudnnDestroy) destroy_ = nullptr;
};

}  // namespace nemo::cuda
