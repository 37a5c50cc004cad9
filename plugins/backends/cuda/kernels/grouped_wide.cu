// Grouped products in tiles of 128 x 256 by wgmma (grouped_wide.cuh), one block per multiprocessor. Blocks walk over 16 tiles of rows
// before the next columns, so that what runs at once shares rows and weights in the L2 cache.
#include "kernels/grouped_args.cuh"
#include "kernels/grouped_wide.cuh"

namespace nemo::cuda::grouped {

namespace {

constexpr int kTogether = 16, kPitch = wide::kCols + 8;  // row tiles; elements of a row of the result in shared memory
static_assert(kTile == wide::kRows && wide::kRows * kPitch * 2 <= wide::kStages * wide::kStage);

struct TileOrder {
  int32_t row_tiles, col_tiles;
  __device__ void find(int32_t& row, int32_t& col) const {
    const int32_t id = static_cast<int32_t>(blockIdx.x), group = id / (kTogether * col_tiles), rest = id % (kTogether * col_tiles);
    const int32_t rows = min(kTogether, row_tiles - group * kTogether);
    row = group * kTogether + rest % rows;
    col = rest / rows;
  }
};

template <class H, Lay lay_w>
__global__ void __launch_bounds__(wide::kThreads, 1) rows_kernel(const RowsArgs a, const TileOrder tiles) {
  extern __shared__ __align__(16) unsigned char memory[];
  const uint32_t shared = wide::shared_base(memory);
  int32_t row_tile = 0, col_tile = 0;
  tiles.find(row_tile, col_tile);
  const Place place(a.lists, a.experts, row_tile, kTile);
  if (place.expert < 0) return;
  const int64_t col0 = static_cast<int64_t>(col_tile) * wide::kCols;
  const int32_t* order = a.lists.order + place.first;
  const bool held = place.expert < a.experts;
  wide::Sums c = {};
  if (held) {
    const H *x = static_cast<const H*>(a.x), *w = static_cast<const H*>(a.w) + static_cast<int64_t>(place.expert) * a.out * a.reduced;
    const int steps = static_cast<int>((a.reduced + wide::kDepth - 1) / wide::kDepth);
    wide::Along<H, wide::kRows> rows([&](int r) { return r < place.rows ? x + order[r] * a.ldx : nullptr; }, x, a.reduced);
    if constexpr (lay_w == Lay::along) {
      wide::Along<H, wide::kCols> weights([&](int n) { return col0 + n < a.out ? w + (col0 + n) * a.reduced : nullptr; }, w, a.reduced);
      wide::multiply_tile<Lay::along, Lay::along, H>(c, shared, rows, weights, steps);
    } else {
      wide::Across<H, wide::kCols> weights(w + col0, a.out, a.reduced, a.out - col0);
      wide::multiply_tile<Lay::along, Lay::across, H>(c, shared, rows, weights, steps);
    }
  }
  const H* bias = held && a.bias != nullptr ? static_cast<const H*>(a.bias) + place.expert * a.out : nullptr;
  H* result = reinterpret_cast<H*>(memory + (shared - static_cast<uint32_t>(__cvta_generic_to_shared(memory))));
  wide::each_pair(c, [&](int r, int n, float low, float high) {
    if (bias != nullptr && col0 + n < a.out) low += widen(bias[col0 + n]), high += widen(bias[col0 + n + 1]);
    *reinterpret_cast<uint32_t*>(result + r * kPitch + n) = pack<H>(low, high);
  });
  __syncthreads();
  const int c0 = static_cast<int>(threadIdx.x) % 32 * 8;
  if (col0 + c0 >= a.out) return;
  for (int r = static_cast<int>(threadIdx.x) / 32; r < place.rows; r += wide::kThreads / 32)
    *reinterpret_cast<uint4*>(static_cast<H*>(a.y) + order[r] * a.ldy + col0 + c0) =
        *reinterpret_cast<const uint4*>(result + r * kPitch + c0);
}

template <class H>
__global__ void __launch_bounds__(wide::kThreads, 1) wgrad_kernel(const WgradArgs a, const TileOrder tiles) {
  extern __shared__ __align__(16) unsigned char memory[];
  const uint32_t shared = wide::shared_base(memory);
  int32_t n_tile = 0, k_tile = 0;
  tiles.find(n_tile, k_tile);
  const int64_t n0 = static_cast<int64_t>(n_tile) * wide::kRows, k0 = static_cast<int64_t>(k_tile) * wide::kCols, expert = blockIdx.y;
  const int32_t first = a.lists.first[expert], rows = a.lists.first[expert + 1] - first;
  if (rows == 0 && a.add) return;
  const int32_t* order = a.lists.order + first;
  wide::Ordered<H, wide::kRows> dy(static_cast<const H*>(a.dy) + n0, a.lddy, order, rows, a.n - n0);
  wide::Ordered<H, wide::kCols> x(static_cast<const H*>(a.x) + k0, a.ldx, order, rows, a.k - k0);
  wide::Sums c = {};
  wide::multiply_tile<Lay::across, Lay::across, H>(c, shared, dy, x, (rows + wide::kDepth - 1) / wide::kDepth);
  const bool f32 = a.grad == NEMO_DTYPE_F32;
  wide::each_pair(c, [&](int r, int col, float low, float high) {
    const int64_t n = n0 + r, k = k0 + col, at = (expert * a.n + n) * a.k + k;
    if (n >= a.n || k >= a.k) return;
    if (f32) {
      float2* to = reinterpret_cast<float2*>(static_cast<float*>(a.dw) + at);
      const float2 old = a.add ? __ldcs(to) : make_float2(0, 0);
      __stcs(to, make_float2(old.x + low, old.y + high));
    } else {
      add_to<H>(a.grad, a.dw, at, low, a.add);
      add_to<H>(a.grad, a.dw, at + 1, high, a.add);
    }
  });
}

template <class F>
void with_half(nemo_dtype d, F&& f) {
  d == NEMO_DTYPE_BF16 ? f(bf16{}) : f(f16{});
}

}  // namespace

void prepare_wide(nemo_dtype type) {
  with_half(type, [](auto tag) {
    using H = decltype(tag);
    const auto allow = [](auto kernel) {
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, wide::kSharedBytes), "grouped_linear: shared memory");
    };
    allow(rows_kernel<H, Lay::along>);
    allow(rows_kernel<H, Lay::across>);
    allow(wgrad_kernel<H>);
  });
}

