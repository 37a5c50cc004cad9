// amax, quantize, recent_amax: 8-bit floats with one scale per tensor.
//
// quantize makes q and its transposed copy in one pass over x: a block takes a tile of 128 x 128, every thread 8 x 8 of it (8 loads of 16
// bytes in flight), turns its bytes in registers, and the columns meet in shared memory, so that both copies leave in 16- and 8-byte
// accesses that fill lines. bf16: 2 bytes read, 2 written per element; bound by memory.
#include <cuda_fp8.h>

#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kTile = 128, kThreads = 256, kEdge = 8;
constexpr int kChunks = kTile / kEdge;  // 8-byte pieces of a column of the tile

struct QuantizeArgs {
  const void* x;
  const float* amax;  // of this tensor
  uint8_t *q, *qt;    // nullptr: not wanted
  float* scale_inv;
  float* seen;  // nullptr: no history
  int64_t rows, cols, ld;
  float largest, shrink;  // shrink = 2^-margin
  bool vector;            // x and ld allow 16-byte loads
};

__device__ float scale_of(float amax, float largest, float shrink) {
  if (!(amax > 0) || isinf(amax)) return 1;
  return fminf(largest / amax * shrink, 3.4028235e38f);
}

template <__nv_fp8_interpretation_t kFormat>
__device__ __forceinline__ uint32_t four(float a, float b, float c, float d) {
  const uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, kFormat);
  const uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, kFormat);
  return low | high << 16;
}

// A 4 x 4 block of bytes, a row per word, transposed.
__device__ __forceinline__ void turn(uint32_t (&w)[4]) {
  const uint32_t a = __byte_perm(w[0], w[1], 0x5140), b = __byte_perm(w[0], w[1], 0x7362);
  const uint32_t c = __byte_perm(w[2], w[3], 0x5140), d = __byte_perm(w[2], w[3], 0x7362);
  w[0] = __byte_perm(a, c, 0x5410), w[1] = __byte_perm(a, c, 0x7632);
  w[2] = __byte_perm(b, d, 0x5410), w[3] = __byte_perm(b, d, 0x7632);
}

template <class T>
__device__ __forceinline__ void load_row(const T* at, bool vector, Raw<T, 8>& r) {
  if (vector) {
#pragma unroll
    for (int part = 0; part < static_cast<int>(sizeof(Raw<T, 8>) / 16); ++part)
      reinterpret_cast<uint4*>(&r)[part] = reinterpret_cast<const uint4*>(at)[part];
  } else {
#pragma unroll
    for (int e = 0; e < 8; ++e) r.v[e] = at[e];
  }
}

// Byte position of chunk `chunk` of column `col` in the shared tile: exclusive-or with the thread that writes it spreads the banks.
__device__ __forceinline__ int place(int col, int chunk) { return col * kTile + (chunk ^ (col / kEdge)) * kEdge; }

template <class T, __nv_fp8_interpretation_t kFormat>
__global__ void __launch_bounds__(kThreads) quantize_kernel(const QuantizeArgs a) {
  __shared__ alignas(16) uint8_t tile[kTile * kTile];
  const int across = static_cast<int>(threadIdx.x) % kChunks, down = static_cast<int>(threadIdx.x) / kChunks;
  const int64_t row0 = static_cast<int64_t>(blockIdx.y) * kTile, col0 = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t row = row0 + down * kEdge, col = col0 + across * kEdge;
  const float scale = scale_of(*a.amax, a.largest, a.shrink);
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) *a.scale_inv = 1.0f / scale;
  const bool inside = row < a.rows && col < a.cols;  // sizes are multiples of 8

  Raw<T, 8> x[kEdge];
  uint32_t left[kEdge] = {}, right[kEdge] = {};
  float top = 0;
  if (inside) {
    const T* from = static_cast<const T*>(a.x) + row * a.ld + col;
#pragma unroll
    for (int i = 0; i < kEdge; ++i) load_row(from + i * a.ld, a.vector, x[i]);
#pragma unroll
    for (int i = 0; i < kEdge; ++i) {
      float v[8];
      widen(x[i], v);
      if (a.seen != nullptr)
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          const float size = fabsf(v[e]);
          top = isinf(size) ? top : fmaxf(top, size);
        }
      left[i] = four<kFormat>(v[0] * scale, v[1] * scale, v[2] * scale, v[3] * scale);
      right[i] = four<kFormat>(v[4] * scale, v[5] * scale, v[6] * scale, v[7] * scale);
      if (a.q != nullptr) *reinterpret_cast<uint2*>(a.q + (row + i) * a.cols + col) = make_uint2(left[i], right[i]);
    }
  }
  if (a.seen != nullptr) raise_to(a.seen, top);
  if (a.qt == nullptr) return;

    // Rows 0-3 and 4-7 of this thread's 8 columns: words of 4 rows of one column each.
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t upper[4], lower[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) upper[i] = half == 0 ? left[i] : right[i], lower[i] = half == 0 ? left[i + 4] : right[i + 4];
    turn(upper);
    turn(lower);
