// head_concat, take_token, relative_bias and gradients: rows copied or gathered. Bound by memory.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/distance_buckets.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

int64_t offset(const Tensor& t, int64_t i, int64_t j, int64_t k = 0) {
  return i * t.strides[0] + j * t.strides[1] + (t.rank() > 3 ? k * t.strides[2] : 0);
}

}  // namespace

NEMO_CPU_KERNEL(head_concat) {
  const Tensor &x = node.in(0), &shared = node.in(1), &y = node.out(0);
  const int64_t b = node.size('b'), s = node.size('s'), h = node.size('h'), m = node.size('m'), d = node.size('d'), r = node.size('r');
  if (node.size('f') != d + r || m == 0 || h % m != 0) node.refuse("f must be d + r, and h a multiple of m");
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(b * s, row_grain(h * (d + r)), [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t) {
          for (int64_t head = 0; head < h; ++head) {
            const T* common = l.in<T>(1) + offset(shared, t / s, t % s, head * m / h);
            const T* own = l.in<T>(0) + offset(x, t / s, t % s, head);
            std::copy(common, common + r, std::copy(own, own + d, l.out<T>(0) + offset(y, t / s, t % s, head)));
          }
        }
      });
    });
  });
}

NEMO_CPU_KERNEL(head_concat_grad) {
  const Tensor &dy = node.in(0), &dx = node.out(0), &dshared = node.out(1);
  const int64_t b = node.size('b'), s = node.size('s'), h = node.size('h'), m = node.size('m'), d = node.size('d'), r = node.size('r');
  if (node.size('f') != d + r || m == 0 || h % m != 0) node.refuse("f must be d + r, and h a multiple of m");
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(b * s, row_grain(h * (d + r)), [&](int64_t begin, int64_t end, int) {
        C sum[kBlock];
        for (int64_t t = begin; t < end; ++t) {
          for (int64_t head = 0; head < h; ++head) {
            const T* up = l.in<T>(0) + offset(dy, t / s, t % s, head);
            std::copy(up, up + d, l.out<T>(0) + offset(dx, t / s, t % s, head));
          }
          for (int64_t i = 0; i < m * r; i += std::min(kBlock, r - i % r)) {
            const int64_t n = std::min(kBlock, r - i % r), group = i / r, per_group = h / m;
            std::fill(sum, sum + n, C(0));
            for (int64_t head = group * per_group; head < (group + 1) * per_group; ++head) {
              const T* up = l.in<T>(0) + offset(dy, t / s, t % s, head) + d + i % r;
#pragma omp simd
              for (int64_t c = 0; c < n; ++c) sum[c] += widen(up[c]);
            }
            store(sum, n, l.out<T>(1) + offset(dshared, t / s, t % s, group) + i % r, Write::overwrite);
          }
        }
      });
    });
  });
}

NEMO_CPU_KERNEL(take_token) {
  const Tensor &x = node.in(0), &y = node.out(0);
  const int64_t b = node.size('b'), d = node.size('d'), index = node.integer("index");
  const bool outside = index < 0 || index >= node.size('s');
  if (outside && node.integer("part") == 0) node.refuse("index is outside the sequence");
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=](const Launch& l) {
      for (int64_t i = 0; i < b; ++i) {
        if (outside) {
          std::fill_n(l.out<T>(0) + i * y.strides[0], d, T{});
          continue;
        }
        const T* from = l.in<T>(0) + offset(x, i, index);
        std::copy(from, from + d, l.out<T>(0) + i * y.strides[0]);
      }
    });
  });
}

NEMO_CPU_KERNEL(take_token_grad) {
  const Tensor &dy = node.in(0), &dx = node.out(0);
  const int64_t b = node.size('b'), s = node.size('s'), d = node.size('d'), index = node.integer("index");
  if ((index < 0 || index >= s) && node.integer("part") == 0) node.refuse("index is outside the sequence");
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(b * s, row_grain(d), [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t) {
          T* to = l.out<T>(0) + offset(dx, t / s, t % s);
          if (t % s == index)
            std::copy(l.in<T>(0) + t / s * dy.strides[0], l.in<T>(0) + t / s * dy.strides[0] + d, to);
          else
            std::fill(to, to + d, T{});
        }
      });
    });
  });
}

NEMO_CPU_KERNEL(relative_bias) {
  node.need_contiguous(node.in(0));
  node.need_contiguous(node.out(0));
  const int64_t h = node.size('h'), s = node.size('s'), t = node.size('t');
  const Buckets bucket = buckets_of(node);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(s, row_grain(h * t), [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i)
          for (int64_t j = 0; j < t; ++j) {
            const T* row = l.in<T>(0) + bucket(j - i - (t - s)) * h;
            for (int64_t head = 0; head < h; ++head) l.out<C>(0)[(head * s + i) * t + j] = widen(row[head]);
          }
      });
    });
  });
}

// A thread has a head to itself, so that each sum has one order.
NEMO_CPU_KERNEL(relative_bias_grad) {
  node.need_contiguous(node.in(0));
  node.need_contiguous(node.out(0));
  const int64_t h = node.size('h'), s = node.size('s'), t = node.size('t');
  const Buckets bucket = buckets_of(node);
  const nemo_dtype grad = node.out(0).dtype;
  auto prepare = [&]<class C>(C) {
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          C* sums = l.workspace<C>();
          pool.each(h, [&](int64_t head, int) {
            for (int64_t v = 0; v < bucket.buckets; ++v) sums[v * h + head] = 0;
            for (int64_t i = 0; i < s; ++i)
              for (int64_t j = 0; j < t; ++j) sums[bucket(j - i - (t - s)) * h + head] += l.in<C>(0)[(head * s + i) * t + j];
          });
          store(sums, bucket.buckets * h, grad, l.out(0), 0, l.write());
        },
        align_up(static_cast<uint64_t>(bucket.buckets * h) * sizeof(C)));
  };
  return node.compute() == NEMO_DTYPE_F64 ? prepare(double{}) : prepare(float{});
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
