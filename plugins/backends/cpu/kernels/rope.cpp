// Rotary positions. The angles of one token serve all its heads; bound by memory.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

template <class T, class C>
void turn_halves(const T* x, const C* cosine, const C* sine, int64_t pairs, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < pairs; ++i) {
    const C a = widen(x[i]), b = widen(x[i + pairs]);
    y[i] = narrow<T>(a * cosine[i] - b * sine[i]);
    y[i + pairs] = narrow<T>(b * cosine[i] + a * sine[i]);
  }
}

template <class T, class C>
void turn_interleaved(const T* x, const C* cosine, const C* sine, int64_t pairs, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < pairs; ++i) {
    const C a = widen(x[2 * i]), b = widen(x[2 * i + 1]);
    y[2 * i] = narrow<T>(a * cosine[i] - b * sine[i]);
    y[2 * i + 1] = narrow<T>(b * cosine[i] + a * sine[i]);
  }
}

}  // namespace

NEMO_CPU_KERNEL(rope) {
  const auto given = node.numbers("inv_freq");
  const std::vector<double> inv_freq(given.begin(), given.end());
  const int64_t pairs = static_cast<int64_t>(inv_freq.size()), d = node.size('d'), s = node.size('s'), h = node.size('h');
  const int64_t first = node.integer("offset");
  if (first < 0 || first + 2 * pairs > d) node.refuse("offset + 2 * len(inv_freq) is larger than the head dimension");
  const double scale = node.number("scale"), sign = node.integer("inverse") != 0 ? -1 : 1;
  const bool interleaved = node.integer("interleaved") != 0;
  const Tensor &x = node.in(0), &positions = node.in(1), &y = node.out(0);
  const int64_t tokens = node.size('b') * s;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const int64_t pitch = (pairs + 15) / 16 * 16;
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          pool.split(tokens, row_grain(h * d), [&](int64_t begin, int64_t end, int part) {
            C* cosine = l.workspace<C>() + 2 * pitch * part;
            C* sine = cosine + pitch;
            for (int64_t token = begin; token < end; ++token) {
              const int64_t b = token / s, t = token % s;
              const double position = l.in<int32_t>(1)[b * positions.strides[0] + t * positions.strides[1]];
#pragma omp simd
              for (int64_t i = 0; i < pairs; ++i) {
                C sn, cs;
                sincos_(position * inv_freq[i], sn, cs);
                cosine[i] = cs * static_cast<C>(scale);
                sine[i] = sn * static_cast<C>(scale * sign);
              }
              for (int64_t head = 0; head < h; ++head) {
                const T* from = l.in<T>(0) + b * x.strides[0] + t * x.strides[1] + head * x.strides[2];
                T* to = l.out<T>(0) + b * y.strides[0] + t * y.strides[1] + head * y.strides[2];
                if (interleaved)
                  turn_interleaved(from + first, cosine, sine, pairs, to + first);
                else
                  turn_halves(from + first, cosine, sine, pairs, to + first);
                if (from == to) continue;
                std::copy(from, from + first, to);
                std::copy(from + first + 2 * pairs, from + d, to + first + 2 * pairs);
              }
            }
          });
        },
        align_up(static_cast<uint64_t>(2 * pitch * device.pool.threads()) * sizeof(C)));
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
