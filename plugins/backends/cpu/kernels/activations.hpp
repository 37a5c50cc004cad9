// The pointwise functions that `kind` names, with their slopes. Included after kernels/arch.hpp.
#pragma once

#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

struct GeluErf {  // x Phi(x)
  template <class C>
  static C value(C x) {
    return C(0.5) * x * (C(1) + erf_(x * C(0.70710678118654752440)));
  }
  template <class C>
  static C slope(C x) {
    return C(0.5) * (C(1) + erf_(x * C(0.70710678118654752440))) + x * C(0.39894228040143267794) * exp_(C(-0.5) * x * x);
  }
};
struct GeluTanh {  // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  template <class C>
  static C value(C x) {
    return C(0.5) * x * (C(1) + tanh_(C(0.79788456080286535588) * (x + C(0.044715) * x * x * x)));
  }
  template <class C>
  static C slope(C x) {
    const C t = tanh_(C(0.79788456080286535588) * (x + C(0.044715) * x * x * x));
    return C(0.5) * (C(1) + t) + C(0.5) * x * (C(1) - t * t) * C(0.79788456080286535588) * (C(1) + C(3 * 0.044715) * x * x);
  }
};
struct Silu {
  template <class C>
  static C value(C x) {
    return x / (C(1) + exp_(-x));
  }
  template <class C>
  static C slope(C x) {
    const C s = sigmoid_(x);
    return s * (C(1) + x * (C(1) - s));
  }
};
struct Relu {
  template <class C>
  static C value(C x) {
    return x < C(0) ? C(0) : x;
  }
  template <class C>
  static C slope(C x) {
    return x > C(0) ? C(1) : C(0);
  }
};
struct Relu2 {
  template <class C>
  static C value(C x) {
    return x < C(0) ? C(0) : x * x;
  }
  template <class C>
  static C slope(C x) {
    return x > C(0) ? C(2) * x : C(0);
  }
};
struct QuickGelu {  // x sigmoid(1.702 x)
  template <class C>
  static C value(C x) {
    return x * sigmoid_(C(1.702) * x);
  }
  template <class C>
  static C slope(C x) {
    const C s = sigmoid_(C(1.702) * x);
    return s * (C(1) + C(1.702) * x * (C(1) - s));
  }
};
struct Tanh {
  template <class C>
  static C value(C x) {
    return tanh_(x);
  }
  template <class C>
  static C slope(C x) {
    const C t = tanh_(x);
    return C(1) - t * t;
  }
};
struct Sigmoid {
  template <class C>
  static C value(C x) {
    return sigmoid_(x);
  }
  template <class C>
  static C slope(C x) {
    const C s = sigmoid_(x);
    return s * (C(1) - s);
  }
};
struct Softplus {
  template <class C>
  static C value(C x) {
    return softplus_(x);
  }
  template <class C>
  static C slope(C x) {
    return sigmoid_(x);
  }
};

template <class F>
Prepared with_activation(const Node& node, F&& f) {
  const std::string_view kind = node.string("kind");
  if (kind == "gelu_erf") return f(GeluErf{});
  if (kind == "gelu_tanh") return f(GeluTanh{});
  if (kind == "silu") return f(Silu{});
  if (kind == "relu") return f(Relu{});
  if (kind == "relu2") return f(Relu2{});
  if (kind == "quick_gelu") return f(QuickGelu{});
  if (kind == "tanh") return f(Tanh{});
  if (kind == "sigmoid") return f(Sigmoid{});
  if (kind == "softplus") return f(Softplus{});
  node.refuse("unknown kind \"" + std::string(kind) + "\"");
}

}  // namespace nemo::cpu::NEMO_CPU_NS
