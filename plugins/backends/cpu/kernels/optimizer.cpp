// AdamW (Loshchilov & Hutter 2019) and SGD over flat ranges of any mix of dtypes, as torch.optim.AdamW and torch.optim.SGD. Blocks are
// converted to arithmetic precision (f64 where parameter or master weights are f64, else f32) in L1. Bound by memory.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

constexpr int kLr = 0, kBeta1 = 1, kBeta2 = 2, kEps = 3, kCorrection1 = 4, kCorrection2 = 5, kScale = 6, kSkip = 7;

// Dtypes of grad and outputs (0: absent).
struct Types {
  nemo_dtype grad, param, master, out2, out3;
  nemo_dtype weights() const { return master != 0 ? master : param; }
  int weights_at() const { return master != 0 ? 1 : 0; }
};

Types checked(const Node& node) {
  Types t{node.in(0).dtype, node.out(0).dtype, node.out(1).dtype, node.out(2).dtype, 0};
  if (node.in(1).size() != 8) node.refuse("hyper must be f64[8]");
  if (node.has_attribute("momentum") == false) t.out3 = node.out(3).dtype;
  for (nemo_dtype d : {t.grad, t.param})
    if (!is_floating(d)) node.refuse("gradient and parameter must be f32, f64, bf16 or f16");
  for (nemo_dtype d : {t.master, t.out2, t.out3})
    if (d != 0 && !is_floating(d)) node.refuse("master weights and moments must be f32, f64, bf16 or f16");
  return t;
}

template <class C>
struct Adam {
  C scale, beta1, beta2, keep, step, root2, eps;
  Adam(const double* h, double decay)
      : scale(static_cast<C>(h[kScale])),
        beta1(static_cast<C>(h[kBeta1])),
        beta2(static_cast<C>(h[kBeta2])),
        keep(static_cast<C>(1 - h[kLr] * decay)),
        step(static_cast<C>(h[kLr] / h[kCorrection1])),
        root2(static_cast<C>(1 / std::sqrt(h[kCorrection2]))),
        eps(static_cast<C>(h[kEps])) {}
  void operator()(const C* grad, C* p, C* m, C* v, int64_t n) const {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      const C g = grad[i] * scale;
      m[i] = beta1 * m[i] + (C(1) - beta1) * g;
      v[i] = beta2 * v[i] + (C(1) - beta2) * g * g;
      p[i] = p[i] * keep - step * m[i] / (std::sqrt(v[i]) * root2 + eps);
    }
  }
};

template <class C>
struct Sgd {
  C scale, lr, decay, momentum;
  bool has_buffer, nesterov;
  void operator()(const C* grad, C* p, C* buffer, C*, int64_t n) const {
    const C own = nesterov ? C(1) : C(0), past = nesterov ? momentum : C(1);
    if (!has_buffer) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) p[i] -= lr * (grad[i] * scale + decay * p[i]);
      return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      const C g = grad[i] * scale + decay * p[i];
      buffer[i] = momentum * buffer[i] + g;
      p[i] -= lr * (own * g + past * buffer[i]);
    }
  }
};

// update(const Launch&) gives the functor for this step's hyper parameters.
template <class C, class Update>
Prepared flat_update(Device& device, const Types& t, int64_t n, Update update) {
  return make_kernel([=, &pool = device.pool](const Launch& l) {
    if (l.in<double>(1)[kSkip] != 0) return;
    const auto step = update(l);
    pool.split(n, kGrain, [&](int64_t begin, int64_t end, int) {
      C g[kBlock], p[kBlock], a[kBlock], b[kBlock];
      for (int64_t i = begin; i < end; i += kBlock) {
        const int64_t count = std::min(kBlock, end - i);
        load(t.grad, l.in(0), i, count, g);
        load(t.weights(), l.out(t.weights_at()), i, count, p);
        if (t.out2 != 0) load(t.out2, l.out(2), i, count, a);
        if (t.out3 != 0) load(t.out3, l.out(3), i, count, b);
        step(g, p, a, b, count);
        if (t.out2 != 0) store(a, count, t.out2, l.out(2), i);
        if (t.out3 != 0) store(b, count, t.out3, l.out(3), i);
        store(p, count, t.param, l.out(0), i);
        if (t.master != 0) store(p, count, t.master, l.out(1), i);
      }
    });
  });
}

}  // namespace

NEMO_CPU_KERNEL(adamw) {
  const Types t = checked(node);
  const double decay = node.number("weight_decay");
  auto build = [&]<class C>(C) {
    return flat_update<C>(device, t, node.size('n'), [decay](const Launch& l) { return Adam<C>(l.in<double>(1), decay); });
  };
  return t.weights() == NEMO_DTYPE_F64 ? build(double{}) : build(float{});
}

NEMO_CPU_KERNEL(sgd) {
  const Types t = checked(node);
  const double decay = node.number("weight_decay"), momentum = node.number("momentum");
  const bool nesterov = node.integer("nesterov") != 0;
  if (momentum != 0 && t.out2 == 0) node.refuse("momentum needs the momentum buffer");
  if (nesterov && momentum == 0) node.refuse("nesterov needs momentum");
  const bool has_buffer = momentum != 0;
  auto build = [&]<class C>(C) {
    return flat_update<C>(device, t, node.size('n'), [=](const Launch& l) {
      const double* h = l.in<double>(1);
      return Sgd<C>{
          static_cast<C>(h[kScale]), static_cast<C>(h[kLr]), static_cast<C>(decay), static_cast<C>(momentum), has_buffer, nesterov};
    });
  };
  return t.weights() == NEMO_DTYPE_F64 ? build(double{}) : build(float{});
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
