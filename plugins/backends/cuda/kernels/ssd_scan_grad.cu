// Gradients of ssd_scan by chunks. With W[t][r] = e^(lam[t] - lam[r]) (dy[t] u[r]) and M[t][r] the same of (c[t] b[r]), r <= t, G the
// gradient of the state behind the chunk and e[r] = e^(lam[63] - lam[r]):
//   du[r] = sum_t M[t][r] dy[t] + e[r] G b[r], dx = dt du + skip dy
//   dc[t] = sum_r W[t][r] b[r] + e^lam[t] S^T dy[t], db[r] = sum_t W[t][r] c[t] + e[r] G^T u[r], both summed over the heads of a group
//   dlam[t] = c[t] dc[t] - u[t] du[t], and of the last token also <G, state behind>; d(dt A)[t] = sum over t' >= t of dlam[t']
// A block takes a chunk and some heads of a group in order and gathers their db and dc in a part of its own; parts are added in order.
#include <array>

#include "kernels/ssd_scan.cuh"

namespace nemo::cuda {

namespace ssd {

namespace {

struct GradArgs {
  Shape s;
  Inputs in;
  const void* dy;
  void *dx, *ddt;
  Steps dy_at, dx_at, ddt_at;
  const float *begins, *ends;  // states in front of chunks [b h chunks + 1], gradients of those behind [b h chunks]
  float *dbm, *dc;             // [splits][b g s n]
  float* sums;                 // [3][b h chunks]: da_log, dskip, ddt_bias
  int64_t splits, per_split;   // heads of a split
};

// Where one head's chunk lies.
template <class T>
struct Place {
  int64_t b, h, g, t0, rows, chunk;
  const T *x, *bm, *c, *dy;
  const float *begin, *behind, *end;  // state in front, behind; gradient of the latter