#pragma unroll
    for (int c = 0; c < 4; ++c)
      *reinterpret_cast<uint2*>(tile + place(across * kEdge + half * 4 + c, down)) = make_uint2(upper[c], lower[c]);
  }
  __syncthreads();
  constexpr int kPieces = kTile / 16;  // 16-byte pieces of a column
#pragma unroll
  for (int at = static_cast<int>(threadIdx.x); at < kTile * kPieces; at += kThreads) {
    const int c = at / kPieces, piece = at % kPieces;
    if (col0 + c >= a.cols || row0 + piece * 16 >= a.rows) continue;
    const int turned = c / kEdge;
    uint4 v = *reinterpret_cast<const uint4*>(tile + c * kTile + ((piece * 2) ^ (turned & ~1)) * kEdge);
    if (turned & 1) v = make_uint4(v.z, v.w, v.x, v.y);
    *reinterpret_cast<uint4*>(a.qt + (col0 + c) * a.rows + row0 + piece * 16) = v;
  }
}

constexpr int kAmaxThreads = 512;

template <class T, int N>
__global__ void __launch_bounds__(kAmaxThreads) amax_kernel(const T* x, int64_t rows, int64_t vectors, int64_t ld, float* out) {
  __shared__ float scratch[32];
  float top[1] = {0};
  const int64_t total = rows * vectors, stride = static_cast<int64_t>(gridDim.x) * kAmaxThreads;
#pragma unroll 4
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kAmaxThreads + threadIdx.x; i < total; i += stride) {
    const int64_t row = rows == 1 ? 0 : i / vectors;
    float v[N];
    load<N>(x + row * ld + (i - row * vectors) * N, v);
#pragma unroll
    for (int e = 0; e < N; ++e) top[0] = fmaxf(top[0], fabsf(v[e]));
  }
  block_reduce<1>(top, scratch, Max{});
  if (threadIdx.x == 0 && top[0] > 0) atomicMax(reinterpret_cast<unsigned*>(out), __float_as_uint(top[0]));
}

// A block per row of the history; it moves on from its end, so that every column is read before it is written.
__global__ void recent_amax_kernel(float* history, int64_t length, float* amax, bool whole) {
  __shared__ float scratch[32];
  float* row = history + static_cast<int64_t>(blockIdx.x) * length;
  float top[1] = {0};
  for (int64_t i = threadIdx.x; i < (whole ? length : 1); i += blockDim.x) top[0] = fmaxf(top[0], row[i]);
  block_reduce<1>(top, scratch, Max{});
  if (threadIdx.x == 0) amax[blockIdx.x] = top[0];
  for (int64_t first = (length - 1) / blockDim.x * blockDim.x; first >= 0; first -= blockDim.x) {
    const int64_t i = first + threadIdx.x;
    const float before = i > 0 && i < length ? row[i - 1] : 0;
    __syncthreads();
    if (i < length) row[i] = before;
    __syncthreads();
  }
}

template <class T>
void launch_quantize(const QuantizeArgs& a, nemo_dtype format, cudaStream_t stream) {
  const dim3 grid(grid_of(a.cols, kTile), grid_of(a.rows, kTile));
  if (format == NEMO_DTYPE_E4M3)
    quantize_kernel<T, __NV_E4M3><<<grid, kThreads, 0, stream>>>(a);
  else
    quantize_kernel<T, __NV_E5M2><<<grid, kThreads, 0, stream>>>(a);
}

}  // namespace