void launch_rows_wide(nemo_dtype type, const RowsArgs& a, Lay lay, int64_t row_tiles, cudaStream_t stream) {
  const TileOrder tiles{static_cast<int32_t>(row_tiles), static_cast<int32_t>(ceil_div(a.out, wide::kCols))};
  const auto grid = static_cast<unsigned>(row_tiles * tiles.col_tiles);
  with_half(type, [&](auto tag) {
    using H = decltype(tag);
    if (lay == Lay::along)
      rows_kernel<H, Lay::along><<<grid, wide::kThreads, wide::kSharedBytes, stream>>>(a, tiles);
    else
      rows_kernel<H, Lay::across><<<grid, wide::kThreads, wide::kSharedBytes, stream>>>(a, tiles);
  });
}

void launch_wgrad_wide(nemo_dtype type, const WgradArgs& a, int64_t experts, cudaStream_t stream) {
  const TileOrder tiles{static_cast<int32_t>(ceil_div(a.n, wide::kRows)), static_cast<int32_t>(ceil_div(a.k, wide::kCols))};
  const dim3 grid(static_cast<unsigned>(tiles.row_tiles * tiles.col_tiles), static_cast<unsigned>(experts));
  with_half(type, [&](auto tag) {
    using H = decltype(tag);
    wgrad_kernel<H><<<grid, wide::kThreads, wide::kSharedBytes, stream>>>(a, tiles);
  });
}

}  // namespace nemo::cuda::grouped
