// db[n] = sum_a dy[a n] in two stages: a block sums a strip of columns over its share of the rows, several rows at once, into partials,
// which are then added in order. All blocks together walk from the last row to the first: what has just been written is still in the L2
// cache. Reads dy once, and nothing of columns whose sum is known to be 0; bound by memory.
#include "kernels/column_sums.cuh"

namespace nemo::cuda {

namespace {

constexpr int kThreads = 1024, kAhead = 8;  // kAhead: loads of a thread under way

template <class T, int N>
__device__ __forceinline__ void add(const Raw<T, N>& raw, float (&sum)[N]) {
  float v[N];
  widen(raw, v);
#pragma unroll
  for (int i = 0; i < N; ++i) sum[i] += v[i];
}

// Threads are `groups` rows of `width` pieces of N columns; blocks (strips, parts). Columns are numbered without those left out.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) strip_kernel(const T* x, const __grid_constant__ RowSums s, float* partial, int64_t pitch) {
  cudaTriggerProgrammaticLaunchCompletion();  // finish_kernel waits for the end all the same
  extern __shared__ float shared[];           // [groups][width][N]
  const int thread = static_cast<int>(threadIdx.x), group = thread / s.width, at = thread - group * s.width;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * s.width * N, cols = s.summed();
  const int64_t col = first + static_cast<int64_t>(at) * N, step = static_cast<int64_t>(gridDim.y) * s.groups;
  float sum[N] = {};
  if (col < cols) {
    int64_t r = s.rows - 1 - (static_cast<int64_t>(blockIdx.y) * s.groups + group);
    const T* from = x + r * s.ld + col + (col < s.zeros.start ? 0 : s.zeros.length);
    const int64_t back = step * s.ld;
    for (; r >= (kAhead - 1) * step; r -= kAhead * step, from -= kAhead * back) {
      Raw<T, N> raw[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) raw[k] = load_raw<T, N>(from - k * back, 0);
#pragma unroll
      for (int k = 0; k < kAhead; ++k) add(raw[k], sum);
    }
    for (; r >= 0; r -= step, from -= back) add(load_raw<T, N>(from, 0), sum);
  }
#pragma unroll
  for (int i = 0; i < N; ++i) shared[thread * N + i] = sum[i];
  __syncthreads();
  const int here = s.width * N;
  for (int c = thread; c < here && first + c < cols; c += static_cast<int>(blockDim.x)) {
    float total = 0;
    for (int g = 0; g < s.groups; ++g) total += shared[g * here + c];
    partial[blockIdx.y * pitch + first + c] = total;
  }
}

constexpr int kFinishCols = 32;

// A block sums 32 columns: 32 threads each over the parts, then the lanes of a warp.
__global__ void __launch_bounds__(32 * kFinishCols) finish_kernel(const __grid_constant__ ColumnSums sums, int64_t pitch, bool add) {
  cudaGridDependencySynchronize();
  const ColumnSums::One one = sums.one[blockIdx.y];
  const int64_t col = static_cast<int64_t>(blockIdx.x) * kFinishCols + threadIdx.x;
  const int64_t from = col < sums.zeros.start ? col : col - sums.zeros.length;  // its place among the partials
  float sum = 0;
  if (col < sums.cols && (col < sums.zeros.start || from >= sums.zeros.start))
#pragma unroll 8
    for (int64_t p = threadIdx.y; p < sums.parts; p += 32) sum += one.partial[p * pitch + from];
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

RowSums::RowSums(nemo_dtype t, const Matrix& m, int multiprocessors, Zeros left_out)
    : type(t), rows(m.rows), cols(m.cols), ld(m.ld), zeros(left_out) {
  const int64_t lanes = 16 / size_of(type);
  vector = (cols | ld | zeros.start | zeros.length) % lanes == 0;
  const int64_t pieces = std::max<int64_t>(1, ceil_div(summed(), vector ? lanes : 1));
  double best = 0;
  for (int64_t s = ceil_div(pieces, kThreads), last = s + 15; s <= std::min(last, pieces); ++s) {  // the strips that leave least idle
    const int64_t wide = ceil_div(pieces, s), at_once = kThreads / wide, shares = std::max<int64_t>(1, multiprocessors / s);
    const double used = static_cast<double>(pieces * at_once * shares) /
                        static_cast<double>(kThreads * ceil_div(s * shares, multiprocessors) * multiprocessors);
    if (used <= best + 0.01) continue;
    best = used, width = static_cast<int>(wide), groups = static_cast<int>(at_once), parts = shares;
  }
  parts = std::clamp<int64_t>(parts, 1, ceil_div(rows, groups));
}

void RowSums::run(const void* data, nemo_dtype out_type, void* out, float* partial, const Launch& l) const {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    const T* x = static_cast<const T*>(data);
    const unsigned threads = static_cast<unsigned>(width * groups);
    const auto launch = [&](auto n) {
      constexpr int N = decltype(n)::value;
      const dim3 grid(grid_of(summed(), width * N), static_cast<unsigned>(parts));
      strip_kernel<T, N><<<grid, threads, threads * N * sizeof(float), l.stream()>>>(x, *this, partial, partial_pitch(cols));
    };
    if (summed() == 0) return;
    if (vector && aligned16(x))
      launch(std::integral_constant<int, kLanes<T>>{});
    else
      launch(std::integral_constant<int, 1>{});
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
