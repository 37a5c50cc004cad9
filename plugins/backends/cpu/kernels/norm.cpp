// rms_norm, layer_norm, their fusions with the residual add, and gradients. One pass over a row that stays in L1; statistics in arithmetic
// precision. Bound by memory.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/column_sums.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

enum class Family { rms, layer };
enum class Residual { no, yes };

// Where the tensors of a row stand; -1: the row has none.
struct Places {
  int x, residual, w, b, bias;  // inputs
  int y, sum, mean, rstd;       // outputs
};

template <Family kFamily, Residual kResidual>
constexpr Places forward_places() {
  constexpr bool layer = kFamily == Family::layer;
  if (kResidual == Residual::no) return {0, -1, 1, layer ? 2 : -1, -1, 0, -1, layer ? 1 : -1, layer ? 2 : 1};
  return {0, 1, 2, layer ? 3 : -1, layer ? 4 : -1, 0, 1, layer ? 2 : -1, layer ? 3 : 2};
}

// x - mean and 1 / sqrt(variance + eps) of a row (mean 0 for rms).
template <Family kFamily, class T, class C>
void statistics(const T* x, int64_t d, C eps, C& mean, C& rstd) {
  C sum = 0, squares = 0;
  mean = 0;
  if constexpr (kFamily == Family::layer) {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < d; ++i) sum += widen(x[i]);
    mean = sum / static_cast<C>(d);
  }
  const C m = mean;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < d; ++i) {
    const C v = widen(x[i]) - m;
    squares += v * v;
  }
  rstd = C(1) / std::sqrt(squares / static_cast<C>(d) + eps);
}

template <class T, class C>
void normalise(const T* x, const T* w, const T* b, int64_t d, C shift, C mean, C rstd, T* y) {
  if (w != nullptr && b != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) y[i] = narrow<T>((widen(x[i]) - mean) * rstd * (widen(w[i]) + shift) + widen(b[i]));
  } else if (w != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) y[i] = narrow<T>((widen(x[i]) - mean) * rstd * (widen(w[i]) + shift));
  } else {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) y[i] = narrow<T>((widen(x[i]) - mean) * rstd + (b != nullptr ? widen(b[i]) : C(0)));
  }
}

// sum = x + residual (+ bias)
template <class T>
void add_rows(const T* x, const T* residual, const T* bias, int64_t d, T* sum) {
  if (bias != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) sum[i] = narrow<T>(widen(x[i]) + widen(bias[i]) + widen(residual[i]));
  } else {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) sum[i] = narrow<T>(widen(x[i]) + widen(residual[i]));
  }
}

const Tensor& optional_in(const Node& node, int i) {
  static const Tensor absent;
  return i >= 0 ? node.in(i) : absent;
}

template <Family kFamily, Residual kResidual>
Prepared forward(const Node& node, Device& device) {
  constexpr Places at = forward_places<kFamily, kResidual>();
  const int64_t rows = node.size('a'), d = node.size('d');
  const int split = node.group_rank('a');
  const int64_t ldx = node.matrix(node.in(0), split).ld, ldy = node.matrix(node.out(0), split).ld;
  const int64_t ldr = kResidual == Residual::yes ? node.matrix(node.in(1), split).ld : 0;
  const int64_t lds = kResidual == Residual::yes ? node.matrix(node.out(1), split).ld : 0;
  node.need_contiguous(node.out(at.rstd));
  if (at.mean >= 0) node.need_contiguous(node.out(at.mean));
  const bool has_w = optional_in(node, at.w).present(), has_b = optional_in(node, at.b).present(),
             has_bias = optional_in(node, at.bias).present();
  const double eps = node.number("eps");
  const bool centered = node.integer("zero_centered") != 0;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      const T* w = has_w ? l.in<T>(at.w) : nullptr;
      const T* b = has_b ? l.in<T>(at.b) : nullptr;
      const T* bias = has_bias ? l.in<T>(at.bias) : nullptr;
      pool.split(rows, row_grain(d), [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          const T* x = l.in<T>(at.x) + r * ldx;
          if constexpr (kResidual == Residual::yes) {
            const T* res = l.in<T>(at.residual) + r * ldr;
            T* sum = l.out<T>(at.sum) + r * lds;
            add_rows(x, res, bias, d, sum);
            x = sum;
          }
          C mean = 0, rstd = 0;
          statistics<kFamily>(x, d, static_cast<C>(eps), mean, rstd);
          normalise(x, w, b, d, centered ? C(1) : C(0), mean, rstd, l.out<T>(at.y) + r * ldy);
          l.out<C>(at.rstd)[r] = rstd;
          if constexpr (at.mean >= 0) l.out<C>(at.mean)[r] = mean;
        }
      });
    });
  });
}

struct GradRow {
  int64_t d;
  bool has_w, centered;
};

