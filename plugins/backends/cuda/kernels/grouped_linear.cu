// grouped_linear and its gradients: the rows of each expert, found on the device (groups.hpp), times that expert's weights. 2 a n k flops
// each. 16-bit products by wgmma in tiles of 128 x 256 (grouped_wide.cuh) where they are
// wide and 16-byte aligned, else by mma.sync in tiles of 128 x 128 (grouped_tile.cuh); f32 by FMA in tiles of 64 x 64. The grid is as large
// as any routing may need; blocks without a tile end at once, so that nothing waits for the host and the launch can be captured. Every sum
// has one order: a tile walks the rows of its expert as they are sorted.
#include "kernels/grouped_args.cuh"

namespace nemo::cuda {

namespace {

using namespace grouped;

template <class H, Lay lay_w>
__global__ void __launch_bounds__(kThreads, 2) rows_kernel(const RowsArgs a) {
  extern __shared__ __align__(16) unsigned char memory[];
  H* shared = reinterpret_cast<H*>(memory);
  const Place place(a.lists, a.experts, static_cast<int32_t>(blockIdx.x), kTile);
  if (place.expert < 0) return;
  const int64_t col0 = static_cast<int64_t>(blockIdx.y) * kTile;
  const int32_t* order = a.lists.order + place.first;
  const bool held = place.expert < a.experts;
  Sums c = {};
  if (held) {
    const H *x = static_cast<const H*>(a.x), *w = static_cast<const H*>(a.w) + static_cast<int64_t>(place.expert) * a.out * a.reduced;
    const int steps = static_cast<int>((a.reduced + kDepth - 1) / kDepth);
    Along<H> rows{{}, x, a.reduced, a.vector};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int r = static_cast<int>(threadIdx.x) / 4 + 32 * j;
      rows.row[j] = r < place.rows ? x + order[r] * a.ldx : nullptr;
    }
    if constexpr (lay_w == Lay::along) {
      Along<H> weights{{}, w, a.reduced, a.vector};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t n = col0 + threadIdx.x / 4 + 32 * j;
        weights.row[j] = n < a.out ? w + n * a.reduced : nullptr;
      }
      multiply_tile<Lay::along, Lay::along>(c, shared, rows, weights, steps);
    } else {
      Across<H> weights{w + col0, a.out, a.reduced, a.out - col0 - threadIdx.x % 16 * 8, nullptr, a.vector};
      multiply_tile<Lay::along, Lay::across>(c, shared, rows, weights, steps);
    }
  }
  const H* bias = held && a.bias != nullptr ? static_cast<const H*>(a.bias) + place.expert * a.out : nullptr;
  each_pair(c, [&](int r, int n, float low, float high) {
    if (bias != nullptr) {
      if (col0 + n < a.out) low += widen(bias[col0 + n]);
      if (col0 + n + 1 < a.out) high += widen(bias[col0 + n + 1]);
    }
    *reinterpret_cast<uint32_t*>(shared + r * kAcrossPitch + n) = pack<H>(low, high);
  });
  __syncthreads();
  const int c0 = static_cast<int>(threadIdx.x) % 16 * 8;
  for (int r = static_cast<int>(threadIdx.x) / 16; r < place.rows; r += kThreads / 16) {
    H* to = static_cast<H*>(a.y) + order[r] * a.ldy + col0 + c0;
    const H* from = shared + r * kAcrossPitch + c0;
    if (a.vector) {
      if (col0 + c0 < a.out) *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
    } else {
      for (int e = 0; e < 8 && col0 + c0 + e < a.out; ++e) to[e] = from[e];
    }
  }
}

template <class H>
__global__ void __launch_bounds__(kThreads, 2) wgrad_kernel(const WgradArgs a) {
  extern __shared__ __align__(16) unsigned char memory[];
  H* shared = reinterpret_cast<H*>(memory);
  const int64_t k0 = static_cast<int64_t>(blockIdx.x) * kTile, n0 = static_cast<int64_t>(blockIdx.y) * kTile, expert = blockIdx.z;
  const int32_t first = a.lists.first[expert], rows = a.lists.first[expert + 1] - first;
  if (rows == 0 && a.add) return;
  const int32_t* order = a.lists.order + first;
  Sums c = {};
  const int64_t col = threadIdx.x % 16 * 8;
  Across<H> dy{static_cast<const H*>(a.dy) + n0, a.lddy, rows, a.n - n0 - col, order, a.vector};
  Across<H> x{static_cast<const H*>(a.x) + k0, a.ldx, rows, a.k - k0 - col, order, a.vector};
  dy.look_up(0);
  x.look_up(0);
  multiply_tile<Lay::across, Lay::across>(c, shared, dy, x, (rows + kDepth - 1) / kDepth);
  const bool pairs = a.k % 2 == 0 && a.grad == NEMO_DTYPE_F32;
  each_pair(c, [&](int r, int col, float low, float high) {
    const int64_t n = n0 + r, k = k0 + col, at = (expert * a.n + n) * a.k + k;
    if (n >= a.n || k >= a.k) return;
    if (pairs) {
      float2* to = reinterpret_cast<float2*>(static_cast<float*>(a.dw) + at);
      const float2 old = a.add ? *to : make_float2(0, 0);
      *to = make_float2(old.x + low, old.y + high);
    } else {
      add_to<H>(a.grad, a.dw, at, low, a.add);
      if (k + 1 < a.k) add_to<H>(a.grad, a.dw, at + 1, high, a.add);
    }
  });
}

