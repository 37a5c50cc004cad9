// The pointwise functions that `kind` names, with their slopes.
#pragma once

#include "kernels/device.cuh"

namespace nemo::cuda {

__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }
// Absolute error about 1e-7; saturates without overflow.
__device__ __forceinline__ float fast_tanh(float x) { return 1.0f - __fdividef(2.0f, 1.0f + __expf(fminf(2.0f * x, 80.0f))); }

struct GeluErf {  // x Phi(x)
  static __device__ float value(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752440f)); }
  static __device__ float slope(float x) {
    return 0.5f * (1.0f + erff(x * 0.70710678118654752440f)) + x * 0.39894228040143267794f * __expf(-0.5f * x * x);
  }
};
struct GeluTanh {  // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  static __device__ float inner(float x) { return fast_tanh(0.79788456080286535588f * (x + 0.044715f * x * x * x)); }
  static __device__ float value(float x) { return 0.5f * x * (1.0f + inner(x)); }
  static __device__ float slope(float x) {
    const float t = inner(x);
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.79788456080286535588f * (1.0f + 3 * 0.044715f * x * x);
  }
};
struct Silu {
  static __device__ float value(float x) { return x * sigmoid(x); }
  static __device__ float slope(float x) {
    const float s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
  }
};
struct Relu {
  static __device__ float value(float x) { return x < 0.0f ? 0.0f : x; }
  static __device__ float slope(float x) { return x > 0.0f ? 1.0f : 0.0f; }
};
struct Relu2 {
  static __device__ float value(float x) { return x < 0.0f ? 0.0f : x * x; }
  static __device__ float slope(float x) { return x > 0.0f ? 2.0f * x : 0.0f; }
};
struct QuickGelu {  // x sigmoid(1.702 x)
  static __device__ float value(float x) { return x * sigmoid(1.702f * x); }
  static __device__ float slope(float x) {
    const float s = sigmoid(1.702f * x);
    return s * (1.0f + 1.702f * x * (1.0f - s));
  }
};
struct Tanh {
  static __device__ float value(float x) { return tanhf(x); }
  static __device__ float slope(float x) {
    const float t = tanhf(x);
    return 1.0f - t * t;
  }
};
struct Sigmoid {
  static __device__ float value(float x) { return sigmoid(x); }
  static __device__ float slope(float x) {
    const float s = sigmoid(x);
    return s * (1.0f - s);
  }
};
struct Softplus {
  static __device__ float value(float x) { return fmaxf(x, 0.0f) + log1pf(__expf(-fabsf(x))); }
  static __device__ float slope(float x) { return sigmoid(x); }
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

// y = act(gate) up.
template <class A>
struct Glu {
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const { out[0] = A::value(in[0]) * in[1]; }
};
// dgate = dy up act'(gate), dup = dy act(gate)
template <class A>
struct GluGrad {
  __device__ void operator()(const float (&in)[3], float (&out)[2]) const {
    out[0] = in[0] * in[2] * A::slope(in[1]);
    out[1] = in[0] * A::value(in[1]);
  }
};

}  // namespace nemo::cuda
