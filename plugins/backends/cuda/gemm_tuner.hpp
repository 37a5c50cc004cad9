// Times the candidates for a product on random data with a cold L2.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "gemm.hpp"

namespace nemo::cuda {

using TryProduct = std::function<cublasStatus_t(const cublasLtMatmulAlgo_t&, const Operands&, void* workspace)>;

struct Fastest {
  size_t index;  // algorithms.size(): those that run give a wrong product
  float milliseconds;
};

// The fastest algorithm whose product is right (gemm_check.hpp); nothing where there is no memory to try, or none runs.
std::optional<Fastest> fastest(const Product& p, const std::vector<cublasLtMatmulAlgo_t>& algorithms, const TryProduct& run,
                               uint64_t workspace_bytes, cudaStream_t stream);

// Fills n elements with uniform values in [-1, 1): a product of zeros runs faster than real ones.
void fill_random(void* data, nemo_dtype dtype, int64_t n, uint32_t seed, cudaStream_t stream);

}  // namespace nemo::cuda
