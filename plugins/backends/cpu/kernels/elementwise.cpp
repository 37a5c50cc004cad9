// activation, glu, add, mul, scale, dropout and gradients: one read of each input, one write of each output; bound by memory (f32: the
// transcendental functions stay below it). Outputs may be the memory of an input with the same layout.
#include "kernels/arch.hpp"

#include "kernels/activations.hpp"
#include "kernels/block.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

// y_o[i] = f(x_0[i], x_1[i], ...) over aligned tensors of dtype T; f takes and returns arithmetic values, two results as a pair.
template <class T, size_t kIn, class F>
Prepared map(const Node& node, Device& device, size_t n_out, F f) {
  std::vector<const Tensor*> tensors;
  for (size_t i = 0; i < kIn; ++i) tensors.push_back(&node.in(i));
  for (size_t i = 0; i < n_out; ++i) tensors.push_back(&node.out(i));
  const Aligned a = node.align(tensors);
  return make_kernel([a, f, &pool = device.pool](const Launch& l) {
    auto run = [&](int64_t row, int64_t begin, int64_t end) {
      const T* x[kIn];
      for (size_t i = 0; i < kIn; ++i) x[i] = l.in<T>(static_cast<int>(i)) + row * a.ld[i];
      f.row(
          x, l, [&](int i) { return l.out<T>(i) + row * a.ld[kIn + i]; }, begin, end);
    };
    if (a.rows == 1)
      pool.split(a.cols, kGrain, [&](int64_t begin, int64_t end, int) { run(0, begin, end); });
    else
      pool.split(a.rows, row_grain(a.cols), [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) run(r, 0, a.cols);
      });
  });
}

template <class T, class F>
struct Unary {
  F f;
  template <class Out>
  void row(const T* const* in, const Launch&, const Out& out, int64_t begin, int64_t end) const {
    const T* x = in[0];
    T* y = out(0);
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = narrow<T>(f(widen(x[i])));
  }
};

template <class T, class F>
struct Binary {
  F f;
  template <class Out>
  void row(const T* const* in, const Launch&, const Out& out, int64_t begin, int64_t end) const {
    const T *a = in[0], *b = in[1];
    T* y = out(0);
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = narrow<T>(f(widen(a[i]), widen(b[i])));
  }
};

// dgate = dy up act'(gate), dup = dy act(gate)
template <class T, class A>
struct GluGrad {
  template <class Out>
  void row(const T* const* in, const Launch&, const Out& out, int64_t begin, int64_t end) const {
    const T *dy = in[0], *gate = in[1], *up = in[2];
    T *dgate = out(0), *dup = out(1);
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const auto g = widen(gate[i]), u = widen(up[i]), d = widen(dy[i]);
      dgate[i] = narrow<T>(d * u * A::slope(g));
      dup[i] = narrow<T>(d * A::value(g));
    }
  }
};

template <class F>
Prepared unary(const Node& node, Device& device, F f) {
  return with_type(node.compute(), [&](auto tag) { return map<decltype(tag), 1>(node, device, 1, Unary<decltype(tag), F>{f}); });
}

template <class F>
Prepared binary(const Node& node, Device& device, F f) {
  return with_type(node.compute(), [&](auto tag) { return map<decltype(tag), 2>(node, device, 1, Binary<decltype(tag), F>{f}); });
}

constexpr int64_t kPhiloxGroups = 64;  // counters that run side by side

// Philox4x32-10 (Salmon et al. 2011): 10 rounds over 128-bit counters {group low, group high, step low, step high} with a 64-bit key.
// word[w][g] is word w of counter first + g.
inline void philox(uint32_t k0, uint32_t k1, uint64_t first, uint64_t step, uint32_t (&word)[4][kPhiloxGroups]) {
#pragma omp simd
  for (int64_t g = 0; g < kPhiloxGroups; ++g) {
    const uint64_t group = first + static_cast<uint64_t>(g);
    word[0][g] = static_cast<uint32_t>(group);
    word[1][g] = static_cast<uint32_t>(group >> 32);
    word[2][g] = static_cast<uint32_t>(step);
    word[3][g] = static_cast<uint32_t>(step >> 32);
  }
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
#pragma omp simd
    for (int64_t g = 0; g < kPhiloxGroups; ++g) {
      const uint64_t a = uint64_t{0xD2511F53u} * word[0][g], b = uint64_t{0xCD9E8D57u} * word[2][g];
      word[0][g] = static_cast<uint32_t>(b >> 32) ^ word[1][g] ^ k0;
      word[2][g] = static_cast<uint32_t>(a >> 32) ^ word[3][g] ^ k1;
      word[1][g] = static_cast<uint32_t>(b);
      word[3][g] = static_cast<uint32_t>(a);
    }
  }
}

}  // namespace

