// Elementwise kernels over tensors of one dtype: a 16-byte vector of each tensor per thread, or single elements where the layout has none.
#pragma once

#include "kernels/device.cuh"

namespace nemo::cuda {

template <int kIn, int kOut>
struct MapArgs {
  const void* in[kIn];
  void* out[kOut];
  int64_t ld_in[kIn], ld_out[kOut];
  int64_t rows, vectors;  // vectors per row
};

// f(in[kIn], out[kOut]) on one element.
template <class T, int N, int kIn, int kOut, class F>
__global__ void map_kernel(const MapArgs<kIn, kOut> a, const F f) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= a.rows * a.vectors) return;
  const int64_t row = a.rows == 1 ? 0 : i / a.vectors, at = (i - row * a.vectors) * N;
  float x[kIn][N], y[kOut][N];
#pragma unroll
  for (int k = 0; k < kIn; ++k) load<N>(static_cast<const T*>(a.in[k]) + row * a.ld_in[k] + at, x[k]);
#pragma unroll
  for (int e = 0; e < N; ++e) {
    float in[kIn], out[kOut];
#pragma unroll
    for (int k = 0; k < kIn; ++k) in[k] = x[k][e];
    f(in, out);
#pragma unroll
    for (int k = 0; k < kOut; ++k) y[k][e] = out[k];
  }
#pragma unroll
  for (int k = 0; k < kOut; ++k) store<N>(static_cast<T*>(a.out[k]) + row * a.ld_out[k] + at, y[k]);
}

// The same, and *top becomes the largest magnitude of all outputs, as they are stored.
template <class T, int N, int kIn, int kOut, class F>
__global__ void map_top_kernel(const MapArgs<kIn, kOut> a, const F f, float* top) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  float most = 0;
  if (i < a.rows * a.vectors) {
    const int64_t row = a.rows == 1 ? 0 : i / a.vectors, at = (i - row * a.vectors) * N;
    float x[kIn][N], y[kOut][N];
#pragma unroll
    for (int k = 0; k < kIn; ++k) load<N>(static_cast<const T*>(a.in[k]) + row * a.ld_in[k] + at, x[k]);
#pragma unroll
    for (int e = 0; e < N; ++e) {
      float in[kIn], out[kOut];
#pragma unroll
      for (int k = 0; k < kIn; ++k) in[k] = x[k][e];
      f(in, out);
#pragma unroll
      for (int k = 0; k < kOut; ++k) y[k][e] = out[k], most = fmaxf(most, fabsf(out[k]));
    }
#pragma unroll
    for (int k = 0; k < kOut; ++k) store<N>(static_cast<T*>(a.out[k]) + row * a.ld_out[k] + at, y[k]);
  }
  raise_to(top, widen(narrow<T>(most)));
}

template <int kIn, int kOut>
bool vector_access(const MapArgs<kIn, kOut>& a, int64_t cols, int lanes) {
  bool fits = cols % lanes == 0;
  for (int k = 0; k < kIn; ++k) fits = fits && aligned16(a.in[k]) && (a.rows == 1 || a.ld_in[k] % lanes == 0);
  for (int k = 0; k < kOut; ++k) fits = fits && aligned16(a.out[k]) && (a.rows == 1 || a.ld_out[k] % lanes == 0);
  return fits;
}

template <class T, int kIn, int kOut, class F>
void launch_map(const Launch& l, const Aligned& layout, const F& f, float* top = nullptr) {
  MapArgs<kIn, kOut> a{};
  for (int k = 0; k < kIn; ++k) a.in[k] = l.in(k), a.ld_in[k] = layout.ld[static_cast<size_t>(k)];
  for (int k = 0; k < kOut; ++k) a.out[k] = l.out(k), a.ld_out[k] = layout.ld[static_cast<size_t>(kIn + k)];
  a.rows = layout.rows;
  const bool vector = vector_access(a, layout.cols, kLanes<T>);
  a.vectors = vector ? layout.cols / kLanes<T> : layout.cols;
  if (a.rows * a.vectors == 0) return;
  const unsigned grid = grid_of(a.rows * a.vectors, 256);
  if (top != nullptr) {
    check(cudaMemsetAsync(top, 0, sizeof(float), l.stream()), "memset");
    vector ? map_top_kernel<T, kLanes<T>, kIn, kOut, F><<<grid, 256, 0, l.stream()>>>(a, f, top)
           : map_top_kernel<T, 1, kIn, kOut, F><<<grid, 256, 0, l.stream()>>>(a, f, top);
  } else if (vector)
    map_kernel<T, kLanes<T>, kIn, kOut, F><<<grid, 256, 0, l.stream()>>>(a, f);
  else
    map_kernel<T, 1, kIn, kOut, F><<<grid, 256, 0, l.stream()>>>(a, f);
}

template <int kIn, int kOut, class F>
Prepared map(const Node& node, const F& f) {
  std::vector<const Tensor*> tensors;
  for (size_t i = 0; i < kIn; ++i) tensors.push_back(&node.in(i));
  for (size_t i = 0; i < kOut; ++i) tensors.push_back(&node.out(i));
  const Aligned layout = node.align(tensors);
  return with_type(node.compute(), [&](auto tag) {
    return make_kernel([layout, f](const Launch& l) { launch_map<decltype(tag), kIn, kOut>(l, layout, f); });
  });
}

}  // namespace nemo::cuda
