// softmax, sum, broadcast and sum_squares. Sums run over fixed blocks whose partials are added in order: the same bits for any number of
// threads.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

constexpr int64_t kSumBlock = 16384;

int64_t blocks_of(int64_t n) { return std::max<int64_t>(1, (n + kSumBlock - 1) / kSumBlock); }

// Sum of f over [0, n) in double, in lanes: one accumulator would wait for itself at every addition.
template <class T, class F>
double lane_sum(const T* x, int64_t n, const F& f) {
  constexpr int64_t kLanes = 32;
  double lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
#pragma omp simd
    for (int64_t j = 0; j < kLanes; ++j) lane[j] += f(static_cast<double>(widen(x[i + j])));
  for (; i < n; ++i) lane[i % kLanes] += f(static_cast<double>(widen(x[i])));
  double sum = 0;
  for (const double l : lane) sum += l;
  return sum;
}

// Sum of f over [0, n) in double; `partial` has room for blocks_of(n).
template <class T, class F>
double block_sum(Pool& pool, const T* x, int64_t n, double* partial, const F& f) {
  pool.split(blocks_of(n), 2, [&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; ++block) {
      partial[block] = lane_sum(x + block * kSumBlock, std::min(kSumBlock, n - block * kSumBlock), f);
    }
  });
  double sum = 0;
  for (int64_t i = 0; i < blocks_of(n); ++i) sum += partial[i];
  return sum;
}

uint64_t sum_bytes(int64_t n) { return align_up(static_cast<uint64_t>(blocks_of(n)) * sizeof(double)); }

template <class T>
void softmax_row(const T* x, int64_t d, T* y) {
  using C = compute_t<T>;
  C top = -std::numeric_limits<C>::infinity(), sum = 0;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < d; ++i) top = widen(x[i]) > top ? widen(x[i]) : top;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < d; ++i) sum += exp_(widen(x[i]) - top);
  const C factor = C(1) / sum;
#pragma omp simd
  for (int64_t i = 0; i < d; ++i) y[i] = narrow<T>(exp_(widen(x[i]) - top) * factor);
}

template <class T>
void softmax_grad_row(const T* dy, const T* y, int64_t d, T* dx) {
  compute_t<T> dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < d; ++i) dot += widen(dy[i]) * widen(y[i]);
#pragma omp simd
  for (int64_t i = 0; i < d; ++i) dx[i] = narrow<T>((widen(dy[i]) - dot) * widen(y[i]));
}

}  // namespace

NEMO_CPU_KERNEL(softmax) {
  const int split = node.group_rank('a');
  const Matrix x = node.matrix(node.in(0), split), y = node.matrix(node.out(0), split);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(x.rows, row_grain(x.cols), [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) softmax_row(l.in<T>(0) + r * x.ld, x.cols, l.out<T>(0) + r * y.ld);
      });
    });
  });
}

NEMO_CPU_KERNEL(softmax_grad) {
  const int split = node.group_rank('a');
  const Matrix dy = node.matrix(node.in(0), split), y = node.matrix(node.in(1), split), dx = node.matrix(node.out(0), split);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(dy.rows, row_grain(dy.cols), [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r)
          softmax_grad_row(l.in<T>(0) + r * dy.ld, l.in<T>(1) + r * y.ld, dy.cols, l.out<T>(0) + r * dx.ld);
      });
    });
  });
}

NEMO_CPU_KERNEL(sum) {
  node.need_contiguous(node.in(0));
  const int64_t n = node.in(0).size();
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          *l.out<T>(0) = narrow<T>(block_sum(pool, l.in<T>(0), n, l.workspace<double>(), [](double x) { return x; }));
        },
        sum_bytes(n));
  });
}

NEMO_CPU_KERNEL(broadcast) {
  node.need_contiguous(node.out(0));
  const int64_t n = node.out(0).size();
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) { std::fill(l.out<T>(0), l.out<T>(0) + n, *l.in<T>(0)); });
  });
}

NEMO_CPU_KERNEL(sum_squares) {
  if (!is_floating(node.in(0).dtype)) node.refuse("sums f32, f64, bf16 and f16 only");
  node.need_contiguous(node.in(0));
  const int64_t n = node.in(0).size();
  return with_type(node.in(0).dtype, [&](auto tag) {
    using T = decltype(tag);
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          const double sum = block_sum(pool, l.in<T>(0), n, l.workspace<double>(), [](double x) { return x * x; });
          *l.out<double>(0) = sum + (l.write() == Write::accumulate ? *l.out<double>(0) : 0);
        },
        sum_bytes(n));
  });
}

NEMO_CPU_KERNEL(add_scalar) {
  if (!is_floating(node.in(0).dtype)) node.refuse("adds f32, f64 and bf16 only");
  return with_type(node.in(0).dtype, [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([](const Launch& l) {
      *l.out<double>(0) = static_cast<double>(widen(*l.in<T>(0))) + (l.write() == Write::accumulate ? *l.out<double>(0) : 0);
    });
  });
}

NEMO_CPU_KERNEL(clip_coefficient) {
  if (node.in(0).size() < 3 || node.in(1).size() != 8) node.refuse("totals must be f64[3] or more, and wish f64[8]");
  const double max_norm = node.number("max_norm");
  return make_kernel([max_norm](const Launch& l) {
    constexpr int kScale = 6, kSkip = 7;
    const double *totals = l.in<double>(0), *wish = l.in<double>(1);
    double *hyper = l.out<double>(0), *report = l.out<double>(1);
    const double tokens = std::max(totals[2], 1.0), norm = std::sqrt(totals[0]) * wish[kScale] / tokens;
    const double clip = max_norm > 0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1.0;
    std::copy(wish, wish + kScale, hyper);
    hyper[kScale] = wish[kScale] * clip / tokens;
    hyper[kSkip] = std::isfinite(norm) ? 0 : 1;
    report[0] = norm, report[1] = clip, report[2] = hyper[kSkip];
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
