// gated_rms_norm and its gradient: a norm over parts of a row, of x silu(gate). Statistics in arithmetic precision; bound by memory.
#include "kernels/arch.hpp"

#include "kernels/activations.hpp"
#include "kernels/block.hpp"
#include "kernels/column_sums.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

// v = x silu(gate) of one part.
template <class T, class C>
void gated(const T* x, const T* gate, int64_t n, C* v) {
  if (gate == nullptr) return load(x, n, v);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) v[i] = widen(x[i]) * Silu::value(static_cast<C>(widen(gate[i])));
}

int64_t parts_of(const Node& node) {
  const int64_t parts = node.size('g'), n = node.size('n');
  if (n % parts != 0) node.refuse("g must divide the elements of n");
  return parts;
}

// Rows of the tensors [*a *n]; an absent one has ld 0.
int64_t row_step(const Node& node, const Tensor& t) { return t.present() ? node.matrix(t, node.group_rank('a')).ld : 0; }

}  // namespace

NEMO_CPU_KERNEL(gated_rms_norm) {
  const int64_t rows = node.size('a'), parts = parts_of(node), n = node.size('n') / parts;
  const int64_t ldx = row_step(node, node.in(0)), ldg = row_step(node, node.in(1)), ldy = row_step(node, node.out(0));
  node.need_contiguous(node.in(2));
  node.need_contiguous(node.out(1));
  const bool has_gate = node.in(1).present();
  const double eps = node.number("eps");
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          pool.split(rows, row_grain(n * parts), [&](int64_t begin, int64_t end, int part) {
            C* v = l.workspace<C>() + part * n;
            for (int64_t i = begin * parts; i < end * parts; ++i) {
              const int64_t r = i / parts, at = i % parts * n;
              gated(l.in<T>(0) + r * ldx + at, has_gate ? l.in<T>(1) + r * ldg + at : nullptr, n, v);
              C squares = 0;
#pragma omp simd reduction(+ : squares)
              for (int64_t c = 0; c < n; ++c) squares += v[c] * v[c];
              const C rstd = C(1) / std::sqrt(squares / static_cast<C>(n) + static_cast<C>(eps));
              const T* w = l.in<T>(2) + at;
              T* y = l.out<T>(0) + r * ldy + at;
#pragma omp simd
              for (int64_t c = 0; c < n; ++c) y[c] = narrow<T>(v[c] * rstd * widen(w[c]));
              l.out<C>(1)[i] = rstd;
            }
          });
        },
        align_up(static_cast<uint64_t>(n * device.pool.threads()) * sizeof(C)));
  });
}

// g = dy w, u = v rstd: dv = rstd (g - u mean(g u)), dw += dy u, dx = dv silu(gate), dgate = dv x silu'(gate).
NEMO_CPU_KERNEL(gated_rms_norm_grad) {
  const int64_t rows = node.size('a'), parts = parts_of(node), n = node.size('n') / parts;
  const int64_t ldy = row_step(node, node.in(0)), ldx = row_step(node, node.in(1)), ldg = row_step(node, node.in(2));
  const int64_t lddx = row_step(node, node.out(0)), lddg = row_step(node, node.out(1));
  node.need_contiguous(node.in(3));
  node.need_contiguous(node.in(4));
  node.need_contiguous(node.out(2));
  const bool has_gate = node.in(2).present(), has_dgate = node.out(1).present();
  if (has_dgate && !has_gate) node.refuse("there is no gate whose gradient could be computed");
  const nemo_dtype grad = node.out(2).dtype;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const ColumnSums sums(device.pool, rows, n * parts);
    const uint64_t bytes = sums.bytes<C>();
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          C* partial = l.workspace<C>();
          pool.split(rows, row_grain(n * parts), [&](int64_t begin, int64_t end, int part) {
            C *v = l.workspace<C>(bytes) + part * n, *dw_row = sums.partial(partial, part);
            std::fill(dw_row, dw_row + n * parts, C(0));
            for (int64_t i = begin * parts; i < end * parts; ++i) {
              const int64_t r = i / parts, at = i % parts * n;
              const T *dy = l.in<T>(0) + r * ldy + at, *x = l.in<T>(1) + r * ldx + at, *w = l.in<T>(3) + at;
              const T* gate = has_gate ? l.in<T>(2) + r * ldg + at : nullptr;
              T* dx = l.out<T>(0) + r * lddx + at;
              T* dgate = has_dgate ? l.out<T>(1) + r * lddg + at : nullptr;
              const C rstd = l.in<C>(4)[i];
              C* dw = dw_row + at;
              gated(x, gate, n, v);
              C dot = 0;
#pragma omp simd reduction(+ : dot)
              for (int64_t c = 0; c < n; ++c) {
                dot += widen(dy[c]) * widen(w[c]) * v[c];
                dw[c] += widen(dy[c]) * v[c] * rstd;
              }
              const C pull = dot * rstd * rstd / static_cast<C>(n);
#pragma omp simd
              for (int64_t c = 0; c < n; ++c) {
                const C dv = rstd * (widen(dy[c]) * widen(w[c]) - v[c] * pull);
                const C z = gate != nullptr ? widen(gate[c]) : C(0), from = widen(x[c]);
                dx[c] = narrow<T>(gate != nullptr ? dv * Silu::value(z) : dv);
                if (dgate != nullptr) dgate[c] = narrow<T>(dv * from * Silu::slope(z));
              }
            }
          });
          sums.finish(pool, partial, grad, l.out(2), l.write());
        },
        bytes + align_up(static_cast<uint64_t>(n * device.pool.threads()) * sizeof(C)));
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
