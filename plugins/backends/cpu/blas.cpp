#include "blas.hpp"

#include <dlfcn.h>

#include <cmath>
#include <cstdlib>
#include <vector>

#include "nemo/cpp/core.hpp"

namespace nemo::cpu {

namespace {

constexpr const char* kLibrary = "libopenblas.so.0";

// An environment variable for the time that OpenBLAS reads it; a value of the user's stays.
class ScopedEnvironment {
 public:
  ScopedEnvironment(const char* name, const char* value) : name_(name), set_(value != nullptr && std::getenv(name) == nullptr) {
    if (set_) setenv(name, value, 1);
  }
  ~ScopedEnvironment() {
    if (set_) unsetenv(name_);
  }
  ScopedEnvironment(const ScopedEnvironment&) = delete;
  ScopedEnvironment& operator=(const ScopedEnvironment&) = delete;

 private:
  const char* name_;
  bool set_;
};

const char* core_type(Arch arch) {
  if (arch == Arch::v4) return "SkylakeX";
  if (arch == Arch::v3 && __builtin_cpu_is("intel")) return "Haswell";
  if (arch == Arch::v3) return "Zen";
  return nullptr;
}

template <class F>
void find(void* library, const char* name, F& out) {
  out = reinterpret_cast<F>(dlsym(library, name));
  if (out == nullptr)
    throw sdk::Error(NEMO_CODE_DEVICE_ERROR, std::string("cpu backend: ") + kLibrary + " has no symbol " + name + "; it is not OpenBLAS");
}

// C = A B^T on odd sizes against the plain sum: wrong kernels for the machine must be an error, not a strange loss curve.
template <class T>
void check_product(const Blas& blas, double tolerance) {
  constexpr int m = 37, n = 53, k = 91;
  std::vector<T> a(m * k), b(n * k), c(m * n);
  for (int i = 0; i < m * k; ++i) a[i] = static_cast<T>((i * 37 % 101) / 50.0 - 1);
  for (int i = 0; i < n * k; ++i) b[i] = static_cast<T>((i * 53 % 103) / 51.0 - 1);
  blas.gemm(kNoTrans, kTrans, m, n, k, T(1), a.data(), k, b.data(), k, T(0), c.data(), n);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      double sum = 0;
      for (int p = 0; p < k; ++p) sum += static_cast<double>(a[i * k + p]) * static_cast<double>(b[j * k + p]);
      if (!(std::fabs(sum - static_cast<double>(c[i * n + j])) <= tolerance))
        throw sdk::Error(NEMO_CODE_DEVICE_ERROR, "cpu backend: OpenBLAS (" + blas.core_name() +
                                                     " kernels) computes wrong products on this machine; set " +
                                                     "OPENBLAS_CORETYPE to kernels that fit it");
    }
}

}  // namespace

Arch native_arch() {
  __builtin_cpu_init();
  auto all = [](auto... has) { return (has && ...); };
  const bool v3 =
      all(__builtin_cpu_supports("avx2"), __builtin_cpu_supports("fma"), __builtin_cpu_supports("bmi"), __builtin_cpu_supports("bmi2"));
  const bool v4 = all(v3, __builtin_cpu_supports("avx512f"), __builtin_cpu_supports("avx512bw"), __builtin_cpu_supports("avx512dq"),
                      __builtin_cpu_supports("avx512vl"));
  return v4 ? Arch::v4 : v3 ? Arch::v3 : Arch::v2;
}

Blas::Blas() {
  // OpenBLAS 0.3.21 does not know CPUs newer than itself and takes its oldest kernels for them (68 instead of 320 GFLOP/s measured on two
  // Sapphire Rapids cores), so the kernels are named by feature.
  const ScopedEnvironment core("OPENBLAS_CORETYPE", core_type(native_arch()));
  const ScopedEnvironment threads("OPENBLAS_NUM_THREADS", "1");
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    throw sdk::Error(NEMO_CODE_DEVICE_ERROR,
                     std::string("cpu backend: cannot load OpenBLAS: ") + dlerror() + "; install libopenblas0-pthread");
  find(library, "cblas_sgemm", sgemm);
  find(library, "cblas_dgemm", dgemm);
  char* (*corename)() = nullptr;
  void (*set_threads)(int) = nullptr;
  find(library, "openblas_get_corename", corename);
  find(library, "openblas_set_num_threads", set_threads);
  set_threads(1);
  core_name_ = corename();
  check_product<float>(*this, 1e-3);
  check_product<double>(*this, 1e-10);
}

}  // namespace nemo::cpu