// dx = rstd (g - mean(g) - xhat mean(g xhat)) + dresidual with g = dy w and xhat = (x - mean) rstd; rms has no mean(g). dw += dy xhat, db
// += dy. dbias += dx, before that is rounded.
template <Family kFamily, class T, class C>
void grad_row(const GradRow& p, const T* dy, const T* x, const T* w, const T* dres, C mean, C rstd, T* dx, C* dw, C* db, C* dbias) {
  const int64_t d = p.d;
  const C shift = p.centered ? C(1) : C(0);
  auto weight = [&](int64_t i) { return w != nullptr ? widen(w[i]) + shift : C(1); };
  C sum_g = 0, sum_gx = 0;
#pragma omp simd reduction(+ : sum_g, sum_gx)
  for (int64_t i = 0; i < d; ++i) {
    const C g = widen(dy[i]) * weight(i);
    sum_g += g;
    sum_gx += g * ((widen(x[i]) - mean) * rstd);
  }
  const C a = kFamily == Family::layer ? sum_g / static_cast<C>(d) : C(0), b = sum_gx / static_cast<C>(d);
  if (dw != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) dw[i] += widen(dy[i]) * ((widen(x[i]) - mean) * rstd);
  }
  if (db != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) db[i] += widen(dy[i]);
  }
  if (dbias != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) {
      const C v = rstd * (widen(dy[i]) * weight(i) - a - (widen(x[i]) - mean) * rstd * b) + widen(dres[i]);
      dbias[i] += v;
      dx[i] = narrow<T>(v);
    }
  } else if (dres != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i)
      dx[i] = narrow<T>(rstd * (widen(dy[i]) * weight(i) - a - (widen(x[i]) - mean) * rstd * b) + widen(dres[i]));
  } else {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) dx[i] = narrow<T>(rstd * (widen(dy[i]) * weight(i) - a - (widen(x[i]) - mean) * rstd * b));
  }
}

template <Family kFamily, Residual kResidual>
Prepared backward(const Node& node, Device& device) {
  constexpr bool layer = kFamily == Family::layer;
  constexpr int at_mean = layer ? 3 : -1, at_rstd = layer ? 4 : 3, at_res = at_rstd + 1;
  const int64_t rows = node.size('a'), d = node.size('d');
  const int split = node.group_rank('a');
  const int64_t ldy = node.matrix(node.in(0), split).ld, ldx = node.matrix(node.in(1), split).ld, ldo = node.matrix(node.out(0), split).ld;
  const int64_t ldr = kResidual == Residual::yes ? node.matrix(node.in(at_res), split).ld : 0;
  node.need_contiguous(node.in(at_rstd));
  node.need_contiguous(node.in(layer ? at_mean : at_rstd));
  const GradRow shape{d, node.in(2).present(), node.integer("zero_centered") != 0};
  const bool has_dw = node.out(1).present(), has_db = layer && node.out(layer ? 2 : 1).present();
  constexpr int at_dbias = layer && kResidual == Residual::yes ? 3 : -1;
  const nemo_dtype dw_type = node.out(1).dtype, db_type = node.out(layer ? 2 : 1).dtype,
                   dbias_type = at_dbias > 0 ? node.out(at_dbias > 0 ? at_dbias : 0).dtype : 0;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const ColumnSums sums(device.pool, rows, d);
    const uint64_t bytes = sums.bytes<C>();
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          C* dw = has_dw ? l.workspace<C>() : nullptr;
          C* db = has_db ? l.workspace<C>(bytes) : nullptr;
          C* dbias = dbias_type != 0 ? l.workspace<C>(2 * bytes) : nullptr;
          pool.split(rows, row_grain(d), [&](int64_t begin, int64_t end, int part) {
            C* dw_part = has_dw ? sums.partial(dw, part) : nullptr;
            C* db_part = has_db ? sums.partial(db, part) : nullptr;
            C* dbias_part = dbias != nullptr ? sums.partial(dbias, part) : nullptr;
            if (has_dw) std::fill(dw_part, dw_part + d, C(0));
            if (has_db) std::fill(db_part, db_part + d, C(0));
            if (dbias != nullptr) std::fill(dbias_part, dbias_part + d, C(0));
            for (int64_t r = begin; r < end; ++r)
              grad_row<kFamily>(shape, l.in<T>(0) + r * ldy, l.in<T>(1) + r * ldx, shape.has_w ? l.in<T>(2) : nullptr,
                                kResidual == Residual::yes ? l.in<T>(at_res) + r * ldr : nullptr,
                                layer ? l.in<C>(layer ? at_mean : at_rstd)[r] : C(0), l.in<C>(at_rstd)[r], l.out<T>(0) + r * ldo, dw_part,
                                db_part, dbias_part);
          });
          if (has_dw) sums.finish(pool, dw, dw_type, l.out(1), l.write());
          if (has_db) sums.finish(pool, db, db_type, l.out(layer ? 2 : 1), l.write());
          if (dbias != nullptr) sums.finish(pool, dbias, dbias_type, l.out(at_dbias), l.write());
        },
        3 * bytes);
  });
}

}  // namespace

NEMO_CPU_KERNEL(rms_norm) { return forward<Family::rms, Residual::no>(node, device); }
NEMO_CPU_KERNEL(layer_norm) { return forward<Family::layer, Residual::no>(node, device); }
NEMO_CPU_KERNEL(add_rms_norm) { return forward<Family::rms, Residual::yes>(node, device); }
NEMO_CPU_KERNEL(add_layer_norm) { return forward<Family::layer, Residual::yes>(node, device); }
NEMO_CPU_KERNEL(rms_norm_grad) { return backward<Family::rms, Residual::no>(node, device); }
NEMO_CPU_KERNEL(layer_norm_grad) { return backward<Family::layer, Residual::no>(node, device); }
NEMO_CPU_KERNEL(rms_norm_grad_add) { return backward<Family::rms, Residual::yes>(node, device); }
NEMO_CPU_KERNEL(layer_norm_grad_add) { return backward<Family::layer, Residual::yes>(node, device); }

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
