// rms_norm, layer_norm and their fusions with the residual add. Blocks walk over rows; a row is read once and kept in registers, statistics
// are f32. Bytes per element (bf16): 4, with residual 8; bound by memory.
#include "kernels/norm_rows.cuh"

namespace nemo::cuda {

namespace {

// Mean and sum of squared deviations over the block, from those of `n` elements in every thread, combined pairwise (Chan et al. 1983) with
// one barrier. `scratch` holds 64 values.
__device__ __forceinline__ void combine_moments(float& mean, float& squares, float n, float* scratch) {
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, mean, offset), delta = other - mean;
    squares += __shfl_xor_sync(0xffffffffu, squares, offset) + delta * delta * n * 0.5f;
    mean = 0.5f * (mean + other);
    n *= 2;
  }
  const int warps = static_cast<int>(blockDim.x) / 32;
  if (warps == 1) return;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = mean, scratch[32 + threadIdx.x / 32] = squares;
  __syncthreads();
  float sum = 0, spread = 0;
  squares = 0;
  for (int w = 0; w < warps; ++w) sum += scratch[w], squares += scratch[32 + w];
  mean = sum / static_cast<float>(warps);
  for (int w = 0; w < warps; ++w) spread += (scratch[w] - mean) * (scratch[w] - mean);
  squares += n * spread;
}

// Rows of up to 4 items are fetched while the row before them is worked on.
template <class T, int N, int kItems>
__global__ void __launch_bounds__(max_threads(kItems)) norm_kernel(const NormArgs p) {
  __shared__ float scratch[2][64];  // reductions alternate: a barrier lies between two uses of the same half
  constexpr bool kAhead = kItems <= 4;
  const int vectors = static_cast<int>(p.cols / N), threads = static_cast<int>(blockDim.x), first = static_cast<int>(threadIdx.x);
  const float scale = 1.0f / static_cast<float>(p.cols);
  const bool even = vectors == threads * kItems;  // every thread holds as many elements
  Raw<T, N> raw_x[kItems], raw_r[kItems];
  const auto fetch = [&](int64_t row) {
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const int at = k * threads + first;
      if (at >= vectors) continue;
      raw_x[k] = load_raw<T, N>(p.x, row * p.ldx + at * N);
      if (p.residual != nullptr) raw_r[k] = load_raw<T, N>(p.residual, row * p.ldr + at * N);
    }
  };
  if (kAhead) fetch(blockIdx.x);
  int turn = 0;
  float top = 0;
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    if (!kAhead) fetch(row);
    float x[kItems][N];
    float total[1] = {0};
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const int at = k * threads + first;
#pragma unroll
      for (int i = 0; i < N; ++i) x[k][i] = 0;
      if (at >= vectors) continue;
      widen(raw_x[k], x[k]);
      if (p.residual != nullptr) {
        float r[N];
        widen(raw_r[k], r);
        if (p.bias != nullptr) {
          float bias[N];
          load<N>(static_cast<const T*>(p.bias) + at * N, bias);
#pragma unroll
          for (int i = 0; i < N; ++i) x[k][i] += bias[i];
        }
#pragma unroll
        for (int i = 0; i < N; ++i) x[k][i] = widen(narrow<T>(x[k][i] + r[i]));
        store<N>(static_cast<T*>(p.sum) + row * p.lds + at * N, x[k]);
      }
#pragma unroll
      for (int i = 0; i < N; ++i) total[0] += p.layer ? x[k][i] : x[k][i] * x[k][i];
    }
    if (kAhead && row + gridDim.x < p.rows) fetch(row + gridDim.x);
    float mean = 0;
    if (p.layer && even) {
      mean = total[0] / (kItems * N);
      total[0] = 0;
#pragma unroll
      for (int k = 0; k < kItems; ++k)
#pragma unroll
        for (int i = 0; i < N; ++i) total[0] += (x[k][i] - mean) * (x[k][i] - mean);
      combine_moments(mean, total[0], kItems * N, scratch[turn++ % 2]);
    } else {
      block_reduce<1>(total, scratch[turn++ % 2], Sum{});
    }
    if (p.layer && !even) {
      mean = total[0] * scale;
      total[0] = 0;
#pragma unroll
      for (int k = 0; k < kItems; ++k) {
        if (k * threads + first >= vectors) continue;
#pragma unroll
        for (int i = 0; i < N; ++i) total[0] += (x[k][i] - mean) * (x[k][i] - mean);
      }
      block_reduce<1>(total, scratch[turn++ % 2], Sum{});
    }
    const float rstd = 1.0f / sqrtf(total[0] * scale + p.eps);
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const int at = k * threads + first;
      if (at >= vectors) continue;
      float w[N], b[N];
      if (p.w != nullptr) load<N>(static_cast<const T*>(p.w) + at * N, w);
      if (p.b != nullptr) load<N>(static_cast<const T*>(p.b) + at * N, b);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        float v = (x[k][i] - mean) * rstd;
        if (p.w != nullptr) v *= w[i] + p.shift;
        x[k][i] = p.b != nullptr ? v + b[i] : v;
        if (p.top != nullptr) top = fmaxf(top, fabsf(x[k][i]));
      }
      store<N>(static_cast<T*>(p.y) + row * p.ldy + at * N, x[k]);
    }
    if (threadIdx.x == 0) {
      p.rstd[row] = rstd;
      if (p.mean != nullptr) p.mean[row] = mean;
    }
  }
  if (p.top != nullptr) raise_to(p.top, widen(narrow<T>(top)));
}

