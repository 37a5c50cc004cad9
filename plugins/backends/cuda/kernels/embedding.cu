// Table lookup and its gradient.
//
// The gradient groups the tokens by row, in token order (integer atomics count and place them, ranks restore the order), cuts the grouped
// list into chunks of 32 tokens, and sums each run of equal rows in f32: a run within a chunk is stored at once, a run over several chunks
// leaves one partial per chunk, which a last kernel adds in order. The same bits whatever the order of the atomics.
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kChunk = 32;
constexpr int kScanBlock = 1024;

template <class U>
__global__ void lookup_kernel(const int32_t* ids, const U* table, U* y, int64_t tokens, int64_t rows, int64_t units, int64_t ld_table,
                              int64_t ld_y, int64_t offset, int* fault) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= tokens * units) return;
  const int64_t token = i / units, at = i - token * units, id = ids[token], row = id - offset;
  if (id < 0) *fault = static_cast<int>(Fault::embedding_id);
  y[token * ld_y + at] = row >= 0 && row < rows ? table[row * ld_table + at] : U{};
}

// Workspace of the gradient.
struct Grouping {
  int32_t* count;   // [rows]; emptied again by place
  int32_t* offset;  // [rows + 1]
  int32_t* block;   // [blocks of rows]
  int32_t* list;    // [tokens] grouped, in any order
  int32_t* token;   // [tokens] grouped, in token order
  int32_t* row;     // [tokens] of `token`
  int64_t rows, tokens;
};

__global__ void count_kernel(const int32_t* ids, int64_t shard_offset, Grouping g) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= g.tokens) return;
  const int64_t row = ids[i] - shard_offset;
  if (row >= 0 && row < g.rows) atomicAdd(&g.count[row], 1);
}

__global__ void block_sum_kernel(Grouping g) {
  __shared__ int32_t scratch[32];
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kScanBlock + threadIdx.x;
  int32_t sum[1] = {i < g.rows ? g.count[i] : 0};
  block_reduce<1>(sum, scratch, Sum{});
  if (threadIdx.x == 0) g.block[blockIdx.x] = sum[0];
}

// offset[row] = tokens in the rows before it; offset[rows] = all.
__global__ void scan_kernel(Grouping g) {
  __shared__ int32_t scratch[32], warp_total[32];
  int32_t before[1] = {0};
  for (int b = static_cast<int>(threadIdx.x); b < static_cast<int>(blockIdx.x); b += kScanBlock) before[0] += g.block[b];
  block_reduce<1>(before, scratch, Sum{});
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kScanBlock + threadIdx.x;
  const int32_t own = i < g.rows ? g.count[i] : 0;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int32_t sum = own;
  for (int step = 1; step < 32; step *= 2) {
    const int32_t other = __shfl_up_sync(0xffffffffu, sum, step);
    if (lane >= step) sum += other;
  }
  if (lane == 31) warp_total[warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; ++w) sum += warp_total[w];
  if (i < g.rows) g.offset[i] = before[0] + sum - own;
  if (i == g.rows - 1) g.offset[g.rows] = before[0] + sum;
}

__global__ void place_kernel(const int32_t* ids, int64_t shard_offset, Grouping g) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= g.tokens) return;
  const int64_t row = ids[i] - shard_offset;
  if (row < 0 || row >= g.rows) return;
  g.list[g.offset[row] + atomicSub(&g.count[row], 1) - 1] = static_cast<int32_t>(i);
}

__global__ void order_kernel(const int32_t* ids, int64_t shard_offset, Grouping g) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= g.offset[g.rows]) return;
  const int32_t token = g.list[i], row = static_cast<int32_t>(ids[token] - shard_offset), begin = g.offset[row], end = g.offset[row + 1];
  int32_t rank = 0;
  for (int32_t k = begin; k < end; ++k) rank += g.list[k] < token;
  g.token[begin + rank] = token;
  g.row[begin + rank] = row;
}

template <class G, int N>
__device__ __forceinline__ void put(G* to, float (&sum)[N], bool add) {
  if (add) {
    float old[N];
    load<N>(to, old);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += old[i];
  }
  store<N>(to, sum);
}

