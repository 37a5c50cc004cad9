// Attention's backward of queries that come behind many keys, as a rank that shares a sequence has them, in two parts: all queries to the
// keys before them, where nothing is masked, and the causal square. Gradients of disjoint keys do not depend on each other given o and the
// log of the sums over all keys; dq is the sum of both. On two H100s, context parallel at 32,768 tokens went from 0.850 to 0.942 of one
// device's rate with it (tests/bench/results/two_h100.txt).
#pragma once

#include "attention.hpp"

namespace nemo::cuda {

[[nodiscard]] bool splits(const AttentionSpec& s);

struct BackwardParts {
  AttentionBackward before, square;  // the square's dq is contiguous
};
[[nodiscard]] BackwardParts parts_of(const AttentionBackward& p);
// What the square reads and writes, of the whole's pointers; `dq` is its own.
[[nodiscard]] BackwardPointers square_pointers(const AttentionBackward& p, const BackwardPointers& whole, void* dq);
// Bytes of the square's dq.
[[nodiscard]] uint64_t square_dq_bytes(const AttentionSpec& s);
// dq += more: both parts are rounded to the tensor's dtype, their sum is made in f32 and rounded again.
void add_square_dq(const AttentionBackward& p, void* dq, const void* more, cudaStream_t stream);

}  // namespace nemo::cuda
