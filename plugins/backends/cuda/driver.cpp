#include "driver.hpp"

#include <cuda_runtime_api.h>

#include "cublaslt.hpp"

namespace nemo::cuda {

namespace {

std::string version_text(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

Machine look() {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return {{}, "no NVIDIA driver"};
  if (driver / 1000 < CUDART_VERSION / 1000)
    return {{}, "driver too old for CUDA " + version_text(CUDART_VERSION) + ": it serves CUDA " + version_text(driver)};
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess || count == 0) {
    cudaGetLastError();
    return {{}, std::string("no usable NVIDIA GPU: ") + (status == cudaSuccess ? "none found" : cudaGetErrorString(status))};
  }
  Machine m;
  for (int i = 0; i < count; ++i) {
    int major = 0, minor = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i) != cudaSuccess) continue;
    if (cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, i) != cudaSuccess) continue;
    if (major == 9 && minor == 0)
      m.ordinals.push_back(i);
    else
      m.reason = "the GPU has compute capability " + std::to_string(major) + "." + std::to_string(minor) + ", this plugin is built for 9.0";
  }
  if (m.ordinals.empty()) return m;
  if (const std::string missing = CublasLt::missing(); !missing.empty()) return {{}, missing};
  m.reason.clear();
  return m;
}

}  // namespace

const Machine& machine() {
  static const Machine found = look();
  return found;
}

}  // namespace nemo::cuda
