// Whether attention's backward keeps a fixed order of summation: measured, where the user leaves it to a limit.
#pragma once

#include "attention_cudnn.hpp"

namespace nemo::cuda {

// Times both plans on random data and takes the fixed order where it costs at most device.determinism_limit of a step; says what it chose
// and the cost. A step is taken as decoder blocks of this attention's width: 72 (h d)^2 flops a token for their products at 700 TFLOP/s,
// 100 h d bytes a token at 2.8 TB/s for what only moves memory, and attention as measured.
DqOrder choose_order(const Device& device, const AttentionBackward& p, const std::shared_ptr<const CudnnPlan>& any,
                     const std::shared_ptr<const CudnnPlan>& fixed);

}  // namespace nemo::cuda
