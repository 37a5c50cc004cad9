// db[n] = sum_a dy[a n] in two stages: blocks of 8 x 32 threads sum a strip of columns over every parts-th band of 8 rows into partials,
// which are then added in order. All blocks together walk from the last row to the first: what has just been written is still in the L2
// cache. Reads dy once; bound by memory.
#include "kernels/column_sums.cuh"

namespace nemo::cuda {

namespace {

constexpr int kRowsAtOnce = 8;

template <class T, int N>
__global__ void strip_kernel(const T* x, int64_t rows, int64_t cols, int64_t ld, float* partial, int64_t pitch) {
  cudaTriggerProgrammaticLaunchCompletion();  // finish_kernel waits for the end all the same
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x) * N;
  const int64_t step = static_cast<int64_t>(gridDim.y) * kRowsAtOnce;
  float sum[N] = {};
  if (col < cols) {
#pragma unroll 4
    for (int64_t r = rows - 1 - (static_cast<int64_t>(blockIdx.y) * kRowsAtOnce + threadIdx.y); r >= 0; r -= step) {
      float v[N];
      load<N>(x + r * ld + col, v);
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] += v[i];
    }
  }
  __shared__ float shared[kRowsAtOnce][32 * N];
#pragma unroll
  for (int i = 0; i < N; ++i) shared[threadIdx.y][threadIdx.x * N + i] = sum[i];
  __syncthreads();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * 32 * N;
  for (int c = threadIdx.y * 32 + threadIdx.x; c < 32 * N; c += 32 * kRowsAtOnce) {
    if (first + c >= cols) break;
    float total = 0;
    for (int y = 0; y < kRowsAtOnce; ++y) total += shared[y][c];
    partial[blockIdx.y * pitch + first + c] = total;
  }
}

constexpr int kFinishCols = 32;

// A block sums 32 columns: 32 threads each over the parts, then the lanes of a warp.
__global__ void __launch_bounds__(32 * kFinishCols) finish_kernel(const ColumnSums sums, int64_t pitch, bool add) {
  cudaGridDependencySynchronize();
  const ColumnSums::One one = sums.one[blockIdx.y];
  const int64_t col = static_cast<int64_t>(blockIdx.x) * kFinishCols + threadIdx.x;
  float sum = 0;
  if (col < sums.cols)
#pragma unroll 8
    for (int64_t p = threadIdx.y; p < sums.parts; p += 32) sum += one.partial[p * pitch + col];
  __shared__ float shared[32][kFinishCols + 1];
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x), warp = static_cast<int>(threadIdx.y);
  float total = shared[lane][warp];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kFinishCols + warp;
  if (lane != 0 || at >= sums.cols) return;
  if (one.dtype == NEMO_DTYPE_BF16) {
    bf16* to = static_cast<bf16*>(one.out) + at;
    *to = narrow<bf16>(add ? widen(*to) + total : total);
  } else if (one.dtype == NEMO_DTYPE_F16) {
    f16* to = static_cast<f16*>(one.out) + at;
    *to = narrow<f16>(add ? widen(*to) + total : total);
  } else {
    float* to = static_cast<float*>(one.out) + at;
    *to = add ? *to + total : total;
  }
}

}  // namespace

void finish_column_sums(const ColumnSums& sums, const Launch& l) {
  if (sums.count == 0) return;
  const dim3 grid(grid_of(sums.cols, kFinishCols), sums.count);
  // Its blocks come while the last ones of the kernel before still run, and wait for them.
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = dim3(kFinishCols, 32), config.stream = l.stream(), config.attrs = &early, config.numAttrs = 1;
  check(cudaLaunchKernelEx(&config, finish_kernel, sums, partial_pitch(sums.cols), l.write() == Write::accumulate), "column sums");
}

RowSums::RowSums(nemo_dtype t, const Matrix& m, int multiprocessors) : type(t), rows(m.rows), cols(m.cols), ld(m.ld) {
  const int64_t strips = ceil_div(cols, 32 * 16 / size_of(t)), blocks = 8 * multiprocessors;
  parts = std::clamp<int64_t>(blocks / strips, 1, std::max<int64_t>(1, rows / (4 * kRowsAtOnce)));
}

void RowSums::run(const void* data, nemo_dtype out_type, void* out, float* partial, const Launch& l) const {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    const T* x = static_cast<const T*>(data);
    const int64_t pitch = partial_pitch(cols);
    const dim3 threads(32, kRowsAtOnce);
    const bool vector = cols % kLanes<T> == 0 && ld % kLanes<T> == 0 && aligned16(x);
    const auto grid = [&](int64_t width) { return dim3(grid_of(cols, width), static_cast<unsigned>(parts)); };
    if (vector)
      strip_kernel<T, kLanes<T>><<<grid(32 * kLanes<T>), threads, 0, l.stream()>>>(x, rows, cols, ld, partial, pitch);
    else
      strip_kernel<T, 1><<<grid(32), threads, 0, l.stream()>>>(x, rows, cols, ld, partial, pitch);
  });
  ColumnSums sums{parts, cols, {}, 0};
  sums.add(partial, out_type, out);
  finish_column_sums(sums, l);
}

NEMO_CUDA_KERNEL(bias_grad) {
  node.need_contiguous(node.out(0));
  const nemo_dtype grad = node.out(0).dtype;
  const RowSums sums(node.compute(), node.matrix(node.in(0), node.group_rank('a')), device.multiprocessors);
  return make_kernel([=](const Launch& l) { sums.run(l.in(0), grad, l.out(0), l.workspace<float>(), l); }, sums.workspace());
}

}  // namespace nemo::cuda
