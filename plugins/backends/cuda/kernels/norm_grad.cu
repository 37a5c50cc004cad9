// Gradients of the norms: dx = rstd (g - mean(g) - xhat mean(g xhat)) + dresidual with g = dy w and xhat = (x - mean) rstd; rms has no
// mean(g). dw = sum dy xhat, db = sum dy and dbias = sum dx: each block sums its rows in registers, then the blocks' partials are added in
// order. Bytes per element (bf16): 6, with residual 8; bound by memory.
#include "kernels/column_sums.cuh"
#include "kernels/norm_grad_rows.cuh"

namespace nemo::cuda {

namespace {

// Registers are few, so that many blocks hide the latency: fetching rows ahead was measured to be slower.
// kSum: dbias is wanted.
template <class T, int N, int kItems, bool kSum>
__global__ void __launch_bounds__(max_threads(kItems)) norm_grad_kernel(const GradArgs p) {
  __shared__ float scratch[2][64];
  const int vectors = static_cast<int>(p.cols / N), threads = static_cast<int>(blockDim.x), first = static_cast<int>(threadIdx.x);
  const float scale = 1.0f / static_cast<float>(p.cols);
  float dw[kItems][N] = {}, db[kItems][N] = {}, dbias[kItems][N] = {};
  int turn = 0;
  float top = 0;
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const float mean = p.layer ? p.mean[row] : 0.0f, rstd = p.rstd[row];
    float xhat[kItems][N], g[kItems][N];
    float sums[2] = {0, 0};
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const int at = k * threads + first;
      if (at >= vectors) continue;
      load<N>(static_cast<const T*>(p.x) + row * p.ldx + at * N, xhat[k]);
      load<N>(static_cast<const T*>(p.dy) + row * p.ldy + at * N, g[k]);
      float w[N];
      if (p.w != nullptr) load<N>(static_cast<const T*>(p.w) + at * N, w);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        xhat[k][i] = (xhat[k][i] - mean) * rstd;
        dw[k][i] += g[k][i] * xhat[k][i];
        db[k][i] += g[k][i];
        if (p.w != nullptr) g[k][i] *= w[i] + p.shift;
        sums[0] += g[k][i];
        sums[1] += g[k][i] * xhat[k][i];
      }
    }
    block_reduce<2>(sums, scratch[turn++ % 2], Sum{});
    const float a = p.layer ? sums[0] * scale : 0.0f, b = sums[1] * scale;
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const int at = k * threads + first;
      if (at >= vectors) continue;
      float r[N];
      if (p.residual != nullptr) load<N>(static_cast<const T*>(p.residual) + row * p.ldr + at * N, r);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float v = rstd * (g[k][i] - a - xhat[k][i] * b);
        g[k][i] = p.residual != nullptr ? v + r[i] : v;
        if (kSum) dbias[k][i] += g[k][i];
        if (p.top != nullptr) top = fmaxf(top, fabsf(g[k][i]));
      }
      store<N>(static_cast<T*>(p.dx) + row * p.ldo + at * N, g[k]);
    }
  }
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    const int at = k * threads + first;
    if (at >= vectors) continue;
    if (p.dw != nullptr) store<N>(p.dw + blockIdx.x * p.pitch + at * N, dw[k]);
    if (p.db != nullptr) store<N>(p.db + blockIdx.x * p.pitch + at * N, db[k]);
    if (kSum) store<N>(p.dbias + blockIdx.x * p.pitch + at * N, dbias[k]);
  }
  if (p.top != nullptr) raise_to(p.top, widen(narrow<T>(top)));
}

template <class T, int N, bool kSum>
unsigned grid_for(int64_t rows, int64_t cols, int multiprocessors) {
  const RowShape shape = row_shape(cols, N);
  unsigned grid = 1;
  with_items(shape.items,
             [&](auto items) { grid = resident_grid(norm_grad_kernel<T, N, decltype(items)::value, kSum>, shape, rows, multiprocessors); });
  return grid;
}

template <class T, int N, bool kSum>
void launch_grad(const GradArgs& p, unsigned grid, cudaStream_t stream) {
  const RowShape shape = row_shape(p.cols, N);
  with_items(shape.items, [&](auto items) {
    norm_grad_kernel<T, N, decltype(items)::value, kSum><<<grid, static_cast<unsigned>(shape.threads), 0, stream>>>(p);
  });
}

bool vector_rows(const GradArgs& p, int lanes) {
  if (p.cols % lanes != 0) return false;
  for (int64_t ld : {p.ldx, p.ldr, p.ldy, p.ldo})
    if (ld % lanes != 0) return false;
  for (const void* pointer : {p.x, p.dy, p.w, p.residual, static_cast<const void*>(p.dx)})
    if (!aligned16(pointer)) return false;
  return true;
}

