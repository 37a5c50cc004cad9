#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/gemm.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

constexpr int64_t kTileM = 384, kTileN = 384, kTileK = 512;
constexpr double kFlopsPerPart = 1e6;  // a part below this is not worth a thread

nemo_dtype arithmetic(const Product& p) { return p.a == NEMO_DTYPE_F64 ? NEMO_DTYPE_F64 : NEMO_DTYPE_F32; }
bool is_direct(const Product& p) { return p.a == p.b && p.a == p.c && (p.a == NEMO_DTYPE_F32 || p.a == NEMO_DTYPE_F64); }
int code(Transpose t) { return t == Transpose::yes ? kTrans : kNoTrans; }

struct Grid {
  int64_t rows = 1, cols = 1;
};

// Parts of C for `parts` threads: the split that reads the least of A and B.
Grid grid_of(const Product& p, int64_t parts) {
  Grid best{1, parts};
  double least = 1e300;
  for (int64_t rows = 1; rows <= parts; ++rows) {
    if (parts % rows != 0) continue;
    const int64_t cols = parts / rows;
    const double cost = static_cast<double>(p.m) / static_cast<double>(rows) + static_cast<double>(p.n) / static_cast<double>(cols);
    if (cost < least) least = cost, best = {rows, cols};
  }
  return best;
}

// Boundary i of `parts` over n, on a multiple of 16 so that parts keep the micro-kernels full.
int64_t boundary(int64_t n, int64_t parts, int64_t i) { return i == parts ? n : n * i / parts / 16 * 16; }

int64_t threads_for(const Device& device, const Product& p) {
  const double flops = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  return std::clamp<int64_t>(static_cast<int64_t>(flops / kFlopsPerPart), 1, device.pool.threads());
}

template <class T>
void multiply_direct(const Device& device, const Product& p, const T* a, const T* b, T* c, Write write, const T* bias, T alpha) {
  const int64_t parts = threads_for(device, p);
  const Grid grid = grid_of(p, parts);
  device.pool.run(static_cast<int>(parts), [&](int part) {
    const int64_t m0 = boundary(p.m, grid.rows, part / grid.cols), m1 = boundary(p.m, grid.rows, part / grid.cols + 1);
    const int64_t n0 = boundary(p.n, grid.cols, part % grid.cols), n1 = boundary(p.n, grid.cols, part % grid.cols + 1);
    if (m0 == m1 || n0 == n1) return;
    T beta = write == Write::accumulate ? T(1) : T(0);
    if (bias != nullptr) {
      for (int64_t i = m0; i < m1; ++i) std::copy(bias + n0, bias + n1, c + i * p.ldc + n0);
      beta = 1;
    }
    device.blas.gemm(code(p.ta), code(p.tb), static_cast<int>(m1 - m0), static_cast<int>(n1 - n0), static_cast<int>(p.k), alpha,
                     p.ta == Transpose::yes ? a + m0 : a + m0 * p.lda, static_cast<int>(p.lda),
                     p.tb == Transpose::yes ? b + n0 * p.ldb : b + n0, static_cast<int>(p.ldb), beta, c + m0 * p.ldc + n0,
                     static_cast<int>(p.ldc));
  });
}

struct Tiling {
  int64_t m, n, k;
};

// Smaller tiles where there would be fewer tasks than threads.
Tiling tiling_of(const Product& p, const Device& device) {
  Tiling t{std::min(p.m, kTileM), std::min(p.n, kTileN), std::min(p.k, kTileK)};
  auto tasks = [&] { return ((p.m + t.m - 1) / t.m) * ((p.n + t.n - 1) / t.n); };
  const int64_t threads = threads_for(device, p);
  while (tasks() < threads && std::max(t.m, t.n) > 32) (t.n >= t.m ? t.n : t.m) = (std::max(t.m, t.n) / 2 + 15) / 16 * 16;
  return t;
}

