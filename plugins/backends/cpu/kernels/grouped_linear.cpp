// grouped_linear and its gradients: one matrix product per run of rows with equal ids. 2 a n k flops each.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/gemm.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

// Calls f(expert, first row, rows) for each run, in order; expert < 0: outside the experts held here.
template <class F>
void each_run(const int32_t* ids, int64_t rows, int64_t experts, int64_t first_expert, const F& f) {
  for (int64_t i = 0, end = 0; i < rows; i = end) {
    for (end = i + 1; end < rows && ids[end] == ids[i];) ++end;
    const int64_t e = ids[i] - first_expert;
    f(e >= 0 && e < experts ? e : int64_t{-1}, i, end - i);
  }
}

const char* at(const void* p, int64_t elements, nemo_dtype dtype) { return static_cast<const char*>(p) + elements * size_of(dtype); }
char* at(void* p, int64_t elements, nemo_dtype dtype) { return static_cast<char*>(p) + elements * size_of(dtype); }

void clear(void* p, int64_t rows, int64_t cols, int64_t ld, nemo_dtype dtype) {
  for (int64_t r = 0; r < rows; ++r) std::memset(at(p, r * ld, dtype), 0, static_cast<size_t>(cols * size_of(dtype)));
}

// The rows of [*a ..] and, of each expert, [*n | *k] of w.
struct Shapes {
  int64_t rows, experts, first_expert, n, k;
  explicit Shapes(const Node& node)
      : rows(node.size('a')), experts(node.size('e')), first_expert(node.integer("shard_offset")), n(node.size('n')), k(node.size('k')) {}
};

Matrix by_rows(const Node& node, const Tensor& t) { return node.matrix(t, node.group_rank('a')); }

}  // namespace

NEMO_CPU_KERNEL(grouped_linear) {
  const Matrix x = by_rows(node, node.in(0)), y = by_rows(node, node.out(0));
  for (const size_t i : {1, 2, 3}) node.need_contiguous(node.in(i));
  const Shapes s(node);
  const bool biased = node.in(3).present();
  const nemo_dtype d = node.compute();
  const Product whole{s.rows, s.n, s.k, Transpose::no, Transpose::yes, d, d, d, x.ld, s.k, y.ld};
  Device held = device;
  return make_kernel(
      [=](const Launch& l) {
        each_run(l.in<int32_t>(1), s.rows, s.experts, s.first_expert, [&](int64_t e, int64_t first, int64_t rows) {
          char* to = at(l.out(0), first * y.ld, d);
          if (e < 0) return clear(to, rows, s.n, y.ld, d);
          Product p = whole;
          p.m = rows;
          multiply(held, p, at(l.in(0), first * x.ld, d), at(l.in(2), e * s.n * s.k, d), to, Write::overwrite,
                   biased ? at(l.in(3), e * s.n, d) : nullptr, l.workspace<char>());
        });
      },
      largest_workspace(whole, device));
}

NEMO_CPU_KERNEL(grouped_linear_dgrad) {
  const Matrix dy = by_rows(node, node.in(0)), dx = by_rows(node, node.out(0));
  for (const size_t i : {1, 2}) node.need_contiguous(node.in(i));
  const Shapes s(node);
  const nemo_dtype d = node.compute();
  const Product whole{s.rows, s.k, s.n, Transpose::no, Transpose::no, d, d, d, dy.ld, s.k, dx.ld};
  Device held = device;
  return make_kernel(
      [=](const Launch& l) {
        each_run(l.in<int32_t>(1), s.rows, s.experts, s.first_expert, [&](int64_t e, int64_t first, int64_t rows) {
          char* to = at(l.out(0), first * dx.ld, d);
          if (e < 0) return clear(to, rows, s.k, dx.ld, d);
          Product p = whole;
          p.m = rows;
          multiply(held, p, at(l.in(0), first * dy.ld, d), at(l.in(2), e * s.n * s.k, d), to, Write::overwrite, nullptr,
                   l.workspace<char>());
        });
      },
      largest_workspace(whole, device));
}

NEMO_CPU_KERNEL(grouped_linear_wgrad) {
  const Matrix dy = by_rows(node, node.in(0)), x = by_rows(node, node.in(2));
  node.need_contiguous(node.in(1));
  node.need_contiguous(node.out(0));
  const Shapes s(node);
  const nemo_dtype d = node.compute(), grad = node.out(0).dtype;
  const Product whole{s.n, s.k, s.rows, Transpose::yes, Transpose::no, d, d, grad, dy.ld, x.ld, s.k};
  const uint64_t flags = align_up(static_cast<uint64_t>(s.experts));
  Device held = device;
  return make_kernel(
      [=](const Launch& l) {
        char* written = l.workspace<char>();
        std::fill(written, written + s.experts, l.write() == Write::accumulate ? char{1} : char{0});
        each_run(l.in<int32_t>(1), s.rows, s.experts, s.first_expert, [&](int64_t e, int64_t first, int64_t rows) {
          if (e < 0) return;
          Product p = whole;
          p.k = rows;
          multiply(held, p, at(l.in(0), first * dy.ld, d), at(l.in(2), first * x.ld, d), at(l.out(0), e * s.n * s.k, grad),
                   written[e] != 0 ? Write::accumulate : Write::overwrite, nullptr, l.workspace<char>(flags));
          written[e] = 1;
        });
        for (int64_t e = 0; e < s.experts; ++e)
          if (written[e] == 0) clear(at(l.out(0), e * s.n * s.k, grad), 1, s.n * s.k, 0, grad);
      },
      flags + largest_workspace(whole, device));
}

// Threads share the columns, so that every sum has one order.
NEMO_CPU_KERNEL(grouped_bias_grad) {
  const Matrix dy = by_rows(node, node.in(0));
  node.need_contiguous(node.in(1));
  node.need_contiguous(node.out(0));
  const int64_t rows = node.size('a'), n = node.size('n'), experts = node.size('e'), first_expert = node.integer("shard_offset");
  const nemo_dtype grad = node.out(0).dtype;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          C* sums = l.workspace<C>();
          pool.split(n, std::max<int64_t>(16, kGrain / std::max<int64_t>(rows, 1)), [&](int64_t begin, int64_t end, int) {
            for (int64_t e = 0; e < experts; ++e) std::fill(sums + e * n + begin, sums + e * n + end, C(0));
            each_run(l.in<int32_t>(1), rows, experts, first_expert, [&](int64_t e, int64_t first, int64_t count) {
              if (e < 0) return;
              C* sum = sums + e * n;
              for (int64_t r = first; r < first + count; ++r) {
                const T* row = l.in<T>(0) + r * dy.ld;
#pragma omp simd
                for (int64_t c = begin; c < end; ++c) sum[c] += widen(row[c]);
              }
            });
            for (int64_t e = 0; e < experts; ++e) store(sums + e * n + begin, end - begin, grad, l.out(0), e * n + begin, l.write());
          });
        },
        align_up(static_cast<uint64_t>(experts * n) * sizeof(C)));
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