template <Family kFamily, Residual kResidual, Top kTop = Top::no, bool kSum = false>
Prepared backward(const Node& node, const Device& device) {
  constexpr bool layer = kFamily == Family::layer;
  constexpr int at_mean = layer ? 3 : -1, at_rstd = layer ? 4 : 3, at_res = at_rstd + 1;
  const int split = node.group_rank('a');
  GradArgs fixed{};
  fixed.rows = node.size('a'), fixed.cols = node.size('d'), fixed.pitch = partial_pitch(fixed.cols);
  fixed.ldy = node.matrix(node.in(0), split).ld, fixed.ldx = node.matrix(node.in(1), split).ld,
  fixed.ldo = node.matrix(node.out(0), split).ld;
  if constexpr (kResidual == Residual::yes) fixed.ldr = node.matrix(node.in(at_res), split).ld;
  fixed.shift = node.integer("zero_centered") != 0 ? 1.0f : 0.0f;
  fixed.layer = layer;
  const bool has_w = node.in(2).present();
  const nemo_dtype dw_type = node.out(1).dtype;
  const nemo_dtype db_type = layer ? node.out(layer ? 2 : 1).dtype : 0, dbias_type = kSum ? node.out(kSum ? 3 : 0).dtype : 0;
  if constexpr (kSum) node.need_contiguous(node.out(3));
  for (const Tensor* t : {&node.in(at_rstd), &node.out(1)}) node.need_contiguous(*t);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    check_row(node, fixed.cols, kLanes<T>);
    const unsigned wide = fixed.cols % kLanes<T> == 0 ? grid_for<T, kLanes<T>, kSum>(fixed.rows, fixed.cols, device.multiprocessors) : 0;
    const unsigned single = fixed.cols <= kMaxVectors ? grid_for<T, 1, kSum>(fixed.rows, fixed.cols, device.multiprocessors) : 0;
    constexpr bool residual = kResidual == Residual::yes;
    const TeamShape teams =
        wide != 0 ? prepare_rows<T, layer, residual, kSum>(fixed.rows, fixed.cols, device.multiprocessors) : TeamShape{};
    const uint64_t bytes =
        align_up(static_cast<uint64_t>(std::max({wide, single, teams.grid})) * static_cast<uint64_t>(fixed.pitch) * sizeof(float));
    return make_kernel(
        [=](const Launch& l) {
          GradArgs p = fixed;
          p.dy = l.in(0), p.x = l.in(1), p.w = has_w ? l.in(2) : nullptr, p.rstd = l.in<float>(at_rstd), p.dx = l.out(0);
          if constexpr (layer) p.mean = l.in<float>(at_mean);
          if constexpr (kResidual == Residual::yes) p.residual = l.in(at_res);
          if constexpr (kTop == Top::yes) {
            p.top = l.out<float>(layer ? 3 : 2);
            check(cudaMemsetAsync(p.top, 0, sizeof(float), l.stream()), "memset");
          }
          p.dw = dw_type != 0 ? l.workspace<float>() : nullptr;
          p.db = db_type != 0 ? l.workspace<float>(bytes) : nullptr;
          if constexpr (kSum) p.dbias = l.workspace<float>(2 * bytes);
          const bool vector = wide != 0 && vector_rows(p, kLanes<T>);
          const bool streams = vector && teams.warps > 0;
          const unsigned grid = streams ? teams.grid : vector ? wide : single;
          if (grid == 0) throw sdk::Error(NEMO_CODE_UNSUPPORTED, "cuda backend: norm gradient: rows of this size must be 16-byte aligned");
          if (streams)
            launch_rows<T, layer, residual, kSum>(p, teams, l.stream());
          else if (vector)
            launch_grad<T, kLanes<T>, kSum>(p, grid, l.stream());
          else
            launch_grad<T, 1, kSum>(p, grid, l.stream());
          ColumnSums sums{grid, p.cols, {}, 0};
          if (dw_type != 0) sums.add(p.dw, dw_type, l.out(1));
          if constexpr (layer)
            if (db_type != 0) sums.add(p.db, db_type, l.out(2));
          if constexpr (kSum) sums.add(p.dbias, dbias_type, l.out(3));
          finish_column_sums(sums, l);
        },
        (kSum ? 3 : 2) * bytes);
  });
}

}  // namespace

NEMO_CUDA_KERNEL(rms_norm_grad) { return backward<Family::rms, Residual::no>(node, device); }
NEMO_CUDA_KERNEL(layer_norm_grad) { return backward<Family::layer, Residual::no>(node, device); }
NEMO_CUDA_KERNEL(rms_norm_grad_add) { return backward<Family::rms, Residual::yes>(node, device); }
NEMO_CUDA_KERNEL(rms_norm_grad_add_amax) { return backward<Family::rms, Residual::yes, Top::yes>(node, device); }
NEMO_CUDA_KERNEL(layer_norm_grad_add) {
  if (node.out(3).present()) return backward<Family::layer, Residual::yes, Top::no, true>(node, device);
  return backward<Family::layer, Residual::yes>(node, device);
}

}  // namespace nemo::cuda