// f32. A tile of 64 x 64 by 256 threads of 4 x 4.
constexpr int kPlain = 64, kPlainDepth = 16, kPlainThreads = 256;

// c[i][j] is the element at row threadIdx.x / 16 + 16 i, column threadIdx.x % 16 + 16 j. a(row, k), b(column, k) read global memory, k
// beyond the reduction excluded.
template <bool kAAlong, bool kBAlong, class A, class B>
__device__ void multiply_plain(float (&c)[4][4], int64_t reduced, const A& a, const B& b) {
  __shared__ float tile_a[kPlainDepth][kPlain + 1], tile_b[kPlainDepth][kPlain + 1];
  const int tid = static_cast<int>(threadIdx.x);
  for (int64_t k0 = 0; k0 < reduced; k0 += kPlainDepth) {
#pragma unroll
    for (int j = 0; j < kPlain * kPlainDepth / kPlainThreads; ++j) {
      const int i = tid + j * kPlainThreads;
      const int ra = kAAlong ? i / kPlainDepth : i % kPlain, ka = kAAlong ? i % kPlainDepth : i / kPlain;
      const int rb = kBAlong ? i / kPlainDepth : i % kPlain, kb = kBAlong ? i % kPlainDepth : i / kPlain;
      tile_a[ka][ra] = k0 + ka < reduced ? a(ra, k0 + ka) : 0.0f;
      tile_b[kb][rb] = k0 + kb < reduced ? b(rb, k0 + kb) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kPlainDepth; ++k) {
      float x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = tile_a[k][tid / 16 + 16 * i], y[i] = tile_b[k][tid % 16 + 16 * i];
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) c[i][j] += x[i] * y[j];
    }
    __syncthreads();
  }
}

template <Lay lay_w>
__global__ void __launch_bounds__(kPlainThreads) rows_plain_kernel(const RowsArgs a) {
  const Place place(a.lists, a.experts, static_cast<int32_t>(blockIdx.x), kPlain);
  if (place.expert < 0) return;
  const int64_t col0 = static_cast<int64_t>(blockIdx.y) * kPlain;
  const int32_t* order = a.lists.order + place.first;
  const bool held = place.expert < a.experts;
  const auto* x = static_cast<const float*>(a.x);
  const float* w = static_cast<const float*>(a.w) + static_cast<int64_t>(place.expert) * a.out * a.reduced;
  float c[4][4] = {};
  const auto row_of = [&](int r, int64_t k) { return r < place.rows ? x[order[r] * a.ldx + k] : 0.0f; };
  const auto weight = [&](int n, int64_t k) {
    if (col0 + n >= a.out) return 0.0f;
    return lay_w == Lay::along ? w[(col0 + n) * a.reduced + k] : w[k * a.out + col0 + n];
  };
  if (held) multiply_plain<true, lay_w == Lay::along>(c, a.reduced, row_of, weight);
  for (int i = 0; i < 4; ++i) {
    const int r = static_cast<int>(threadIdx.x) / 16 + 16 * i;
    if (r >= place.rows) continue;
    float* to = static_cast<float*>(a.y) + order[r] * a.ldy;
    for (int j = 0; j < 4; ++j) {
      const int64_t n = col0 + threadIdx.x % 16 + 16 * j;
      if (n < a.out) to[n] = c[i][j] + (held && a.bias != nullptr ? static_cast<const float*>(a.bias)[place.expert * a.out + n] : 0.0f);
    }
  }
}