NEMO_CUDA_KERNEL(amax) {
  const Tensor& x = node.in(0);
  const Aligned layout = node.align({&x});
  const unsigned blocks = static_cast<unsigned>(4 * device.multiprocessors);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      float* out = l.out<float>(0);
      check(cudaMemsetAsync(out, 0, sizeof(float), l.stream()), "memset");
      const bool vector = aligned16(l.in(0)) && layout.cols % kLanes<T> == 0 && (layout.rows == 1 || layout.ld[0] % kLanes<T> == 0);
      if (vector)
        amax_kernel<T, kLanes<T>>
            <<<blocks, kAmaxThreads, 0, l.stream()>>>(l.in<T>(0), layout.rows, layout.cols / kLanes<T>, layout.ld[0], out);
      else
        amax_kernel<T, 1><<<blocks, kAmaxThreads, 0, l.stream()>>>(l.in<T>(0), layout.rows, layout.cols, layout.ld[0], out);
    });
  });
}

NEMO_CUDA_KERNEL(quantize) {
  const Matrix x = node.matrix(node.in(0), node.group_rank('a'));
  const bool row_wise = node.out(0).present(), turned = node.out(1).present(), keeps = node.out(3).present();
  const std::string_view name = node.string("dtype");
  const nemo_dtype format = name == "e4m3" ? NEMO_DTYPE_E4M3 : NEMO_DTYPE_E5M2;
  if (name != "e4m3" && name != "e5m2") node.refuse("dtype must be e4m3 or e5m2");
  for (size_t i = 0; i < 2; ++i) {
    if (node.out(i).present() && node.out(i).dtype != format) node.refuse("the results must have the dtype that the attribute names");
    node.need_contiguous(node.out(i));
  }
  node.need_contiguous(node.in(1));
  node.need_contiguous(node.out(3));
  if (keeps && node.out(3).dtype != NEMO_DTYPE_F32) node.refuse("the history must be f32");
  const int64_t rows = node.size('a'), cols = node.size('k'), index = node.integer("index");
  if (rows % 16 != 0 || cols % 16 != 0) node.refuse("sizes must be multiples of 16");
  if (index < 0 || index >= node.size('t')) node.refuse("index is not one of the tensors");
  const int64_t depth = keeps ? node.size('h') : 0;
  const float largest = format == NEMO_DTYPE_E4M3 ? 448.0f : 57344.0f;
  const float shrink = std::exp2(-static_cast<float>(node.integer("margin")));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      if (rows * cols == 0) return;
      const QuantizeArgs a{l.in(0),
                           l.in<float>(1) + index,
                           row_wise ? l.out<uint8_t>(0) : nullptr,
                           turned ? l.out<uint8_t>(1) : nullptr,
                           l.out<float>(2),
                           keeps ? l.out<float>(3) + index * depth : nullptr,
                           rows,
                           cols,
                           x.ld,
                           largest,
                           shrink,
                           aligned16(l.in(0)) && x.ld * static_cast<int64_t>(sizeof(T)) % 16 == 0};
      launch_quantize<T>(a, format, l.stream());
    });
  });
}

NEMO_CUDA_KERNEL(recent_amax) {
  node.need_contiguous(node.in(0));
  node.need_contiguous(node.out(0));
  if (node.in(0).dtype != NEMO_DTYPE_F32) node.refuse("the history must be f32");
  const int64_t tensors = node.size('t'), length = node.size('h');
  const std::string_view algorithm = node.string("algorithm");
  const bool whole = algorithm == "max";
  if (!whole && algorithm != "most_recent") node.refuse("algorithm must be max or most_recent");
  return make_kernel([=](const Launch& l) {
    if (l.in(0) != l.out(1))
      check(cudaMemcpyAsync(l.out(1), l.in(0), static_cast<size_t>(tensors * length) * 4, cudaMemcpyDeviceToDevice, l.stream()), "copy");
    if (tensors > 0)
      recent_amax_kernel<<<static_cast<unsigned>(tensors), 128, 0, l.stream()>>>(l.out<float>(1), length, l.out<float>(0), whole);
  });
}

}  // namespace nemo::cuda
