// Matrix products C = op(A) op(B) (+ bias per column) (+ C) over the pool. Included after kernels/arch.hpp.
#pragma once

namespace nemo::cpu::NEMO_CPU_NS {

enum class Transpose { no, yes };

// op(A) is [m k], op(B) is [k n], C is [m n]; all row-major with leading dimensions. f64 operands compute in f64, others in f32; bf16,
// f16 and 8-bit operands and results of another dtype than the arithmetic's go through tiles in the workspace.
struct Product {
  int64_t m, n, k;
  Transpose ta, tb;
  nemo_dtype a, b, c;
  int64_t lda, ldb, ldc;
};

uint64_t product_workspace(const Product& p, const Device& device);
// Enough for every product whose m, n and k are not larger than those of p.
uint64_t largest_workspace(const Product& p, const Device& device);
// C = alpha op(A) op(B) + bias. bias: n values of `bias_dtype` (B's where 0), or nullptr. Same bits for the same shapes and number of
// threads.
void multiply(const Device& device, const Product& p, const void* a, const void* b, void* c, Write write, const void* bias, void* workspace,
              float alpha = 1, nemo_dtype bias_dtype = 0);

}  // namespace nemo::cpu::NEMO_CPU_NS
