// activation, glu, add, mul, scale and gradients: one read of each input, one write of each output; bound by memory (f32: the
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

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
