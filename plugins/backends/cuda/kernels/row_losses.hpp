// Losses, and in place their gradients, of rows of logits of which every logit is read once: a cluster of blocks keeps the row in its
// shared memories. For vocabularies up to about 440 thousand in 16 bits, half of that in f32.
#pragma once

#include "table.hpp"

namespace nemo::cuda {

struct LossSpec {
  int64_t v, ignore_index;
  float smoothing, z_loss;
};

inline LossSpec loss_spec(const Node& node) {
  return {node.size('v'), node.integer("ignore_index"), static_cast<float>(node.number("label_smoothing")),
          static_cast<float>(node.number("z_loss"))};
}

struct RowLosses {
  LossSpec spec;
  int64_t rows;
  void* logits;  // of `type`; row r begins at element r ld
  nemo_dtype type;
  int64_t ld;
  const int32_t* labels;
  const float* dloss;  // [rows], or nullptr: the logits stay as they are. Gradients of rows without a label in [0, v) are 0
  float* loss;         // [rows]; 0 in rows without a label
  float* lse;          // [rows], or nullptr
  int* fault;
};

// Blocks of a cluster: 1, 2, 4 or 8; 0 where rows are too long for eight.
int row_loss_blocks(int64_t v, nemo_dtype type);

// False, with nothing launched, where rows are too long or not aligned to 16 bytes. Deterministic.
bool launch_row_losses(const RowLosses& rows, cudaStream_t stream);

}  // namespace nemo::cuda
