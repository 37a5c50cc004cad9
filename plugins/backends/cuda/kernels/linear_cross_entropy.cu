// Last linear and loss by chunks of rows: the logits of a chunk live in the workspace in the tensors' dtype, one kernel turns them into
// losses and, in place, into their gradient, from which two products make dx and add to dw. Bound by the tensor cores: 2 a d v flops, 6 a d
// v with gradients.
#include "gemm.hpp"
#include "kernels/loss_row.cuh"

namespace nemo::cuda {

namespace {

// Large chunks: the gradient of w is read and written once per chunk.
constexpr int64_t kChunkRows = 16384;
constexpr int64_t kLogitsBytes = int64_t{2} << 30;
// Shared memory of a multiprocessor, which keeps rows between loss and gradient: of two blocks, so that one reads while the other writes,
// or of one that has twice the threads, where rows are longer (128256 logits in bf16 on an H100: 931 us for two, 807 us for one).
constexpr int64_t kCacheBytes = 216 << 10;

template <class T, int kBlocks>
__global__ void __launch_bounds__(2 * kLossThreads / kBlocks, kBlocks)
    chunk_kernel(const LossSpec p, T* logits, int64_t ld, const int32_t* labels, const float* dloss, float* loss, int* fault,
                 int64_t cached) {
  __shared__ float scratch[96];
  extern __shared__ uint4 kept[];
  const RowCache<T> cache{reinterpret_cast<T*>(kept), cached};
  const int64_t r = blockIdx.x, label = labels[r];
  T* row = logits + r * ld;
  const bool inside = label >= 0 && label < p.v, ignored = label == p.ignore_index;
  if (!inside || ignored) {
    if (threadIdx.x == 0) {
      loss[r] = 0;
      if (!ignored) *fault = static_cast<int>(Fault::label);
    }
    if (dloss != nullptr) clear_row(row, p.v);
    return;
  }
  const float at_label = widen(row[label]);  // before any thread overwrites it: the totals end with barriers
  const RowTotals t = row_totals(p, row, scratch, cache);
  const float lse = lse_of(t);
  if (threadIdx.x == 0) loss[r] = loss_of_row(p, t, lse, at_label);
  if (dloss != nullptr) loss_grad_row(p, row, label, lse, dloss[r], row, cache);
}

template <class G>
__global__ void store_kernel(const float* sum, int64_t n, int64_t cols, G* out, int64_t ld, bool add) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  G* to = out + i / cols * ld + i % cols;
  *to = narrow<G>(add ? widen(*to) + sum[i] : sum[i]);
}

// The chunks of a node: `full` of `rows` rows each, then one of `last` (0: none).
struct Chunks {
  int64_t rows, full, last;
};

Chunks chunks_of(int64_t rows, int64_t row_bytes) {
  const int64_t most = std::clamp<int64_t>(kLogitsBytes / row_bytes / 256 * 256, 256, kChunkRows);
  const int64_t count = ceil_div(rows, most), each = std::min(rows, ceil_div(ceil_div(rows, count), 128) * 128);
  return {each, rows / each, rows % each};
}

struct Layout {
  int64_t rows, d, v, ldx, ldw, ldl;
  nemo_dtype type;
  Arithmetic arithmetic;
  Chunks chunks;
  uint64_t logits_bytes;
};

Layout layout_of(const Node& node) {
  node.need_contiguous(node.in(2));
  node.need_contiguous(node.out(0));
  Layout s{};
  s.type = node.compute();
  s.arithmetic = node.integer("tf32") != 0 ? Arithmetic::tf32 : Arithmetic::plain;
  s.rows = node.size('a'), s.d = node.size('d'), s.v = node.size('v');
  s.ldx = node.matrix(node.in(0), node.group_rank('a')).ld;
  s.ldw = node.matrix(node.in(1), 1).ld;
  s.ldl = ceil_div(s.v, 64) * 64;
  s.chunks = chunks_of(s.rows, s.ldl * size_of(s.type));
  s.logits_bytes = align_up(static_cast<uint64_t>(s.chunks.rows * s.ldl * size_of(s.type)));
  return s;
}

// The products of a chunk of `rows` rows. dw: the first chunk may overwrite, the others add.
struct ChunkPlans {
  GemmPlans logits, dx, dw, dw_add;
  uint64_t workspace = 0;

  void forward(Gemm& gemm, const Layout& s, int64_t rows) {
    Product p{rows, s.v, s.d, Transpose::no, Transpose::yes, s.type, s.type, s.ldx, s.ldw, s.ldl};
    p.arithmetic = s.arithmetic;
    logits = gemm.plan(p);
    workspace = std::max(workspace, logits.workspace());
  }
  void backward(Gemm& gemm, const Layout& s, int64_t rows, int64_t ld_dx, int64_t ld_dw) {
    Product to_x{rows, s.d, s.v, Transpose::no, Transpose::no, s.type, s.type, s.ldl, s.ldw, ld_dx};
    to_x.arithmetic = s.arithmetic;
    dx = gemm.plan(to_x);
    Product p{s.v, s.d, rows, Transpose::yes, Transpose::no, s.type, NEMO_DTYPE_F32, s.ldl, s.ldx, ld_dw};
    p.arithmetic = s.arithmetic;
    dw = gemm.plan(p);
    p.write = Write::accumulate;
    dw_add = gemm.plan(p);
    workspace = std::max({workspace, dx.workspace(), dw.workspace(), dw_add.workspace()});
  }
};

template <class T, int kBlocks>
struct ChunkLoss {
  static constexpr int64_t kElements = kCacheBytes / kBlocks / static_cast<int64_t>(sizeof(T));

