// row_scale, clamped_glu and gradients. Bound by memory.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

// y[row, begin..end) = f(l, offsets of the row in each tensor, begin, end) over tensors with a common view.
template <class F>
Prepared over_rows(const Node& node, Device& device, size_t inputs, size_t outputs, F f) {
  std::vector<const Tensor*> tensors;
  for (size_t i = 0; i < inputs; ++i) tensors.push_back(&node.in(i));
  for (size_t i = 0; i < outputs; ++i) tensors.push_back(&node.out(i));
  const Aligned a = node.align(tensors);
  return make_kernel([a, f, &pool = device.pool](const Launch& l) {
    if (a.rows == 1) return pool.split(a.cols, kGrain, [&](int64_t begin, int64_t end, int) { f(l, a.ld.data(), 0, begin, end); });
    pool.split(a.rows, row_grain(a.cols), [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) f(l, a.ld.data(), r, 0, a.cols);
    });
  });
}

template <class C>
C clamp_(C x, C low, C high) {
  return x < low ? low : (x > high ? high : x);
}

}  // namespace

NEMO_CPU_KERNEL(row_scale) {
  const int split = node.group_rank('a');
  const Matrix x = node.matrix(node.in(0), split), y = node.matrix(node.out(0), split);
  node.need_contiguous(node.in(1));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(x.rows, row_grain(x.cols), [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          const T* from = l.in<T>(0) + r * x.ld;
          T* to = l.out<T>(0) + r * y.ld;
          const auto s = widen(l.in<T>(1)[r]);
#pragma omp simd
          for (int64_t i = 0; i < x.cols; ++i) to[i] = narrow<T>(s * widen(from[i]));
        }
      });
    });
  });
}

NEMO_CPU_KERNEL(row_scale_grad) {
  const int split = node.group_rank('a');
  const Matrix dy = node.matrix(node.in(0), split), x = node.matrix(node.in(1), split), dx = node.matrix(node.out(0), split);
  node.need_contiguous(node.in(2));
  node.need_contiguous(node.out(1));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(dy.rows, row_grain(dy.cols), [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          const T *up = l.in<T>(0) + r * dy.ld, *from = l.in<T>(1) + r * x.ld;
          T* to = l.out<T>(0) + r * dx.ld;
          const C s = widen(l.in<T>(2)[r]);
          C dot = 0;
#pragma omp simd reduction(+ : dot)
          for (int64_t i = 0; i < dy.cols; ++i) {
            dot += widen(up[i]) * widen(from[i]);
            to[i] = narrow<T>(s * widen(up[i]));
          }
          l.out<T>(1)[r] = narrow<T>(dot);
        }
      });
    });
  });
}

NEMO_CPU_KERNEL(clamped_glu) {
  const double alpha_ = node.number("alpha"), limit_ = node.number("limit");
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return over_rows(node, device, 2, 1, [=](const Launch& l, const int64_t* ld, int64_t row, int64_t begin, int64_t end) {
      const C alpha = static_cast<C>(alpha_), limit = static_cast<C>(limit_);
      const T *gate = l.in<T>(0) + row * ld[0], *up = l.in<T>(1) + row * ld[1];
      T* y = l.out<T>(0) + row * ld[2];
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        const C g = widen(gate[i]) > limit ? limit : widen(gate[i]), u = clamp_(widen(up[i]), -limit, limit);
        y[i] = narrow<T>((u + C(1)) * g * sigmoid_(alpha * g));
      }
    });
  });
}

NEMO_CPU_KERNEL(clamped_glu_grad) {
  const double alpha_ = node.number("alpha"), limit_ = node.number("limit");
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return over_rows(node, device, 3, 2, [=](const Launch& l, const int64_t* ld, int64_t row, int64_t begin, int64_t end) {
      const C alpha = static_cast<C>(alpha_), limit = static_cast<C>(limit_);
      const T *dy = l.in<T>(0) + row * ld[0], *gate = l.in<T>(1) + row * ld[1], *up = l.in<T>(2) + row * ld[2];
      T *dgate = l.out<T>(0) + row * ld[3], *dup = l.out<T>(1) + row * ld[4];
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        const C d = widen(dy[i]), g0 = widen(gate[i]), u0 = widen(up[i]);
        const C g = g0 > limit ? limit : g0, u = clamp_(u0, -limit, limit), s = sigmoid_(alpha * g);
        const C to_gate = d * (u + C(1)) * s * (C(1) + alpha * g * (C(1) - s)), to_up = d * g * s;
        dgate[i] = narrow<T>(select(g0 > limit, C(0), to_gate));
        dup[i] = narrow<T>(select(u0 > limit || u0 < -limit, C(0), to_up));
      }
    });
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
