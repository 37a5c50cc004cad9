// Attention as both implementations see it: cuDNN (attention_cudnn.hpp) and the own kernels (attention_own.hpp). Semantics: row `attention`
// of nemo/ops.def.
#pragma once

#include <cstdint>

#include "../kernel.hpp"

namespace nemo::cuda {

// Element strides of a [batch position head feature] tensor whose features are contiguous. Zero-size tensors have no strides worth reading.
struct Heads {
  int64_t batch = 0, position = 0, head = 0;
};

struct AttentionSpec {
  nemo_dtype dtype = 0;
  int64_t b = 0, s = 0, t = 0, h = 0, g = 0, d = 0, e = 0;
  int64_t window = 0;  // 0: none
  float scale = 1, softcap = 0;
  bool causal = false, segments = false;
  bool sinks = false, bias = false, key_lengths = false;
  int64_t alibi = 0, alibi_first = 0;

  bool extended() const { return sinks || bias || key_lengths || alibi > 0; }
};

// What cuDNN's kernels here do not take; nullptr: absent.
struct AttentionExtras {
  const float *sinks = nullptr, *bias = nullptr;
  const int32_t* key_lengths = nullptr;
};

struct AttentionForward {
  AttentionSpec spec;
  Heads q, k, v, o;
};

struct AttentionBackward {
  AttentionSpec spec;
  Heads dout, q, k, v, o, dq, dk, dv;
};

struct ForwardPointers {
  const void *q, *k, *v;
  const int32_t* segments;  // nullptr: none
  void* o;
  float* lse;
  AttentionExtras extras = {};
  const int32_t* gate = nullptr;  // own kernels: nothing is done where *gate is 0
};

struct BackwardPointers {
  const void *dout, *q, *k, *v, *o;
  const float* lse;
  const int32_t* segments;
  void *dq, *dk, *dv;
  AttentionExtras extras = {};
  float* dbias = nullptr;
  void* dsinks = nullptr;
  nemo_dtype dsinks_type = 0;
  bool add = false;               // to dsinks
  const int32_t* gate = nullptr;  // as above
};

}  // namespace nemo::cuda
