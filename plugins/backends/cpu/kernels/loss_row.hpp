// The arithmetic of the losses on one row of logits. Included after kernels/arch.hpp.
#pragma once

#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

struct LossSpec {
  int64_t v, ignore_index;
  double smoothing, z_loss;
};

inline LossSpec loss_spec(const Node& node) {
  return {node.size('v'), node.integer("ignore_index"), node.number("label_smoothing"), node.number("z_loss")};
}

template <class T>
compute_t<T> row_maximum(const T* x, int64_t v) {
  using C = compute_t<T>;
  C top = -std::numeric_limits<C>::infinity();
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < v; ++i) top = widen(x[i]) > top ? widen(x[i]) : top;
  return top;
}

template <class T, class C>
C sum_of_exp(const T* x, int64_t v, C top) {
  C sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < v; ++i) sum += exp_(widen(x[i]) - top);
  return sum;
}

template <class T>
compute_t<T> log_sum_exp(const T* x, int64_t v) {
  const compute_t<T> top = row_maximum(x, v);
  return top + std::log(sum_of_exp(x, v, top));
}

// (1 - s) nll + s/v sum(-logp) + z lse^2
template <class T, class C>
C loss_of_row(const LossSpec& p, const T* x, int64_t label, C lse) {
  const C s = static_cast<C>(p.smoothing);
  C loss = (C(1) - s) * (lse - static_cast<C>(widen(x[label]))) + static_cast<C>(p.z_loss) * lse * lse;
  if (p.smoothing != 0) {
    C sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < p.v; ++i) sum += lse - widen(x[i]);
    loss += s / static_cast<C>(p.v) * sum;
  }
  return loss;
}

// dx[i] = dloss (softmax_i (1 + 2 z lse) - (1 - s) [i = label] - s/v); `label` outside [0, v) has no such term. dx may be x.
template <class T, class C>
void loss_grad_row(const LossSpec& p, const T* x, int64_t label, C lse, C dloss, T* dx) {
  const C a = dloss * (C(1) + C(2) * static_cast<C>(p.z_loss) * lse), b = dloss * static_cast<C>(p.smoothing / static_cast<double>(p.v));
  const bool here = label >= 0 && label < p.v;
  const C at_label = here ? exp_(widen(x[label]) - lse) * a - b - dloss * static_cast<C>(1 - p.smoothing) : C(0);
#pragma omp simd
  for (int64_t i = 0; i < p.v; ++i) dx[i] = narrow<T>(exp_(widen(x[i]) - lse) * a - b);
  if (here) dx[label] = narrow<T>(at_label);
}

}  // namespace nemo::cpu::NEMO_CPU_NS