// rows x cols of a stored matrix to arithmetic precision, packed. The source is left alone where it already has it.
template <class C>
const C* tile(nemo_dtype dtype, const void* x, int64_t ld, int64_t row, int64_t col, int64_t rows, int64_t cols, C* scratch,
              int64_t& tile_ld) {
  if (dtype == (sizeof(C) == 8 ? NEMO_DTYPE_F64 : NEMO_DTYPE_F32)) {
    tile_ld = ld;
    return static_cast<const C*>(x) + row * ld + col;
  }
  for (int64_t r = 0; r < rows; ++r) load(dtype, x, (row + r) * ld + col, cols, scratch + r * cols);
  tile_ld = cols;
  return scratch;
}

template <class C>
void multiply_tiled(const Device& device, const Product& p, const void* a, const void* b, void* c, Write write, const void* bias,
                    C* workspace, C alpha, nemo_dtype bias_dtype) {
  const Tiling t = tiling_of(p, device);
  const int64_t rows = (p.m + t.m - 1) / t.m, cols = (p.n + t.n - 1) / t.n;
  device.pool.each(rows * cols, [&](int64_t task, int part) {
    const int64_t m0 = task % rows * t.m, n0 = task / rows * t.n, m = std::min(t.m, p.m - m0), n = std::min(t.n, p.n - n0);
    C* at = workspace + part * (t.m * t.k + t.k * t.n + t.m * t.n);
    C* bt = at + t.m * t.k;
    C* ct = bt + t.k * t.n;
    if (bias != nullptr)
      for (int64_t i = 0; i < m; ++i) load(bias_dtype, bias, n0, n, ct + i * n);
    for (int64_t k0 = 0; k0 < p.k; k0 += t.k) {
      const int64_t k = std::min(t.k, p.k - k0);
      int64_t lda = 0, ldb = 0;
      const C* ap = p.ta == Transpose::yes ? tile(p.a, a, p.lda, k0, m0, k, m, at, lda) : tile(p.a, a, p.lda, m0, k0, m, k, at, lda);
      const C* bp = p.tb == Transpose::yes ? tile(p.b, b, p.ldb, n0, k0, n, k, bt, ldb) : tile(p.b, b, p.ldb, k0, n0, k, n, bt, ldb);
      device.blas.gemm(code(p.ta), code(p.tb), static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), alpha, ap,
                       static_cast<int>(lda), bp, static_cast<int>(ldb), k0 > 0 || bias != nullptr ? C(1) : C(0), ct, static_cast<int>(n));
    }
    for (int64_t i = 0; i < m; ++i) store(ct + i * n, n, p.c, c, (m0 + i) * p.ldc + n0, write);
  });
}

}  // namespace

uint64_t product_workspace(const Product& p, const Device& device) {
  if (is_direct(p)) return 0;
  const Tiling t = tiling_of(p, device);
  const int64_t elements = t.m * t.k + t.k * t.n + t.m * t.n;
  return align_up(static_cast<uint64_t>(elements * device.pool.threads() * size_of(arithmetic(p))));
}

uint64_t largest_workspace(const Product& p, const Device& device) {
  if (is_direct(p)) return 0;
  const int64_t m = std::min(p.m, kTileM), n = std::min(p.n, kTileN), k = std::min(p.k, kTileK);
  return align_up(static_cast<uint64_t>((m * k + k * n + m * n) * device.pool.threads() * size_of(arithmetic(p))));
}

void multiply(const Device& device, const Product& p, const void* a, const void* b, void* c, Write write, const void* bias, void* workspace,
              float alpha, nemo_dtype bias_dtype) {
  if (p.m == 0 || p.n == 0) return;
  auto as = [&]<class T>(T) {
    if (is_direct(p))
      multiply_direct(device, p, static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(c), write, static_cast<const T*>(bias),
                      static_cast<T>(alpha));
    else
      multiply_tiled(device, p, a, b, c, write, bias, static_cast<T*>(workspace), static_cast<T>(alpha),
                     bias_dtype != 0 ? bias_dtype : p.b);
  };
  if (arithmetic(p) == NEMO_DTYPE_F64)
    as(double{});
  else
    as(float{});
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
