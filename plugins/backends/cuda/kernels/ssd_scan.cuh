// What the forward and the backward of ssd_scan share: the states that chunks add, and the walk over the chunks that turns them into the
// states in front of each (or, backwards, into the gradients of the states behind each).
#pragma once

#include "kernels/ssd_tile.cuh"

namespace nemo::cuda::ssd {

Shape shape_of(const Node& node);
// first: place of x among the inputs. Refuses layouts that the kernels do not read.
struct Arguments {
  Steps x, dt, bm, c;
  int first;
  bool skip, dt_bias, initial;

  Arguments(const Node& node, int first);
  Inputs of(const Launch& l) const;
};

enum class Walk { forward, backward };

// forward: added[b h chunk][p n] = what the chunk's tokens leave in its last state; backward: the gradient of the state in front of the
// chunk through its tokens, `left` being dy. decay[b h chunk] = e^(sum of dt A).
template <class T>
void add_states(const Shape& s, const Inputs& in, Walk walk, const T* left, const Steps& left_at, float* added, float* decay, int64_t pitch,
                cudaStream_t stream);

// In place: added[chunk] becomes the state in front of the chunk (the gradient of the state behind it), starting from `start` (nullptr: 0);
// `end` (nullptr: not wanted) gets the last one. `pitch`: chunks of a head in `added`; where there is one more than chunks, it gets the
// last state.
void walk_states(const Shape& s, Walk walk, float* added, const float* decay, int64_t pitch, const float* start, float* end,
                 cudaStream_t stream);

}  // namespace nemo::cuda::ssd
