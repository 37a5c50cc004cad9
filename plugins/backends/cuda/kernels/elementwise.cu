// activation, glu, add, mul, scale and gradients: one read of each input, one write of each output; bound by memory. Outputs may be the
// memory of an input with the same layout.
#include "kernels/activations.cuh"
#include "kernels/map.cuh"

namespace nemo::cuda {

namespace {

template <class A>
struct Value {
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const { out[0] = A::value(in[0]); }
};
template <class A>
struct ValueGrad {
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const { out[0] = in[0] * A::slope(in[1]); }
};
struct Add {
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const { out[0] = in[0] + in[1]; }
};
struct Mul {
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const { out[0] = in[0] * in[1]; }
};
struct Scale {
  float alpha;
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const { out[0] = in[0] * alpha; }
};

}  // namespace

NEMO_CUDA_KERNEL(activation) {
  return with_activation(node, [&](auto act) { return map<1, 1>(node, Value<decltype(act)>{}); });
}
NEMO_CUDA_KERNEL(activation_grad) {
  return with_activation(node, [&](auto act) { return map<2, 1>(node, ValueGrad<decltype(act)>{}); });
}
NEMO_CUDA_KERNEL(glu) {
  return with_activation(node, [&](auto act) { return map<2, 1>(node, Glu<decltype(act)>{}); });
}
NEMO_CUDA_KERNEL(glu_grad) {
  return with_activation(node, [&](auto act) { return map<3, 2>(node, GluGrad<decltype(act)>{}); });
}
NEMO_CUDA_KERNEL(add) { return map<2, 1>(node, Add{}); }
NEMO_CUDA_KERNEL(mul) { return map<2, 1>(node, Mul{}); }
NEMO_CUDA_KERNEL(scale) { return map<1, 1>(node, Scale{static_cast<float>(node.number("alpha"))}); }

}  // namespace nemo::cuda