NEMO_CPU_KERNEL(activation) {
  return with_activation(node, [&](auto act) { return unary(node, device, [](auto x) { return decltype(act)::value(x); }); });
}
NEMO_CPU_KERNEL(activation_grad) {
  return with_activation(node,
                         [&](auto act) { return binary(node, device, [](auto dy, auto x) { return dy * decltype(act)::slope(x); }); });
}
NEMO_CPU_KERNEL(glu) {
  return with_activation(node, [&](auto act) { return binary(node, device, [](auto g, auto u) { return decltype(act)::value(g) * u; }); });
}
NEMO_CPU_KERNEL(glu_grad) {
  return with_activation(node, [&](auto act) {
    return with_type(node.compute(),
                     [&](auto tag) { return map<decltype(tag), 3>(node, device, 2, GluGrad<decltype(tag), decltype(act)>{}); });
  });
}
NEMO_CPU_KERNEL(add) {
  return binary(node, device, [](auto a, auto b) { return a + b; });
}
NEMO_CPU_KERNEL(mul) {
  return binary(node, device, [](auto a, auto b) { return a * b; });
}
NEMO_CPU_KERNEL(scale) {
  const double alpha = node.number("alpha");
  return unary(node, device, [alpha](auto x) { return x * static_cast<decltype(x)>(alpha); });
}

// Element i (row-major) is dropped where word i % 4 of Philox4x32-10 is below p 2^32. key = {low32(rng[0]) ^ high32(key), high32(rng[0]) ^
// low32(key)}, counter = {low32(i / 4), high32(i / 4), low32(rng[1]), high32(rng[1])}.
NEMO_CPU_KERNEL(dropout) {
  if (node.size('r') != 2) node.refuse("rng must be [2]: seed and counter");
  node.need_contiguous(node.in(0));
  node.need_contiguous(node.out(0));
  const double p = node.number("p");
  if (!(p >= 0 && p <= 1)) node.refuse("p must be within [0, 1]");
  const uint64_t key = static_cast<uint64_t>(node.integer("key"));
  const uint32_t threshold = static_cast<uint32_t>(std::min(p * 4294967296.0, 4294967295.0));  // at p = 1 nothing is kept: `keep` is 0
  const int64_t n = node.in(0).size();
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const C keep = p < 1 ? static_cast<C>(1 / (1 - p)) : C(0);
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      const int64_t* rng = l.in<int64_t>(1);
      const uint64_t seed = static_cast<uint64_t>(rng[0]), step = static_cast<uint64_t>(rng[1]);
      const uint32_t k0 = static_cast<uint32_t>(seed ^ (key >> 32)), k1 = static_cast<uint32_t>((seed >> 32) ^ key);
      constexpr int64_t kSpan = 4 * kPhiloxGroups;
      pool.split((n + kSpan - 1) / kSpan, kGrain / kSpan / 4, [&](int64_t begin, int64_t end, int) {
        uint32_t word[4][kPhiloxGroups];
        C factor[kSpan];
        for (int64_t span = begin; span < end; ++span) {
          philox(k0, k1, static_cast<uint64_t>(span * kPhiloxGroups), step, word);
#pragma omp simd
          for (int64_t g = 0; g < kPhiloxGroups; ++g) {
            factor[4 * g] = word[0][g] < threshold ? C(0) : keep;
            factor[4 * g + 1] = word[1][g] < threshold ? C(0) : keep;
            factor[4 * g + 2] = word[2][g] < threshold ? C(0) : keep;
            factor[4 * g + 3] = word[3][g] < threshold ? C(0) : keep;
          }
          const int64_t first = span * kSpan, count = std::min(kSpan, n - first);
          const T* x = l.in<T>(0) + first;
          T* y = l.out<T>(0) + first;
#pragma omp simd
          for (int64_t i = 0; i < count; ++i) y[i] = narrow<T>(factor[i] == C(0) ? C(0) : static_cast<C>(widen(x[i])) * factor[i]);
        }
      });
    });
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
