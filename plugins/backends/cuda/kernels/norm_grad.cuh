// What the forms of the norm gradients share.
#pragma once

#include "kernels/device.cuh"

namespace nemo::cuda {

struct GradArgs {
  const void *dy, *x, *w, *residual;
  const float *mean, *rstd;
  void* dx;
  float *dw, *db, *dbias;  // partials [gridDim.x pitch], or nullptr
  int64_t rows, cols, pitch, ldy, ldx, ldr, ldo;
  float shift;
  bool layer;
  float* top;  // becomes the largest magnitude of dx; nullptr: not wanted
};

}  // namespace nemo::cuda
