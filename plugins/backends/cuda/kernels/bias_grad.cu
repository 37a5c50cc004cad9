// db[n] = sum_a dy[a n] in two stages: blocks of 8 x 32 threads sum a strip of columns over every parts-th band of 8 rows into partials,
// which are then added in order. All blocks together walk from the last row to the first: what has just been written is still in the L2
// cache. Reads dy once, and nothing of columns whose sum is known to be 0; bound by memory.
#include "kernels/column_sums.cuh"

namespace nemo::cuda {

namespace {

constexpr int kRowsAtOnce = 8;

template <class T, int N>
__global__ void strip_kernel(const T* x, const __grid_constant__ RowSums s, float* partial, int64_t pitch) {
  cudaTriggerProgrammaticLaunchCompletion();  // finish_kernel waits for the end all the same
  const int64_t cols = s.summed();            // numbered without those left out
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x) * N;
  const int64_t step = static_cast<int64_t>(gridDim.y) * kRowsAtOnce;
  float sum[N] = {};
  if (col < cols) {
    const T* from = x + col + (col < s.zeros.start ? 0 : s.zeros.length);
#pragma unroll 4
    for (int64_t r = s.rows - 1 - (static_cast<int64_t>(blockIdx.y) * kRowsAtOnce + threadIdx.y); r >= 0; r -= step) {
      float v[N];
      load<N>(from + r * s.ld, v);
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

// Few threads, so that a block finds room beside the last ones of the kernel before: with 32 x 32 the second stage of 16384 x 6400 took 12
// us on an H100, with 32 x 16 8 us.
constexpr int kFinishCols = 32, kFinishRows = 8;

// A block sums 32 columns: kFinishRows threads each over the parts, then one.
__global__ void __launch_bounds__(kFinishCols* kFinishRows)
    finish_kernel(const __grid_constant__ ColumnSums sums, int64_t pitch, bool add) {
  cudaGridDependencySynchronize();
  const ColumnSums::One one = sums.one[blockIdx.y];
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kFinishCols + threadIdx.x;
  const int64_t from = at < sums.zeros.start ? at : at - sums.zeros.length;  // its place among the partials
  const bool summed = at < sums.cols && (at < sums.zeros.start || from >= sums.zeros.start);
  float sum = 0;
  if (summed)
#pragma unroll 16
    for (int64_t p = threadIdx.y; p < sums.parts; p += kFinishRows) sum += one.partial[p * pitch + from];
  __shared__ float shared[kFinishRows][kFinishCols];
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || at >= sums.cols) return;
  float total = 0;
#pragma unroll
  for (int y = 0; y < kFinishRows; ++y) total += shared[y][threadIdx.x];
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
  config.gridDim = grid, config.blockDim = dim3(kFinishCols, kFinishRows), config.stream = l.stream(), config.attrs = &early,
  config.numAttrs = 1;
  check(cudaLaunchKernelEx(&config, finish_kernel, sums, partial_pitch(sums.cols), l.write() == Write::accumulate), "column sums");
}

RowSums::RowSums(nemo_dtype t, const Matrix& m, int multiprocessors, Zeros left_out)
    : type(t), rows(m.rows), cols(m.cols), ld(m.ld), zeros(left_out) {
  const int64_t strips = std::max<int64_t>(1, ceil_div(summed(), 32 * 16 / size_of(t))), blocks = 8 * multiprocessors;
  parts = std::clamp<int64_t>(blocks / strips, 1, std::max<int64_t>(1, rows / (4 * kRowsAtOnce)));
}

void RowSums::run(const void* data, nemo_dtype out_type, void* out, float* partial, const Launch& l) const {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    const T* x = static_cast<const T*>(data);
    const int64_t pitch = partial_pitch(cols);
    const dim3 threads(32, kRowsAtOnce);
    const bool vector = (cols | ld | zeros.start | zeros.length) % kLanes<T> == 0 && aligned16(x);
    const auto grid = [&](int64_t width) { return dim3(grid_of(summed(), width), static_cast<unsigned>(parts)); };
    if (vector)
      strip_kernel<T, kLanes<T>><<<grid(32 * kLanes<T>), threads, 0, l.stream()>>>(x, *this, partial, pitch);
    else
      strip_kernel<T, 1><<<grid(32), threads, 0, l.stream()>>>(x, *this, partial, pitch);
  });
  ColumnSums sums{parts, cols, {}, 0, zeros};
  sums.add(partial, out_type, out);
  finish_column_sums(sums, l);
}

NEMO_CUDA_KERNEL(bias_grad) {
  node.need_contiguous(node.out(0));
  const nemo_dtype grad = node.out(0).dtype;
  const Matrix dy = node.matrix(node.in(0), node.group_rank('a'));
  const Zeros zeros{node.integer("zero_start"), node.integer("zero_length")};
  if (zeros.start < 0 || zeros.length < 0 || zeros.start + zeros.length > dy.cols)
    node.refuse("zero_start and zero_length lie outside of the bias");
  const RowSums sums(node.compute(), dy, device.multiprocessors, zeros);
  return make_kernel([=](const Launch& l) { sums.run(l.in(0), grad, l.out(0), l.workspace<float>(), l); }, sums.workspace());
}

}  // namespace nemo::cuda