  __device__ Place(const GradArgs& a, int64_t b, int64_t h, int64_t g, int64_t chunk)
      : b(b), h(h), g(g), t0(chunk * kChunk), rows(a.s.s - t0), chunk(chunk) {
    x = static_cast<const T*>(a.in.x) + a.in.x_at.at(b, t0, h), dy = static_cast<const T*>(a.dy) + a.dy_at.at(b, t0, h);
    bm = static_cast<const T*>(a.in.bm) + a.in.bm_at.at(b, t0, g), c = static_cast<const T*>(a.in.c) + a.in.c_at.at(b, t0, g);
    const int64_t pair = b * a.s.h + h;
    begin = a.begins + (pair * (a.s.chunks + 1) + chunk) * a.s.state(), behind = begin + a.s.state();
    end = a.ends + (pair * a.s.chunks + chunk) * a.s.state();
  }
};

struct Shared {
  Decays d;
  float step[kChunk], dlam[kChunk];  // u du / dt and the rest of dlam
  float scratch[3][32];
  float end_dot;
};

// M and W.
template <class T>
__device__ void make_weights(const GradArgs& a, const Place<T>& at, Shared& sh, float* m, float* w, float* one, float* two) {
  const Shape& s = a.s;
  Sums cb = {}, du = {};
  for (int64_t n0 = 0; n0 < s.n; n0 += kChunk) {
    __syncthreads();
    load_tile(one, at.c + n0, a.in.c_at.position, at.rows, s.n - n0);
    load_tile(two, at.bm + n0, a.in.bm_at.position, at.rows, s.n - n0);
    __syncthreads();
    multiply<Read::by_row, Read::by_row>(cb, one, two);
  }
  for (int64_t p0 = 0; p0 < s.p; p0 += kChunk) {
    __syncthreads();
    load_tile(one, at.dy + p0, a.dy_at.position, at.rows, s.p - p0);
    load_tile(two, at.x + p0, a.in.x_at.position, at.rows, s.p - p0, [&](int t) { return sh.d.dt[t]; });
    __syncthreads();
    multiply<Read::by_row, Read::by_row>(du, one, two);
  }
  store_decayed(m, cb, sh.d);
  store_decayed(w, du, sh.d);
  __syncthreads();
}

// dx, and the sums over p: step[t] = du x, returns this thread's part of dskip.
template <class T>
__device__ float inputs_grad(const GradArgs& a, const Place<T>& at, Shared& sh, const float* m, float* one, float* two) {
  const Shape& s = a.s;
  const float skip = a.in.skip != nullptr ? a.in.skip[at.h] : 0.0f;
  T* dx = static_cast<T*>(a.dx) + a.dx_at.at(at.b, at.t0, at.h);
  float dskip = 0, step[4] = {};
  for (int64_t p0 = 0; p0 < s.p; p0 += kChunk) {
    Sums du = {}, far = {};
    __syncthreads();
    load_tile(one, at.dy + p0, a.dy_at.position, at.rows, s.p - p0);
    __syncthreads();
    multiply<Read::by_depth, Read::by_depth>(du, m, one);
    for (int64_t n0 = 0; n0 < s.n; n0 += kChunk) {
      __syncthreads();
      load_tile(one, at.bm + n0, a.in.bm_at.position, at.rows, s.n - n0);
      load_tile(two, at.end + p0 * s.n + n0, s.n, s.p - p0, s.n - n0);
      __syncthreads();
      multiply<Read::by_row, Read::by_row>(far, one, two);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int t = row_of(i);
      const float e = sh.d.to_end(t);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t p = p0 + col_of(j);
        if (t >= at.rows || p >= s.p) continue;
        const float value = widen(at.x[t * a.in.x_at.position + p]), up = widen(at.dy[t * a.dy_at.position + p]);
        const float u = du[i][j] + e * far[i][j];
        dx[t * a.dx_at.position + p] = narrow<T>(sh.d.dt[t] * u + skip * up);
        step[i] += u * value;
        dskip += up * value;
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float sum = row_sum(step[i]);
    if (threadIdx.x % 16 == 0) sh.step[row_of(i)] = sum;
  }
  return dskip;
}

// Adds into this split's dbm and dc (sets them for its first head); dlam[t] = c dc.
template <class T>
__device__ void shared_grads(const GradArgs& a, const Place<T>& at, Shared& sh, const float* w, float* one, float* two, int64_t split,
                             bool first) {
  const Shape& s = a.s;
  float dots[4] = {};
  const int64_t base = (((split * s.b + at.b) * s.g + at.g) * s.s + at.t0) * s.n;
  for (int64_t n0 = 0; n0 < s.n; n0 += kChunk) {
    Sums dc = {}, db = {}, dc_far = {}, db_far = {};
    __syncthreads();
    load_tile(one, at.bm + n0, a.in.bm_at.position, at.rows, s.n - n0);
    load_tile(two, at.c + n0, a.in.c_at.position, at.rows, s.n - n0);
    __syncthreads();
    multiply<Read::by_row, Read::by_depth>(dc, w, one);
    multiply<Read::by_depth, Read::by_depth>(db, w, two);
    for (int64_t p0 = 0; p0 < s.p; p0 += kChunk) {
      __syncthreads();
      load_tile(one, at.dy + p0, a.dy_at.position, at.rows, s.p - p0);
      load_tile(two, at.begin + p0 * s.n + n0, s.n, s.p - p0, s.n - n0);
      __syncthreads();
      multiply<Read::by_row, Read::by_depth>(dc_far, one, two);
      __syncthreads();
      load_tile(one, at.x + p0, a.in.x_at.position, at.rows, s.p - p0, [&](int t) { return sh.d.dt[t]; });
      load_tile(two, at.end + p0 * s.n + n0, s.n, s.p - p0, s.n - n0);
      __syncthreads();
      multiply<Read::by_row, Read::by_depth>(db_far, one, two);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int t = row_of(i);
      const float e = sh.d.to_end(t), decay = expf(sh.d.lam[t]);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t n = n0 + col_of(j);
        if (t >= at.rows || n >= s.n) continue;
        const float of_c = dc[i][j] + decay * dc_far[i][j], of_b = db[i][j] + e * db_far[i][j];
        dots[i] += widen(at.c[t * a.in.c_at.position + n]) * of_c;
        float *to_c = a.dc + base + t * s.n + n, *to_b = a.dbm + base + t * s.n + n;
        *to_c = first ? of_c : *to_c + of_c;
        *to_b = first ? of_b : *to_b + of_b;
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float sum = row_sum(dots[i]);
    if (threadIdx.x % 16 == 0) sh.dlam[row_of(i)] = sum;
  }
}

// ddt, and the head's sums over the chunk.
template <class T>
__device__ void steps_grad(const GradArgs& a, const Place<T>& at, Shared& sh, float dskip) {
  const Shape& s = a.s;
  float end[1] = {0};
  for (int64_t i = threadIdx.x; i < s.state(); i += kThreads) end[0] += at.end[i] * at.behind[i];
  __syncthreads();
  block_reduce<1>(end, sh.scratch[0], Sum{});
  const int t = static_cast<int>(threadIdx.x);
  const float rate = -expf(a.in.a_log[at.h]);
  float sums[3] = {0, dskip, 0};
  if (t < kChunk && t < at.rows) {
    float through = end[0];  // d(dt A)
    for (int later = kChunk - 1; later >= t; --later) through += sh.dlam[later] - sh.d.dt[later] * sh.step[later];
    const float ddt = (sh.step[t] + through * rate) * sh.d.slope[t];
    static_cast<T*>(a.ddt)[a.ddt_at.at(at.b, at.t0 + t, at.h)] = narrow<T>(ddt);
    sums[0] = through * sh.d.dt[t] * rate, sums[2] = ddt;
  }
  __syncthreads();
  block_reduce<3>(sums, &sh.scratch[0][0], Sum{});
  if (t >= 3) return;
  a.sums[t * s.b * s.h * s.chunks + (at.b * s.h + at.h) * s.chunks + at.chunk] = t == 0 ? sums[0] : (t == 1 ? sums[1] : sums[2]);
}

template <class T>
__global__ void __launch_bounds__(kThreads) grad_kernel(const GradArgs a) {
  extern __shared__ float tiles[];
  __shared__ Shared sh;
  float *m = tiles, *w = m + kTileFloats, *one = w + kTileFloats, *two = one + kTileFloats;
  const int64_t chunk = blockIdx.x, g = blockIdx.y / a.splits, split = blockIdx.y % a.splits, b = blockIdx.z, per_group = a.s.h / a.s.g;
  const int64_t begin = split * a.per_split, end = min(per_group, begin + a.per_split);
  for (int64_t i = begin; i < end; ++i) {
    const Place<T> at(a, b, g * per_group + i, g, chunk);
    sh.d.template fill<T>(a.s, a.in, b, at.h, at.t0);
    if (threadIdx.x < kChunk) sh.step[threadIdx.x] = 0, sh.dlam[threadIdx.x] = 0;
    make_weights(a, at, sh, m, w, one, two);
    const float dskip = inputs_grad(a, at, sh, m, one, two);
    shared_grads(a, at, sh, w, one, two, split, i == begin);
    steps_grad(a, at, sh, dskip);
    __syncthreads();
  }
}

// [b s g n] = the sum over splits of [splits][b g s n].
template <class T>
__global__ void join_kernel(const Shape s, int64_t splits, const float* parts, T* out, const Steps at) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, all = s.b * s.g * s.s * s.n;
  if (i >= all) return;
  float sum = 0;
  for (int64_t k = 0; k < splits; ++k) sum += parts[k * all + i];
  const int64_t n = i % s.n, t = i / s.n % s.s, g = i / s.n / s.s % s.g, b = i / s.n / s.s / s.g;
  out[at.at(b, t, g) + n] = narrow<T>(sum);
}

struct HeadOutput {
  void* to;
  nemo_dtype type;  // 0: not wanted
};
struct HeadOutputs {
  HeadOutput one[3];
};

// A warp per head and sum, over sequences and chunks in order.
__global__ void heads_kernel(const Shape s, const float* sums, const HeadOutputs outputs, bool add) {
  const int64_t h = blockIdx.x;
  const HeadOutput o = outputs.one[blockIdx.y];
  if (o.type == 0) return;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < s.b * s.chunks; i += 32)
    sum += sums[blockIdx.y * s.b * s.h * s.chunks + (i / s.chunks * s.h + h) * s.chunks + i % s.chunks];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x != 0) return;
  const auto put = [&](auto* to) {
    using G = std::remove_pointer_t<decltype(to)>;
    to[h] = narrow<G>(add ? widen(to[h]) + sum : sum);
  };
  if (o.type == NEMO_DTYPE_BF16)
    put(static_cast<bf16*>(o.to));
  else if (o.type == NEMO_DTYPE_F16)
    put(static_cast<f16*>(o.to));
  else
    put(static_cast<float*>(o.to));
}

// Offsets into the workspace, in bytes.
struct Memory {
  uint64_t begins = 0, ends, decay, dbm, dc, sums, total;
  Memory(const Shape& s, int64_t splits) {
    uint64_t at = 0;
    const auto take = [&](int64_t floats) { return std::exchange(at, at + align_up(static_cast<uint64_t>(floats) * sizeof(float))); };
    begins = take(s.b * s.h * (s.chunks + 1) * s.p * s.n);
    ends = take(s.b * s.h * s.chunks * s.p * s.n);
    decay = take(s.b * s.h * s.chunks);
    dbm = take(splits * s.b * s.g * s.s * s.n);
    dc = take(splits * s.b * s.g * s.s * s.n);
    sums = take(3 * s.b * s.h * s.chunks);
    total = at;
  }
};

template <class T>
void run(const Launch& l, GradArgs a, const Memory& memory, const Steps& dbm_at, const Steps& dc_at, const float* dfinal, float* dinitial,
         const HeadOutputs& heads) {
  const Shape& s = a.s;
  auto *begins = l.workspace<float>(memory.begins), *ends = l.workspace<float>(memory.ends), *decay = l.workspace<float>(memory.decay);
  a.dbm = l.workspace<float>(memory.dbm), a.dc = l.workspace<float>(memory.dc), a.sums = l.workspace<float>(memory.sums);
  a.begins = begins, a.ends = ends;
  const bool empty = s.b * s.h * s.chunks == 0;
  if (!empty) {
    add_states(s, a.in, Walk::forward, static_cast<const T*>(a.in.x), a.in.x_at, begins, decay, s.chunks + 1, l.stream());
    add_states(s, a.in, Walk::backward, static_cast<const T*>(a.dy), a.dy_at, ends, decay, s.chunks, l.stream());
  }
  walk_states(s, Walk::forward, begins, decay, s.chunks + 1, a.in.initial, nullptr, l.stream());
  walk_states(s, Walk::backward, ends, decay, s.chunks, dfinal, dinitial, l.stream());
  if (!empty) {
    constexpr int kBytes = 4 * kTileFloats * static_cast<int>(sizeof(float));
    const dim3 grid(static_cast<unsigned>(s.chunks), static_cast<unsigned>(s.g * a.splits), static_cast<unsigned>(s.b));
    grad_kernel<T><<<grid, kThreads, kBytes, l.stream()>>>(a);
    const int64_t values = s.b * s.g * s.s * s.n;
    if (values > 0) {
      join_kernel<T><<<grid_of(values, 256), 256, 0, l.stream()>>>(s, a.splits, a.dbm, l.out<T>(3), dbm_at);
      join_kernel<T><<<grid_of(values, 256), 256, 0, l.stream()>>>(s, a.splits, a.dc, l.out<T>(4), dc_at);
    }
  }
  if (s.h > 0) heads_kernel<<<dim3(static_cast<unsigned>(s.h), 3), 32, 0, l.stream()>>>(s, a.sums, heads, l.write() == Write::accumulate);
}

}  // namespace

}  // namespace ssd

