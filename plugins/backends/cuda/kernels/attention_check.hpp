// Packed attention through cuDNN against the own kernels, once for every shape before it is used: versions of cuDNN differ in what they
// make of sequences that begin at offsets.
#pragma once

#include "attention_packed.hpp"

namespace nemo::cuda {

// Throw UNSUPPORTED, with a warning in the log, where cuDNN's results on 2 rows of up to 320 random tokens in 5 documents a row, laid out
// as the problem's, are off by more than 2^-6 of their norm (lse: 2^-13), or where there is no memory to try.
void check_packed(const Device& device, const std::shared_ptr<const Cudnn>& cudnn, const AttentionForward& p);
void check_packed(const Device& device, const std::shared_ptr<const Cudnn>& cudnn, const AttentionBackward& p);

}  // namespace nemo::cuda
