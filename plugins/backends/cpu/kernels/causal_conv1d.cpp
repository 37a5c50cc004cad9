// causal_conv1d and its gradient: depthwise, a few taps, vectorised over channels. A task is a block of channels for all positions, so that
// sums over positions have one order. Bound by memory.
#include "kernels/arch.hpp"

#include "kernels/activations.hpp"
#include "kernels/block.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

constexpr int64_t kChannels = 64;  // of one task
constexpr int64_t kTaps = 16;      // widest kernel

struct Identity {
  template <class C>
  static C value(C x) {
    return x;
  }
  template <class C>
  static C slope(C) {
    return C(1);
  }
};

template <class F>
Prepared with_kind(const Node& node, F&& f) {
  const std::string_view kind = node.string("kind");
  if (kind == "none") return f(Identity{});
  if (kind != "silu") node.refuse("kind must be none or silu, not \"" + std::string(kind) + "\"");
  return f(Silu{});
}

struct Shape {
  int64_t b, s, c, k, batch, position;  // steps of x
  explicit Shape(const Node& node, const Tensor& x) : b(node.size('b')), s(node.size('s')), c(node.size('c')), k(node.size('k')) {
    if (k > kTaps) node.refuse("at most " + std::to_string(kTaps) + " taps");
    const Matrix m = node.matrix(x, 2);
    position = m.ld, batch = s * m.ld;
  }
};

// Taps of channels [c0, c0 + n) as [k][n], and their bias.
template <class T, class C>
void load_taps(const Launch& l, const Shape& p, int64_t c0, int64_t n, bool biased, int first, C (&w)[kTaps][kChannels],
               C (&bias)[kChannels]) {
  for (int64_t c = 0; c < n; ++c) {
    for (int64_t j = 0; j < p.k; ++j) w[j][c] = widen(l.in<T>(first)[(c0 + c) * p.k + j]);
    bias[c] = biased ? widen(l.in<T>(first + 1)[c0 + c]) : C(0);
  }
}

// bias + sum_j w[j] x[t - k + 1 + j]; x stands at position 0 of the block.
template <class T, class C>
void taps(const Shape& p, const T* x, int64_t t, int64_t n, const C (&w)[kTaps][kChannels], const C (&bias)[kChannels], C (&z)[kChannels]) {
  std::copy(bias, bias + n, z);
  for (int64_t j = std::max<int64_t>(0, p.k - 1 - t); j < p.k; ++j) {
    const T* from = x + (t - p.k + 1 + j) * p.position;
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) z[c] += w[j][c] * widen(from[c]);
  }
}

}  // namespace

NEMO_CPU_KERNEL(causal_conv1d) {
  const Shape p(node, node.in(0));
  const int64_t ldy = node.matrix(node.out(0), 2).ld;
  node.need_contiguous(node.in(1));
  node.need_contiguous(node.in(2));
  const bool biased = node.in(2).present();
  return with_kind(node, [&](auto act) {
    using A = decltype(act);
    return with_type(node.compute(), [&](auto tag) {
      using T = decltype(tag);
      using C = compute_t<T>;
      return make_kernel([=, &pool = device.pool](const Launch& l) {
        const int64_t blocks = (p.c + kChannels - 1) / kChannels;
        pool.each(p.b * blocks, [&](int64_t task, int) {
          const int64_t b = task / blocks, c0 = task % blocks * kChannels, n = std::min(kChannels, p.c - c0);
          C w[kTaps][kChannels], bias[kChannels], z[kChannels];
          load_taps<T>(l, p, c0, n, biased, 1, w, bias);
          for (int64_t t = 0; t < p.s; ++t) {
            taps(p, l.in<T>(0) + b * p.batch + c0, t, n, w, bias, z);
            T* y = l.out<T>(0) + (b * p.s + t) * ldy + c0;
#pragma omp simd
            for (int64_t c = 0; c < n; ++c) y[c] = narrow<T>(A::value(z[c]));
          }
        });
      });
    });
  });
}