  static void allow_memory() {
    check(cudaFuncSetAttribute(chunk_kernel<T, kBlocks>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(kElements) * static_cast<int>(sizeof(T))),
          "shared memory of a kernel");
  }
  static void run(const Launch& l, const LossSpec& spec, const Layout& s, T* logits, int64_t first, int64_t rows, const float* dloss,
                  int* fault) {
    const int64_t cached = dloss != nullptr ? std::min(spec.v / kLanes<T> * kLanes<T>, kElements) : 0;
    chunk_kernel<T, kBlocks>
        <<<static_cast<unsigned>(rows), 2 * kLossThreads / kBlocks, static_cast<size_t>(cached) * sizeof(T), l.stream()>>>(
            spec, logits, s.ldl, l.in<int32_t>(2) + first, dloss, l.out<float>(0) + first, fault, cached);
  }
};

template <class T>
void chunk_loss(const Launch& l, const LossSpec& spec, const Layout& s, T* logits, int64_t first, int64_t rows, const float* dloss,
                int* fault) {
  if (dloss == nullptr || spec.v <= ChunkLoss<T, 2>::kElements)
    ChunkLoss<T, 2>::run(l, spec, s, logits, first, rows, dloss, fault);
  else
    ChunkLoss<T, 1>::run(l, spec, s, logits, first, rows, dloss, fault);
}

}  // namespace

NEMO_CUDA_KERNEL(linear_cross_entropy) {
  const Layout s = layout_of(node);
  const LossSpec spec = loss_spec(node);
  ChunkPlans full, last;
  full.forward(*device.gemm, s, s.chunks.rows);
  if (s.chunks.last > 0) last.forward(*device.gemm, s, s.chunks.last);
  return with_type(s.type, [&](auto tag) {
    using T = decltype(tag);
    return make_kernel(
        [=, fault = device.fault](const Launch& l) {
          T* logits = l.workspace<T>();
          for (int64_t r = 0; r < s.rows; r += s.chunks.rows) {
            const int64_t rows = std::min(s.chunks.rows, s.rows - r);
            const ChunkPlans& plans = rows == s.chunks.rows ? full : last;
            plans.logits.run({l.in<T>(0) + r * s.ldx, l.in(1), logits}, l.workspace<char>(s.logits_bytes), l.stream());
            chunk_loss(l, spec, s, logits, r, rows, nullptr, fault);
          }
        },
        s.logits_bytes + std::max(full.workspace, last.workspace));
  });
}

// dw is summed over the chunks in f32: in its own buffer where that is f32, else in the workspace.
NEMO_CUDA_KERNEL(linear_cross_entropy_train) {
  const Layout s = layout_of(node);
  const LossSpec spec = loss_spec(node);
  node.need_contiguous(node.in(3));
  const int64_t ld_dx = node.matrix(node.out(1), node.group_rank('a')).ld, ld_grad = node.matrix(node.out(2), 1).ld;
  const nemo_dtype grad = node.out(2).dtype;
  const bool direct = grad == NEMO_DTYPE_F32;
  const int64_t ld_dw = direct ? ld_grad : s.d;
  const uint64_t dw_bytes = direct ? 0 : align_up(static_cast<uint64_t>(s.v * s.d) * sizeof(float));
  ChunkPlans full, last;
  full.forward(*device.gemm, s, s.chunks.rows);
  full.backward(*device.gemm, s, s.chunks.rows, ld_dx, ld_dw);
  if (s.chunks.last > 0) {
    last.forward(*device.gemm, s, s.chunks.last);
    last.backward(*device.gemm, s, s.chunks.last, ld_dx, ld_dw);
  }
  return with_type(s.type, [&](auto tag) {
    using T = decltype(tag);
    ChunkLoss<T, 1>::allow_memory();
    ChunkLoss<T, 2>::allow_memory();
    return make_kernel(
        [=, fault = device.fault](const Launch& l) {
          T* logits = l.workspace<T>();
          float* sum = direct ? l.out<float>(2) : l.workspace<float>(s.logits_bytes);
          void* rest = l.workspace<char>(s.logits_bytes + dw_bytes);
          const bool accumulates = l.write() == Write::accumulate;
          for (int64_t r = 0; r < s.rows; r += s.chunks.rows) {
            const int64_t rows = std::min(s.chunks.rows, s.rows - r);
            const ChunkPlans& plans = rows == s.chunks.rows ? full : last;
            const T* x = l.in<T>(0) + r * s.ldx;
            plans.logits.run({x, l.in(1), logits}, rest, l.stream());
            chunk_loss(l, spec, s, logits, r, rows, l.in<float>(3) + r, fault);
            const bool add = r > 0 || (direct && accumulates);
            (add ? plans.dw_add : plans.dw).run({logits, x, sum}, rest, l.stream());
            plans.dx.run({logits, l.in(1), l.out<T>(1) + r * ld_dx}, rest, l.stream());
          }
          if (!direct)
            with_type(grad, [&](auto to) {
              using G = decltype(to);
              store_kernel<G><<<grid_of(s.v * s.d, 256), 256, 0, l.stream()>>>(sum, s.v * s.d, s.d, l.out<G>(2), ld_grad, accumulates);
            });
        },
        s.logits_bytes + dw_bytes + std::max(full.workspace, last.workspace));
  });
}

}  // namespace nemo::cuda
