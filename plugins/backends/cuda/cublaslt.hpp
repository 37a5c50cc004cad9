// libcublasLt opened at run time: the functions that this plugin calls.
#pragma once

#include <cublasLt.h>

#include <string>

#define NEMO_CUBLASLT_FUNCTIONS(f)                                                                                                 \
  f(cublasLtCreate) f(cublasLtDestroy) f(cublasLtGetVersion) f(cublasLtMatmul) f(cublasLtMatmulAlgoCheck)                          \
      f(cublasLtMatmulAlgoGetHeuristic) f(cublasLtMatmulDescCreate) f(cublasLtMatmulDescDestroy) f(cublasLtMatmulDescSetAttribute) \
          f(cublasLtMatrixLayoutCreate) f(cublasLtMatrixLayoutDestroy) f(cublasLtMatmulPreferenceCreate)                           \
              f(cublasLtMatmulPreferenceDestroy) f(cublasLtMatmulPreferenceSetAttribute)

namespace nemo::cuda {

struct CublasLt {
#define NEMO_MEMBER(name) decltype(&::name) name = nullptr;  // NOLINT(bugprone-macro-parentheses)
  NEMO_CUBLASLT_FUNCTIONS(NEMO_MEMBER)
#undef NEMO_MEMBER

  // Empty, or why the library cannot be used. Opens it on the first call.
  static std::string missing();
  // Throws NOT_FOUND with the text of missing().
  static const CublasLt& get();
};

// Throws DEVICE_ERROR naming `what` and the status.
void check(cublasStatus_t status, const char* what);

}  // namespace nemo::cuda