template <class T, int N>
unsigned grid_for(int64_t rows, int64_t cols, int multiprocessors) {
  const RowShape shape = row_shape(cols, N);
  unsigned grid = 1;
  with_items(shape.items,
             [&](auto items) { grid = resident_grid(norm_kernel<T, N, decltype(items)::value>, shape, rows, multiprocessors); });
  return grid;
}

template <class T, int N>
void launch_norm(const NormArgs& p, unsigned grid, cudaStream_t stream) {
  const RowShape shape = row_shape(p.cols, N);
  with_items(shape.items,
             [&](auto items) { norm_kernel<T, N, decltype(items)::value><<<grid, static_cast<unsigned>(shape.threads), 0, stream>>>(p); });
}

// Where the tensors of a row stand; -1: the row has none.
struct Places {
  int residual, w, b, bias;  // inputs
  int sum, mean, rstd;       // outputs
};

template <Family kFamily, Residual kResidual>
constexpr Places places() {
  constexpr bool layer = kFamily == Family::layer;
  if (kResidual == Residual::no) return {-1, 1, layer ? 2 : -1, -1, -1, layer ? 1 : -1, layer ? 2 : 1};
  return {1, 2, layer ? 3 : -1, layer ? 4 : -1, 1, layer ? 2 : -1, layer ? 3 : 2};
}

bool vector_rows(const NormArgs& p, int lanes) {
  if (p.cols % lanes != 0) return false;
  for (int64_t ld : {p.ldx, p.ldr, p.ldy, p.lds})
    if (ld % lanes != 0) return false;
  for (const void* pointer : {p.x, p.residual, p.w, p.b, p.bias, static_cast<const void*>(p.y), static_cast<const void*>(p.sum)})
    if (!aligned16(pointer)) return false;
  return true;
}

template <Family kFamily, Residual kResidual, Top kTop = Top::no>
Prepared forward(const Node& node, const Device& device) {
  static constexpr Places at = places<kFamily, kResidual>();
  constexpr bool residual = kResidual == Residual::yes;
  const int split = node.group_rank('a');
  NormArgs fixed{};
  fixed.rows = node.size('a'), fixed.cols = node.size('d');
  fixed.ldx = node.matrix(node.in(0), split).ld, fixed.ldy = node.matrix(node.out(0), split).ld;
  if constexpr (residual) fixed.ldr = node.matrix(node.in(1), split).ld, fixed.lds = node.matrix(node.out(1), split).ld;
  node.need_contiguous(node.out(at.rstd));
  if constexpr (at.mean >= 0) node.need_contiguous(node.out(at.mean));
  const bool has_w = node.in(at.w).present();
  bool has_b = false, has_bias = false;
  if constexpr (at.b >= 0) has_b = node.in(at.b).present();
  if constexpr (at.bias >= 0) has_bias = node.in(at.bias).present();
  fixed.eps = static_cast<float>(node.number("eps"));
  fixed.shift = node.integer("zero_centered") != 0 ? 1.0f : 0.0f;
  fixed.layer = kFamily == Family::layer;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    check_row(node, fixed.cols, kLanes<T>);
    const unsigned wide = fixed.cols % kLanes<T> == 0 ? grid_for<T, kLanes<T>>(fixed.rows, fixed.cols, device.multiprocessors) : 0;
    const unsigned single = fixed.cols <= kMaxVectors ? grid_for<T, 1>(fixed.rows, fixed.cols, device.multiprocessors) : 0;
    const TeamShape teams = wide != 0 ? norm_teams<T>(fixed.rows, fixed.cols) : TeamShape{};
    return make_kernel([=](const Launch& l) {
      NormArgs p = fixed;
      p.x = l.in(0), p.y = l.out(0), p.rstd = l.out<float>(at.rstd);
      if constexpr (residual) p.residual = l.in(1), p.sum = l.out(1);
      if (has_w) p.w = l.in(at.w);
      if constexpr (at.b >= 0) p.b = has_b ? l.in(at.b) : nullptr;
      if constexpr (at.bias >= 0) p.bias = has_bias ? l.in(at.bias) : nullptr;
      if constexpr (at.mean >= 0) p.mean = l.out<float>(at.mean);
      if constexpr (kTop == Top::yes) {
        p.top = l.out<float>(at.rstd + 1);
        check(cudaMemsetAsync(p.top, 0, sizeof(float), l.stream()), "memset");
      }
      const bool vector = wide != 0 && vector_rows(p, kLanes<T>);
      if (!vector && single == 0) throw sdk::Error(NEMO_CODE_UNSUPPORTED, "cuda backend: norm: rows of this size must be 16-byte aligned");
      if (vector && teams.warps > 0)
        launch_rows<T, kFamily == Family::layer, residual>(p, teams, l.stream());
      else if (vector)
        launch_norm<T, kLanes<T>>(p, wide, l.stream());
      else
        launch_norm<T, 1>(p, single, l.stream());
    });
  });
}

}  // namespace

NEMO_CUDA_KERNEL(rms_norm) { return forward<Family::rms, Residual::no>(node, device); }
NEMO_CUDA_KERNEL(layer_norm) { return forward<Family::layer, Residual::no>(node, device); }
NEMO_CUDA_KERNEL(add_rms_norm) { return forward<Family::rms, Residual::yes>(node, device); }
NEMO_CUDA_KERNEL(rms_norm_amax) { return forward<Family::rms, Residual::no, Top::yes>(node, device); }
NEMO_CUDA_KERNEL(add_rms_norm_amax) { return forward<Family::rms, Residual::yes, Top::yes>(node, device); }
NEMO_CUDA_KERNEL(add_layer_norm) { return forward<Family::layer, Residual::yes>(node, device); }

}  // namespace nemo::cuda