template <class T, class G>
struct SumArgs {
  const T* dy;
  G* table;
  float* partial;  // [chunks][2][cols]: the run that comes in from the chunk before; the run that goes on into the next one
  int64_t cols, ld_dy, ld_table;
  bool add;
};

// Block (x = chunk, y = tile of columns).
template <class T, class G, int N>
__global__ void sum_kernel(const Grouping g, const SumArgs<T, G> p) {
  __shared__ int32_t token[kChunk], row[kChunk + 2];  // row[0] and row[kChunk + 1] are the neighbours'
  const int64_t total = g.offset[g.rows], first = static_cast<int64_t>(blockIdx.x) * kChunk;
  if (first >= total) return;
  const int count = static_cast<int>(min(static_cast<int64_t>(kChunk), total - first));
  for (int i = static_cast<int>(threadIdx.x); i < kChunk + 2; i += static_cast<int>(blockDim.x)) {
    const int64_t at = first + i - 1;
    row[i] = at >= 0 && at < total ? g.row[at] : -1;
    if (i < count) token[i] = g.token[first + i];
  }
  __syncthreads();
  const int64_t col = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  if (col >= p.cols) return;
  float* partial = p.partial + static_cast<int64_t>(blockIdx.x) * 2 * p.cols + col;
  float sum[N] = {};
  int start = 0;
  for (int base = 0; base < count; base += 8) {
    float v[8][N];
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (base + i < count) load<N>(p.dy + token[base + i] * p.ld_dy + col, v[i]);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int at = base + i;
      if (at >= count) break;
#pragma unroll
      for (int e = 0; e < N; ++e) sum[e] += v[i][e];
      const bool ends = row[at + 2] != row[at + 1];
      if (!ends && at + 1 < count) continue;
      if (start == 0 && row[0] == row[1])
        store<N>(partial, sum);
      else if (!ends)
        store<N>(partial + p.cols, sum);
      else
        put<G, N>(p.table + row[at + 1] * p.ld_table + col, sum, p.add);
#pragma unroll
      for (int e = 0; e < N; ++e) sum[e] = 0;
      start = at + 1;
    }
  }
}

// Adds up the runs that go over chunk borders; the block of the chunk where a run begins does it.
template <class T, class G, int N>
__global__ void join_kernel(const Grouping g, const SumArgs<T, G> p) {
  const int64_t total = g.offset[g.rows], first = static_cast<int64_t>(blockIdx.x) * kChunk, last = first + kChunk - 1;
  if (last + 1 >= total) return;
  const int32_t row = g.row[last];
  if (g.row[last + 1] != row || (first > 0 && g.row[first] == row && g.row[first - 1] == row)) return;
  const int64_t col = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  if (col >= p.cols) return;
  const float* partial = p.partial + static_cast<int64_t>(blockIdx.x) * 2 * p.cols + col;
  float sum[N];
  load<N>(partial + p.cols, sum);
  const int64_t end = g.offset[row + 1];
  for (int64_t chunk = blockIdx.x + 1; chunk * kChunk < end; ++chunk) {
    float v[N];
    load<N>(p.partial + chunk * 2 * p.cols + col, v);
#pragma unroll
    for (int e = 0; e < N; ++e) sum[e] += v[e];
  }
  put<G, N>(p.table + row * p.ld_table + col, sum, p.add);
}

template <class T, class G, int N>
void sum_runs(const Grouping& g, const SumArgs<T, G>& p, cudaStream_t stream) {
  const int threads = static_cast<int>(std::min<int64_t>(256, ceil_div(ceil_div(p.cols, N), 32) * 32));
  const dim3 grid(grid_of(g.tokens, kChunk), grid_of(p.cols, static_cast<int64_t>(threads) * N));
  sum_kernel<T, G, N><<<grid, static_cast<unsigned>(threads), 0, stream>>>(g, p);
  join_kernel<T, G, N><<<grid, static_cast<unsigned>(threads), 0, stream>>>(g, p);
}