__global__ void __launch_bounds__(kPlainThreads) wgrad_plain_kernel(const WgradArgs a) {
  const int64_t k0 = static_cast<int64_t>(blockIdx.x) * kPlain, n0 = static_cast<int64_t>(blockIdx.y) * kPlain, expert = blockIdx.z;
  const int32_t first = a.lists.first[expert], rows = a.lists.first[expert + 1] - first;
  if (rows == 0 && a.add) return;
  const int32_t* order = a.lists.order + first;
  const auto *dy = static_cast<const float*>(a.dy), *x = static_cast<const float*>(a.x);
  float c[4][4] = {};
  multiply_plain<false, false>(
      c, rows, [&](int n, int64_t r) { return n0 + n < a.n ? dy[order[r] * a.lddy + n0 + n] : 0.0f; },
      [&](int k, int64_t r) { return k0 + k < a.k ? x[order[r] * a.ldx + k0 + k] : 0.0f; });
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int64_t n = n0 + threadIdx.x / 16 + 16 * i, k = k0 + threadIdx.x % 16 + 16 * j;
      if (n < a.n && k < a.k) add_to<bf16>(a.grad, a.dw, (expert * a.n + n) * a.k + k, c[i][j], a.add);
    }
}

// db[e][n] (+)= the sum of dy over the rows of e: a block per expert and 32 columns.
template <class T>
__global__ void __launch_bounds__(256) bias_kernel(const WgradArgs a) {
  const int64_t n = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x, expert = blockIdx.y;
  const int32_t first = a.lists.first[expert], last = a.lists.first[expert + 1];
  float sum = 0;
  if (n < a.n)
#pragma unroll 4
    for (int32_t r = first + static_cast<int32_t>(threadIdx.y); r < last; r += 8)
      sum += widen(static_cast<const T*>(a.dy)[a.lists.order[r] * a.lddy + n]);
  __shared__ float sums[8][32];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || n >= a.n) return;
  for (int y = 1; y < 8; ++y) sum += sums[y][threadIdx.x];
  add_to<std::conditional_t<sizeof(T) == 2, T, bf16>>(a.grad, a.dw, expert * a.n + n, sum, a.add);
}

// Columns of the result from which on wide tiles pay.
constexpr int64_t kWide = 192;

struct Shapes {
  GroupOrder order;
  int64_t n, k;
  nemo_dtype type;
  Shapes(const Node& node)
      : order{node.size('a'), node.size('e'), node.integer("shard_offset"), node.compute() == NEMO_DTYPE_F32 ? kPlain : kTile},
        n(node.size('n')),
        k(node.has_attribute("contract") ? node.size('k') : 0),
        type(node.compute()) {
    order.check(node);
    if (order.experts > 65535 || std::max(n, k) > int64_t{65535} * kPlain) node.refuse("so many features or experts have no kernel");
  }
  int tile() const { return type == NEMO_DTYPE_F32 ? kPlain : kTile; }
};

Matrix by_rows(const Node& node, const Tensor& t) { return node.matrix(t, node.group_rank('a')); }

template <class Kernel>
void allow_shared(Kernel kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "grouped_linear: shared memory");
}

// f(H{}) with the 16-bit type.
template <class F>
void with_half(nemo_dtype d, F&& f) {
  d == NEMO_DTYPE_BF16 ? f(bf16{}) : f(f16{});
}

void launch_rows(const Shapes& s, const RowsArgs& a, Lay lay, cudaStream_t stream) {
  if (s.order.rows * a.out == 0) return;
  const dim3 grid(static_cast<unsigned>(s.order.most_tiles()), static_cast<unsigned>(ceil_div(a.out, s.tile())));
  if (s.type == NEMO_DTYPE_F32)
    return lay == Lay::along ? rows_plain_kernel<Lay::along><<<grid, kPlainThreads, 0, stream>>>(a)
                             : rows_plain_kernel<Lay::across><<<grid, kPlainThreads, 0, stream>>>(a);
  if (a.vector && a.out >= kWide) return launch_rows_wide(s.type, a, lay, s.order.most_tiles(), stream);
  with_half(s.type, [&](auto tag) {
    using H = decltype(tag);
    if (lay == Lay::along)
      rows_kernel<H, Lay::along><<<grid, kThreads, kSharedBytes<H>, stream>>>(a);
    else
      rows_kernel<H, Lay::across><<<grid, kThreads, kSharedBytes<H>, stream>>>(a);
  });
}

// 16-byte access of 16-bit elements.
bool vectors_fit(std::initializer_list<int64_t> steps, std::initializer_list<const void*> pointers) {
  bool fit = true;
  for (const int64_t s : steps) fit = fit && s % 8 == 0;
  for (const void* p : pointers) fit = fit && aligned16(p);
  return fit;
}

