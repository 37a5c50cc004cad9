// OpenBLAS, opened at run time: its kernels are chosen by an environment variable that must be set before it loads, and a machine without
// it must get a clear error, not a plugin that cannot be opened.
#pragma once

#include <string>

namespace nemo::cpu {

enum class Arch { v2, v3, v4 };  // x86-64 levels that kernels are built for
Arch native_arch();

class Blas {
 public:
  // Loads libopenblas.so.0, makes it single-threaded (the pool splits products) and checks a small product. Throws sdk::Error.
  Blas();

  // CBLAS. order 101 = row-major, trans 111 = no, 112 = yes.
  void (*sgemm)(int order, int ta, int tb, int m, int n, int k, float alpha, const float* a, int lda, const float* b, int ldb, float beta,
                float* c, int ldc) = nullptr;
  void (*dgemm)(int order, int ta, int tb, int m, int n, int k, double alpha, const double* a, int lda, const double* b, int ldb,
                double beta, double* c, int ldc) = nullptr;
  const std::string& core_name() const { return core_name_; }  // the kernels in use, as OpenBLAS calls them

  void gemm(int ta, int tb, int m, int n, int k, float alpha, const float* a, int lda, const float* b, int ldb, float beta, float* c,
            int ldc) const {
    sgemm(101, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  }
  void gemm(int ta, int tb, int m, int n, int k, double alpha, const double* a, int lda, const double* b, int ldb, double beta, double* c,
            int ldc) const {
    dgemm(101, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  }

 private:
  std::string core_name_;
};

constexpr int kNoTrans = 111;
constexpr int kTrans = 112;

}  // namespace nemo::cpu