NEMO_CUDA_KERNEL(ssd_scan_grad) {
  using namespace ssd;
  const Shape s = shape_of(node);
  const Arguments arguments(node, 1);
  for (const size_t i : {2, 5, 6, 7}) node.need_contiguous(node.out(i));
  node.need_contiguous(node.in(9));
  const Steps dy(node.in(0)), dx(node.out(0)), ddt(node.out(1)), dbm(node.out(3)), dc(node.out(4));
  const bool has_dfinal = node.in(9).present(), has_dinitial = node.out(7).present();
  const std::array<nemo_dtype, 3> types{node.out(2).dtype, node.out(5).dtype, node.out(6).dtype};
  const int64_t per_group = s.h / s.g, blocks = std::max<int64_t>(1, s.b * s.g * s.chunks);
  const int64_t wanted = std::clamp<int64_t>(ceil_div(3 * device.multiprocessors, blocks), 1, std::max<int64_t>(1, per_group));
  const int64_t per_split = std::max<int64_t>(1, ceil_div(per_group, wanted)),
                splits = std::max<int64_t>(1, ceil_div(per_group, per_split));
  if (s.g * splits > 65535) node.refuse("more than 65535 parts of groups have no kernel");
  const Memory memory(s, splits);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    check(cudaFuncSetAttribute(grad_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               4 * kTileFloats * static_cast<int>(sizeof(float))),
          "ssd_scan_grad: shared memory");
    return make_kernel(
        [=](const Launch& l) {
          const GradArgs a{s,       arguments.of(l), l.in(0), l.out(0), l.out(1), dy,     dx,       ddt,
                           nullptr, nullptr,         nullptr, nullptr,  nullptr,  splits, per_split};
          const HeadOutputs heads{{{l.out(2), types[0]}, {l.out(5), types[1]}, {l.out(6), types[2]}}};
          run<T>(l, a, memory, dbm, dc, has_dfinal ? l.in<float>(9) : nullptr, has_dinitial ? l.out<float>(7) : nullptr, heads);
        },
        memory.total);
  });
}

}  // namespace nemo::cuda