// The same behind a window of earlier inputs, which then moves on by the tokens that are no padding.
NEMO_CPU_KERNEL(causal_conv1d_cached) {
  const Shape p(node, node.in(0));
  const int64_t ldy = node.matrix(node.out(0), 2).ld, kept = node.out(1).shape[1];
  for (const size_t i : {1, 2, 3, 4}) node.need_contiguous(node.in(i));
  node.need_contiguous(node.out(1));
  if (kept < p.k - 1 || kept > kTaps) node.refuse("the window must hold one input less than there are taps");
  const bool biased = node.in(2).present();
  return with_kind(node, [&](auto act) {
    using A = decltype(act);
    return with_type(node.compute(), [&](auto tag) {
      using T = decltype(tag);
      using C = compute_t<T>;
      return make_kernel([=, &pool = device.pool](const Launch& l) {
        const int64_t blocks = (p.c + kChannels - 1) / kChannels;
        pool.each(p.b * blocks, [&](int64_t task, int) {
          const int64_t b = task / blocks, c0 = task % blocks * kChannels, n = std::min(kChannels, p.c - c0);
          const T* x = l.in<T>(0) + b * p.batch + c0;
          T *window = l.out<T>(1) + b * kept * p.c + c0, before[kTaps][kChannels] = {};
          if (l.in<int32_t>(3)[b] > 0)
            for (int64_t i = 0; i < kept; ++i) std::copy_n(window + i * p.c, n, before[i]);
          const auto input = [&](int64_t t) { return t < 0 ? before[kept + t] : x + t * p.position; };
          C w[kTaps][kChannels], bias[kChannels], z[kChannels];
          load_taps<T>(l, p, c0, n, biased, 1, w, bias);
          for (int64_t t = 0; t < p.s; ++t) {
            std::copy(bias, bias + n, z);
            for (int64_t j = 0; j < p.k; ++j) {
              const T* from = input(t - p.k + 1 + j);
#pragma omp simd
              for (int64_t c = 0; c < n; ++c) z[c] += w[j][c] * widen(from[c]);
            }
            T* y = l.out<T>(0) + (b * p.s + t) * ldy + c0;
#pragma omp simd
            for (int64_t c = 0; c < n; ++c) y[c] = narrow<T>(A::value(z[c]));
          }
          const int64_t count = std::clamp<int64_t>(l.in<int32_t>(4)[b], 0, p.s);
          for (int64_t i = 0; i < kept; ++i) std::copy_n(input(count - kept + i), n, window + i * p.c);
        });
      });
    });
  });
}

// dz[t] = dy[t] act'(z[t]); dw[j] = sum_t dz[t] x[t - k + 1 + j]; dx[t] = sum_j w[j] dz[t + k - 1 - j].
NEMO_CPU_KERNEL(causal_conv1d_grad) {
  const Shape p(node, node.in(1));
  const int64_t ldy = node.matrix(node.in(0), 2).ld, lddx = node.matrix(node.out(0), 2).ld;
  for (const size_t i : {2, 3}) node.need_contiguous(node.in(i));
  for (const size_t i : {1, 2}) node.need_contiguous(node.out(i));
  const bool biased = node.in(3).present(), wants_bias = node.out(2).present();
  const nemo_dtype dw_type = node.out(1).dtype, db_type = node.out(2).dtype;
  return with_kind(node, [&](auto act) {
    using A = decltype(act);
    return with_type(node.compute(), [&](auto tag) {
      using T = decltype(tag);
      using C = compute_t<T>;
      return make_kernel(
          [=, &pool = device.pool](const Launch& l) {
            pool.each((p.c + kChannels - 1) / kChannels, [&](int64_t task, int part) {
              const int64_t c0 = task * kChannels, n = std::min(kChannels, p.c - c0);
              C w[kTaps][kChannels], bias[kChannels], z[kChannels], dw[kTaps][kChannels] = {}, db[kChannels] = {};
              C* dz = l.workspace<C>() + part * p.s * kChannels;
              load_taps<T>(l, p, c0, n, biased, 2, w, bias);
              for (int64_t b = 0; b < p.b; ++b) {
                const T* x = l.in<T>(1) + b * p.batch + c0;
                for (int64_t t = 0; t < p.s; ++t) {
                  taps(p, x, t, n, w, bias, z);
                  const T* dy = l.in<T>(0) + (b * p.s + t) * ldy + c0;
                  C* d = dz + t * kChannels;
#pragma omp simd
                  for (int64_t c = 0; c < n; ++c) {
                    d[c] = widen(dy[c]) * A::slope(z[c]);
                    db[c] += d[c];
                  }
                  for (int64_t j = std::max<int64_t>(0, p.k - 1 - t); j < p.k; ++j) {
                    const T* from = x + (t - p.k + 1 + j) * p.position;
#pragma omp simd
                    for (int64_t c = 0; c < n; ++c) dw[j][c] += d[c] * widen(from[c]);
                  }
                }
                for (int64_t t = 0; t < p.s; ++t) {
                  std::fill(z, z + n, C(0));
                  for (int64_t j = std::max<int64_t>(0, t + p.k - p.s); j < p.k; ++j) {
                    const C* d = dz + (t + p.k - 1 - j) * kChannels;
#pragma omp simd
                    for (int64_t c = 0; c < n; ++c) z[c] += w[j][c] * d[c];
                  }
                  store(z, n, l.out<T>(0) + (b * p.s + t) * lddx + c0, Write::overwrite);
                }
              }
              C row[kTaps];
              for (int64_t c = 0; c < n; ++c) {
                for (int64_t j = 0; j < p.k; ++j) row[j] = dw[j][c];
                store(row, p.k, dw_type, l.out(1), (c0 + c) * p.k, l.write());
              }
              if (wants_bias) store(db, n, db_type, l.out(2), c0, l.write());
            });
          },
          align_up(static_cast<uint64_t>(p.s * kChannels * device.pool.threads()) * sizeof(C)));
    });
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
