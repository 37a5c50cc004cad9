// db[n] = sum_a dy[a n] in two stages: blocks of 8 x 32 threads sum a strip of columns over every parts-th band of 8 rows into partials,
// which are then added in order. All blocks together walk from the last row to the first: what has just been written is still in the L2
// cache. Reads dy once; bound by memory.
#include <cstdlib>

#include "kernels/column_sums.cuh"
#include "kernels/row_teams.cuh"

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

// The streaming form: a block sums a strip of columns, each of its warps rows of its own, whose next pieces are on their way into shared
// memory. Vector k of the strip (16 bytes) belongs to lane k % 32, which copies and reads it.
constexpr int kStreamWarps = 16, kStreamStages = 3;

template <class T, int V>
__global__ void __launch_bounds__(32 * kStreamWarps, 1)
    column_stream_kernel(const T* x, int64_t rows, int vectors, int strip, int64_t ld, float* partial, int64_t pitch) {
  constexpr int N = kLanes<T>, kVector = 512, kHalves = N / 4;
  extern __shared__ __align__(128) char memory[];
  cudaTriggerProgrammaticLaunchCompletion();  // finish_kernel waits for the end all the same
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int begin = static_cast<int>(blockIdx.x) * strip, here = min(strip, vectors - begin);
  const uint32_t mine = shared_address(memory) + static_cast<uint32_t>(warp * kStreamStages * V * kVector + lane * 16);
  const int64_t step = static_cast<int64_t>(gridDim.y) * kStreamWarps;
  int64_t row = rows - 1 - (static_cast<int64_t>(warp) * gridDim.y + blockIdx.y);
  const auto fetch = [&](int64_t r, int stage) {
    if (r >= 0) {
      const T* from = x + r * ld + static_cast<int64_t>(begin + lane) * N;
#pragma unroll
      for (int k = 0; k < V; ++k) copy_async(mine + (stage * V + k) * kVector, from + k * 32 * N, lane + 32 * k < here);
    }
    copies_commit();
  };
  float sum[V][N] = {};
  for (int s = 0; s < kStreamStages - 1; ++s) fetch(row - s * step, s);
  for (int stage = 0; row >= 0; row -= step) {
    fetch(row - (kStreamStages - 1) * step, stage == 0 ? kStreamStages - 1 : stage - 1);  // the lane itself has read what lay there
    copies_wait<kStreamStages - 1>();
#pragma unroll
    for (int k = 0; k < V; ++k) {
      float v[N];
      spread<T>(read_shared(mine + (stage * V + k) * kVector), v);
#pragma unroll
      for (int e = 0; e < N; ++e) sum[k][e] += v[e];
    }
    stage = stage + 1 == kStreamStages ? 0 : stage + 1;
  }
  copies_wait<0>();
  __syncthreads();  // no copy fills the memory any more
  constexpr int kSlots = V * kHalves * 32;
  float4* sums = reinterpret_cast<float4*>(memory);
#pragma unroll
  for (int k = 0; k < V; ++k)
#pragma unroll
    for (int h = 0; h < kHalves; ++h)
      sums[warp * kSlots + (k * kHalves + h) * 32 + lane] = make_float4(sum[k][4 * h], sum[k][4 * h + 1], sum[k][4 * h + 2], sum[k][4 * h + 3]);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kSlots; i += 32 * kStreamWarps) {
    const int h = i / 32 % kHalves, vector = i / 32 / kHalves * 32 + i % 32;
    if (vector >= here) continue;
    float4 total = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int w = 0; w < kStreamWarps; ++w) {
      const float4 v = sums[w * kSlots + i];
      total.x += v.x, total.y += v.y, total.z += v.z, total.w += v.w;
    }
    *reinterpret_cast<float4*>(partial + blockIdx.y * pitch + static_cast<int64_t>(begin + vector) * N + 4 * h) = total;
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
  if (std::getenv("NEMO_BIAS") != nullptr && cols * size_of(t) % 16 == 0 && ld * size_of(t) % 16 == 0) {
    const int64_t wide = ceil_div(cols * size_of(t), 256 * 16);
    parts = std::clamp<int64_t>(multiprocessors / wide, 1, std::max<int64_t>(1, rows / 16));
    return;
  }
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
    if (std::getenv("NEMO_BIAS") != nullptr && vector) {
      const int64_t vectors = cols / kLanes<T>, strips = ceil_div(vectors, 256), strip = ceil_div(vectors, strips);
      const dim3 blocks(static_cast<unsigned>(strips), static_cast<unsigned>(parts));
      const auto run = [&](auto v) {
        constexpr int V = decltype(v)::value, kBytes = kStreamWarps * kStreamStages * V * 512;
        check(cudaFuncSetAttribute(column_stream_kernel<T, V>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes), "shared memory of a kernel");
        column_stream_kernel<T, V><<<blocks, 32 * kStreamWarps, kBytes, l.stream()>>>(x, rows, static_cast<int>(vectors), static_cast<int>(strip), ld, partial, pitch);
      };
      if (strip <= 96)
        run(std::integral_constant<int, 3>{});
      else if (strip <= 160)
        run(std::integral_constant<int, 5>{});
      else if (strip <= 224)
        run(std::integral_constant<int, 7>{});
      else
        run(std::integral_constant<int, 8>{});
    } else if (vector)
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