void group(const Grouping& g, const int32_t* ids, int64_t offset, cudaStream_t stream) {
  check(cudaMemsetAsync(g.count, 0, static_cast<size_t>(g.rows) * sizeof(int32_t), stream), "embedding_grad");
  const unsigned tokens = grid_of(g.tokens, 256), rows = grid_of(g.rows, kScanBlock);
  count_kernel<<<tokens, 256, 0, stream>>>(ids, offset, g);
  block_sum_kernel<<<rows, kScanBlock, 0, stream>>>(g);
  scan_kernel<<<rows, kScanBlock, 0, stream>>>(g);
  place_kernel<<<tokens, 256, 0, stream>>>(ids, offset, g);
  order_kernel<<<tokens, 256, 0, stream>>>(ids, offset, g);
}

// Where the pieces of the workspace begin; bytes.
struct Places {
  uint64_t offset, block, list, token, row, partial, end;
  Places(int64_t rows, int64_t tokens, int64_t cols) {
    const auto ints = [](int64_t n) { return align_up(static_cast<uint64_t>(n) * sizeof(int32_t)); };
    offset = ints(rows);
    block = offset + ints(rows + 1);
    list = block + ints(ceil_div(rows, kScanBlock));
    token = list + ints(tokens);
    row = token + ints(tokens);
    partial = row + ints(tokens);
    end = partial + align_up(static_cast<uint64_t>(ceil_div(tokens, kChunk) * 2 * cols) * sizeof(float));
  }
};

}  // namespace

NEMO_CUDA_KERNEL(embedding) {
  const Matrix table = node.matrix(node.in(1), 1), y = node.matrix(node.out(0), node.group_rank('a'));
  node.need_contiguous(node.in(0));
  const int64_t tokens = node.size('a'), rows = node.size('v'), bytes = node.size('e') * size_of(node.compute()),
                offset = node.integer("shard_offset"), ld_table = table.ld * size_of(node.compute()), ld_y = y.ld * size_of(node.compute());
  return make_kernel([=, fault = device.fault](const Launch& l) {
    const auto run = [&]<class U>(U) {
      constexpr int64_t width = sizeof(U);
      lookup_kernel<U><<<grid_of(tokens * bytes / width, 256), 256, 0, l.stream()>>>(
          l.in<int32_t>(0), l.in<U>(1), l.out<U>(0), tokens, rows, bytes / width, ld_table / width, ld_y / width, offset, fault);
    };
    if (bytes % 16 == 0 && ld_table % 16 == 0 && ld_y % 16 == 0 && aligned16(l.in(1)) && aligned16(l.out(0)))
      run(uint4{});
    else
      run(uint16_t{});
  });
}

NEMO_CUDA_KERNEL(embedding_grad) {
  const Matrix dy = node.matrix(node.in(0), node.group_rank('a')), grad = node.matrix(node.out(0), 1);
  node.need_contiguous(node.in(1));
  const int64_t tokens = node.size('a'), rows = node.size('v'), cols = node.size('e'), offset = node.integer("shard_offset");
  const Places at(rows, tokens, cols);
  return with_type(node.compute(), [&](auto from) {
    return with_type(node.out(0).dtype, [&](auto to) {
      using T = decltype(from);
      using G = decltype(to);
      return make_kernel(
          [=](const Launch& l) {
            const Grouping g{l.workspace<int32_t>(),
                             l.workspace<int32_t>(at.offset),
                             l.workspace<int32_t>(at.block),
                             l.workspace<int32_t>(at.list),
                             l.workspace<int32_t>(at.token),
                             l.workspace<int32_t>(at.row),
                             rows,
                             tokens};
            const bool add = l.write() == Write::accumulate;
            if (!add)
              check(cudaMemset2DAsync(l.out(0), static_cast<size_t>(grad.ld) * sizeof(G), 0, static_cast<size_t>(cols) * sizeof(G),
                                      static_cast<size_t>(rows), l.stream()),
                    "embedding_grad");
            group(g, l.in<int32_t>(1), offset, l.stream());
            const SumArgs<T, G> p{l.in<T>(0), l.out<G>(0), l.workspace<float>(at.partial), cols, dy.ld, grad.ld, add};
            const bool vector =
                cols % kLanes<T> == 0 && dy.ld % kLanes<T> == 0 && grad.ld % kLanes<T> == 0 && aligned16(p.dy) && aligned16(p.table);
            if (vector)
              sum_runs<T, G, kLanes<T>>(g, p, l.stream());
            else
              sum_runs<T, G, 1>(g, p, l.stream());
          },
          at.end);
    });
  });
}

}  // namespace nemo::cuda