// out, reduced: the columns of y and x.
Prepared rows_product(const Node& node, Lay lay, int64_t Shapes::*out, int64_t Shapes::*reduced, bool biased) {
  const Matrix x = by_rows(node, node.in(0)), y = by_rows(node, node.out(0));
  for (const size_t i : {1, 2}) node.need_contiguous(node.in(i));
  const Shapes s(node);
  if (s.type != NEMO_DTYPE_F32) prepare_wide(s.type);
  if (s.type != NEMO_DTYPE_F32)
    with_half(s.type, [&](auto tag) {
      using H = decltype(tag);
      allow_shared(lay == Lay::along ? rows_kernel<H, Lay::along> : rows_kernel<H, Lay::across>, kSharedBytes<H>);
    });
  return make_kernel(
      [=](const Launch& l) {
        const RowsArgs a{l.in(0),
                         l.in(2),
                         biased ? l.in(3) : nullptr,
                         l.out(0),
                         s.order.run(l.in<int32_t>(1), l.workspace<char>(), l.stream()),
                         x.ld,
                         y.ld,
                         s.*out,
                         s.*reduced,
                         static_cast<int32_t>(s.order.experts),
                         vectors_fit({x.ld, y.ld, s.n, s.k}, {l.in(0), l.in(2), l.out(0)})};
        launch_rows(s, a, lay, l.stream());
      },
      s.order.workspace());
}

}  // namespace

NEMO_CUDA_KERNEL(grouped_linear) {
  node.need_contiguous(node.in(3));
  return rows_product(node, Lay::along, &Shapes::n, &Shapes::k, node.in(3).present());
}

NEMO_CUDA_KERNEL(grouped_linear_dgrad) { return rows_product(node, Lay::across, &Shapes::k, &Shapes::n, false); }

NEMO_CUDA_KERNEL(grouped_linear_wgrad) {
  const Matrix dy = by_rows(node, node.in(0)), x = by_rows(node, node.in(2));
  node.need_contiguous(node.in(1));
  node.need_contiguous(node.out(0));
  const Shapes s(node);
  const nemo_dtype grad = node.out(0).dtype;
  if (grad != NEMO_DTYPE_F32 && grad != (s.type == NEMO_DTYPE_F16 ? NEMO_DTYPE_F16 : NEMO_DTYPE_BF16))
    node.refuse("gradients of experts are f32, or of the 16-bit type computed in");
  if (s.type != NEMO_DTYPE_F32) prepare_wide(s.type);
  if (s.type != NEMO_DTYPE_F32) with_half(s.type, [](auto tag) { allow_shared(wgrad_kernel<decltype(tag)>, kSharedBytes<decltype(tag)>); });
  return make_kernel(
      [=](const Launch& l) {
        const WgradArgs a{l.in(0),
                          l.in(2),
                          l.out(0),
                          s.order.run(l.in<int32_t>(1), l.workspace<char>(), l.stream()),
                          dy.ld,
                          x.ld,
                          s.n,
                          s.k,
                          grad,
                          vectors_fit({dy.ld, x.ld, s.n, s.k}, {l.in(0), l.in(2)}),
                          l.write() == Write::accumulate};
        if (s.n * s.k == 0) return;
        const dim3 grid(static_cast<unsigned>(ceil_div(s.k, s.tile())), static_cast<unsigned>(ceil_div(s.n, s.tile())),
                        static_cast<unsigned>(s.order.experts));
        if (s.type == NEMO_DTYPE_F32) return wgrad_plain_kernel<<<grid, kPlainThreads, 0, l.stream()>>>(a);
        if (a.vector && s.k >= kWide) return launch_wgrad_wide(s.type, a, s.order.experts, l.stream());
        with_half(s.type, [&](auto tag) {
          using H = decltype(tag);
          wgrad_kernel<H><<<grid, kThreads, kSharedBytes<H>, l.stream()>>>(a);
        });
      },
      s.order.workspace());
}

NEMO_CUDA_KERNEL(grouped_bias_grad) {
  const Matrix dy = by_rows(node, node.in(0));
  node.need_contiguous(node.in(1));
  node.need_contiguous(node.out(0));
  const Shapes s(node);
  const nemo_dtype grad = node.out(0).dtype;
  if (grad != NEMO_DTYPE_F32 && grad != (s.type == NEMO_DTYPE_F16 ? NEMO_DTYPE_F16 : NEMO_DTYPE_BF16))
    node.refuse("gradients of experts are f32, or of the 16-bit type computed in");
  return with_type(s.type, [&](auto tag) {
    using T = decltype(tag);
    return make_kernel(
        [=](const Launch& l) {
          const WgradArgs a{l.in(0),
                            nullptr,
                            l.out(0),
                            s.order.run(l.in<int32_t>(1), l.workspace<char>(), l.stream()),
                            dy.ld,
                            0,
                            s.n,
                            0,
                            grad,
                            false,
                            l.write() == Write::accumulate};
          const dim3 grid(grid_of(s.n, 32), static_cast<unsigned>(s.order.experts));
          bias_kernel<T><<<grid, dim3(32, 8), 0, l.stream()>>>(a);
        },
        s.order.workspace());
  });
}

}  // namespace nemo::cuda
