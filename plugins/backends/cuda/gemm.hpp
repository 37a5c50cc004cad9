// Matrix products C = op(A) op(B) (+ bias per column) (+ C) by cuBLASLt: row-major matrices, f32 accumulation. The algorithm is
// searched when the product is prepared (autotune) and remembered on disk.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "cublaslt.hpp"
#include "gemm_cache.hpp"
#include "kernel.hpp"

namespace nemo::cuda {

enum class Transpose { no, yes };
enum class Bias { no, yes };
// plain: f32 operands are multiplied as they are, partial sums of 8-bit operands are added in f32 every few steps. tf32: f32 operands are
// rounded to 10 bits of mantissa. fast: partial sums of 8-bit operands stay in the tensor core's own, narrower accumulator.
enum class Arithmetic { plain, tf32, fast };

// op(A) is [m k], op(B) is [k n], C is [m n]; leading dimensions in elements. A and B have one dtype (f32, bf16 or f16); C has it too, or
// is f32. 8-bit operands (e4m3 and e5m2, not both e5m2): ta = no, tb = yes, pitches and k multiples of 16, C is bf16, f16 or f32.
struct Product {
  int64_t m, n, k;
  Transpose ta, tb;
  nemo_dtype ab, c;
  int64_t lda, ldb, ldc;
  Write write = Write::overwrite;
  Bias bias = Bias::no;
  nemo_dtype b = 0;  // of B where it is not that of A
  Arithmetic arithmetic = Arithmetic::plain;

  nemo_dtype b_type() const { return b != 0 ? b : ab; }
};

struct Operands {
  const void* a;
  const void* b;
  void* c;
  const void* bias = nullptr;  // n values of C's dtype
  // Factors of A and B in device memory, for 8-bit operands; nullptr: 1.
  const float* a_scale = nullptr;
  const float* b_scale = nullptr;
};

// A product with its algorithm. run only enqueues.
class GemmPlan {
 public:
  ~GemmPlan();
  GemmPlan(const GemmPlan&) = delete;
  GemmPlan& operator=(const GemmPlan&) = delete;
  uint64_t workspace() const { return workspace_; }
  // Operands must be aligned as alignment() says (bytes). Throws DEVICE_ERROR.
  void run(const Operands& o, void* workspace, cudaStream_t stream) const;
  uint32_t alignment() const { return alignment_; }

 private:
  friend class Gemm;
  GemmPlan(const CublasLt& lt, cublasLtHandle_t handle, const Product& p, uint32_t alignment);
  cublasStatus_t enqueue(const Operands& o, const cublasLtMatmulAlgo_t& algo, void* workspace, uint64_t bytes, cudaStream_t stream) const;
  void lay_out(cublasLtMatrixLayout_t* layout, nemo_dtype dtype, int64_t rows, int64_t cols, int64_t ld) const;

  const CublasLt& lt_;
  cublasLtHandle_t handle_;
  Product product_;
  uint32_t alignment_;
  uint64_t workspace_ = 0;
  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  cublasLtMatmulAlgo_t algo_{};
};

// The plan for 16-byte aligned operands, and one for operands that turn out at launch not to be.
struct GemmPlans {
  std::shared_ptr<const GemmPlan> aligned, any;
  uint64_t workspace() const;
  void run(const Operands& o, void* workspace, cudaStream_t stream) const;
};

enum class Autotune { off, on };

// One per opened device.
class Gemm {
 public:
  Gemm(int ordinal, cudaStream_t stream, Autotune autotune);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  // Plans for a product; equal products share them. Throws UNSUPPORTED where cuBLASLt has no algorithm. [host-thread]
  GemmPlans plan(const Product& p);

 private:
  std::shared_ptr<const GemmPlan> make(const Product& p, uint32_t alignment, Autotune autotune);
  void choose(GemmPlan& plan, const std::string& key, Autotune autotune);

  const CublasLt& lt_;
  cudaStream_t stream_;
  Autotune autotune_;
  cublasLtHandle_t handle_ = nullptr;
  GemmCache cache_;
  std::map<std::string, std::shared_ptr<const GemmPlan>> plans_;
};

}  // namespace nemo::cuda
