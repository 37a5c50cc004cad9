// Matrix products C = op(A) op(B) (+ C) with an epilogue, by cuBLASLt: row-major matrices, f32 accumulation. The algorithm is
// searched when the product is prepared (autotune) and remembered on disk.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cublaslt.hpp"
#include "gemm_cache.hpp"
#include "kernel.hpp"

namespace nemo::cuda {

enum class Transpose { no, yes };
// plain: f32 operands are multiplied as they are, partial sums of 8-bit operands are added in f32 every few steps. tf32: f32 operands are
// rounded to 10 bits of mantissa. fast: partial sums of 8-bit operands stay in the tensor core's own, narrower accumulator.
enum class Arithmetic { plain, tf32, fast };
// What is done with a product before it is stored, at no pass of its own. GELU is the tanh approximation.
//   bias           + bias[n]
//   gelu, gelu_bias            gelu(product (+ bias))
//   gelu_aux, gelu_aux_bias    the same, and the argument of gelu goes to aux [m n]
//   dgelu          product * gelu'(aux)
enum class Epilogue { none, bias, gelu, gelu_bias, gelu_aux, gelu_aux_bias, dgelu };

// op(A) is [m k], op(B) is [k n], C is [m n]; leading dimensions in elements. A and B have one dtype (f32, bf16 or f16); C has it too, or
// is f32. 8-bit operands (e4m3 and e5m2, not both e5m2): ta = no, tb = yes, pitches and k multiples of 16, C is bf16, f16 or f32.
struct Product {
  int64_t m, n, k;
  Transpose ta, tb;
  nemo_dtype ab, c;
  int64_t lda, ldb, ldc;
  Write write = Write::overwrite;
  Epilogue epilogue = Epilogue::none;
  int64_t ld_aux = 0;
  nemo_dtype b = 0;  // of B where it is not that of A
  Arithmetic arithmetic = Arithmetic::plain;

  int32_t multiprocessors = 0;  // that it may fill; 0: all. Set by Gemm::leave_room

  nemo_dtype b_type() const { return b != 0 ? b : ab; }
};

struct Operands {
  const void* a;
  const void* b;
  void* c;
  const void* bias = nullptr;  // n values of C's dtype
  void* aux = nullptr;         // dtype of C; read by dgelu
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
  bool takes(const Operands& o) const;
  // Of one run with a cold L2, as measured when the algorithm was chosen; 0: not measured.
  float milliseconds() const { return milliseconds_; }

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
  float milliseconds_ = 0;
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

// What the search for algorithms has cost so far; told now and then, so that a long one is seen.
struct SearchTime {
  int64_t products = 0;
  double seconds = 0, told = 0;
  void add(double more);
};

// One per opened device.
class Gemm {
 public:
  Gemm(int ordinal, cudaStream_t stream, Autotune autotune);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  // Plans for a product; equal products share them. Throws UNSUPPORTED where cuBLASLt has no algorithm. [host-thread]
  GemmPlans plan(const Product& p);
  // The plan for aligned operands only; nullptr where cuBLASLt has no algorithm for the product with its epilogue.
  std::shared_ptr<const GemmPlan> plan_fused(const Product& p);
  // Products planned from here on fill so many multiprocessors only; 0: all. [host-thread]
  void leave_room(int32_t multiprocessors) { multiprocessors_ = multiprocessors; }

 private:
  std::shared_ptr<const GemmPlan> make(const Product& p, uint32_t alignment, Autotune autotune);
  std::vector<cublasLtMatmulHeuristicResult_t> proposals(const GemmPlan& plan, const std::string& key, int most) const;
  bool recall(GemmPlan& plan, const std::string& key) const;
  void choose(GemmPlan& plan, const std::string& key, Autotune autotune);

  const CublasLt& lt_;
  cudaStream_t stream_;
  Autotune autotune_;
  cublasLtHandle_t handle_ = nullptr;
  GemmCache cache_;
  std::map<std::string, std::shared_ptr<const GemmPlan>> plans_;
  SearchTime searched_;
  int32_t multiprocessors_ = 0;
};

}  // namespace nemo::cuda
