// linear with what stands before or behind it: bias and activation forward, the activation's slope and the bias gradient in the gradient of
// the input. By cuBLASLt's epilogues where it has one for the case (bf16, tanh GELU), else a product
// and an elementwise kernel, as without the fusion.
#include "gemm.hpp"
#include "kernels/activations.cuh"
#include "kernels/column_sums.cuh"
#include "kernels/map.cuh"

namespace nemo::cuda {

namespace {

Matrix split_at(const Node& node, const Tensor& t, char rows) { return node.matrix(t, node.group_rank(rows)); }

template <class A>
struct Value {
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const { out[0] = A::value(in[0]); }
};
template <class A>
struct TimesSlope {
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const { out[0] = in[0] * A::slope(in[1]); }
};

// f over matrices of one dtype given by address.
template <class T, int kIn, class F>
void map_matrices(const std::array<const void*, kIn>& in, const std::array<int64_t, kIn>& ld_in, void* out, const Matrix& m, const F& f,
                  cudaStream_t stream) {
  MapArgs<kIn, 1> a{};
  for (int k = 0; k < kIn; ++k) a.in[k] = in[static_cast<size_t>(k)], a.ld_in[k] = ld_in[static_cast<size_t>(k)];
  a.out[0] = out, a.ld_out[0] = m.ld;
  a.rows = m.rows;
  const bool vector = vector_access(a, m.cols, kLanes<T>);
  a.vectors = vector ? m.cols / kLanes<T> : m.cols;
  if (a.rows * a.vectors == 0) return;
  const unsigned grid = grid_of(a.rows * a.vectors, 256);
  if (vector)
    map_kernel<T, kLanes<T>, kIn, 1, F><<<grid, 256, 0, stream>>>(a, f);
  else
    map_kernel<T, 1, kIn, 1, F><<<grid, 256, 0, stream>>>(a, f);
}

// The epilogue's plan where it is wanted; nullptr: apart. f32 stays apart: its GELU must agree with the CPU's to 1e-4.
std::shared_ptr<const GemmPlan> epilogue_plan(const Node& node, Device& device, const Product& p) {
  if (node.compute() == NEMO_DTYPE_F32 || node.string("kind") != "gelu_tanh") return nullptr;
  return device.gemm->plan_fused(p);
}

uint64_t workspace_of(const std::shared_ptr<const GemmPlan>& plan) { return plan != nullptr ? plan->workspace() : 0; }

}  // namespace

NEMO_CUDA_KERNEL(linear_activation) {
  const Matrix x = split_at(node, node.in(0), 'a'), w = split_at(node, node.in(1), 'n'), y = split_at(node, node.out(0), 'a');
  const bool biased = node.in(2).present(), keeps = node.out(1).present();
  node.need_contiguous(node.in(2));
  const Matrix pre = keeps ? split_at(node, node.out(1), 'a') : y;
  const nemo_dtype d = node.compute();
  Product p{node.size('a'), node.size('n'), node.size('k'), Transpose::no, Transpose::yes, d, d, x.ld, w.ld, y.ld};
  p.epilogue = keeps ? (biased ? Epilogue::gelu_aux_bias : Epilogue::gelu_aux) : biased ? Epilogue::gelu_bias : Epilogue::gelu;
  p.ld_aux = keeps ? pre.ld : 0;
  const auto fused = epilogue_plan(node, device, p);
  p.epilogue = biased ? Epilogue::bias : Epilogue::none;
  p.ld_aux = 0, p.ldc = pre.ld;
  const GemmPlans plain = device.gemm->plan(p);
  return with_activation(node, [&](auto act) {
    return with_type(d, [&](auto tag) {
      using T = decltype(tag);
      return make_kernel(
          [=](const Launch& l) {
            const void* bias = biased ? l.in(2) : nullptr;
            const Operands o{l.in(0), l.in(1), l.out(0), bias, keeps ? l.out(1) : nullptr};
            if (fused != nullptr && fused->takes(o)) return fused->run(o, l.workspace<char>(), l.stream());
            void* at = keeps ? l.out(1) : l.out(0);
            plain.run({l.in(0), l.in(1), at, bias}, l.workspace<char>(), l.stream());
            map_matrices<T, 1>({at}, {pre.ld}, l.out(0), y, Value<decltype(act)>{}, l.stream());
          },
          std::max(plain.workspace(), workspace_of(fused)));
    });
  });
}

namespace {

// The gradient of the bias comes from the epilogue where that was measured to be faster than a pass of its own over dx.
bool bias_pays(const GemmPlan* with, const GemmPlan* without, const Matrix& dx, nemo_dtype d) {
  constexpr double kBandwidth = 2.7e12;
  if (with == nullptr || without == nullptr || with->milliseconds() <= 0 || without->milliseconds() <= 0) return false;
  const double pass = static_cast<double>(dx.rows * dx.cols * size_of(d)) / kBandwidth * 1e3;
  return with->milliseconds() < without->milliseconds() + pass;
}

}  // namespace

// cuBLASLt overwrites the bias gradient, in the products' dtype, so it goes through the workspace.
NEMO_CUDA_KERNEL(linear_dgrad_activation) {
  const Matrix dy = split_at(node, node.in(0), 'a'), w = split_at(node, node.in(1), 'n'), pre = split_at(node, node.in(2), 'a'),
               dx = split_at(node, node.out(0), 'a');
  node.need_contiguous(node.out(1));
  const nemo_dtype d = node.compute(), bias_type = node.out(1).dtype;
  Product p{node.size('a'), node.size('k'), node.size('n'), Transpose::no, Transpose::no, d, d, dy.ld, w.ld, dx.ld};
  const GemmPlans plain = device.gemm->plan(p);
  p.epilogue = Epilogue::dgelu;
  p.ld_aux = pre.ld;
  const auto fused = epilogue_plan(node, device, p);
  p.epilogue = Epilogue::dgelu_bias_grad;
  auto whole = bias_type != 0 ? epilogue_plan(node, device, p) : nullptr;
  if (!bias_pays(whole.get(), fused.get(), dx, d)) whole = nullptr;
  const RowSums sums(d, dx, device.multiprocessors), one_row(d, {1, dx.cols, dx.cols}, 1);
  const uint64_t products = align_up(std::max({plain.workspace(), workspace_of(fused), workspace_of(whole)}));
  const uint64_t row_bytes = align_up(static_cast<uint64_t>(partial_pitch(dx.cols)) * sizeof(float));
  return with_activation(node, [&](auto act) {
    return with_type(d, [&](auto tag) {
      using T = decltype(tag);
      return make_kernel(
          [=](const Launch& l) {
            float* partial = l.workspace<float>(products);
            const Operands o{l.in(0), l.in(1), l.out(0), nullptr, const_cast<void*>(l.in(2)), partial};
            if (whole != nullptr && whole->takes(o)) {
              whole->run(o, l.workspace<char>(), l.stream());
              return one_row.run(partial, bias_type, l.out(1), l.workspace<float>(products + row_bytes), l);
            }
            if (fused != nullptr && fused->takes(o)) {
              fused->run(o, l.workspace<char>(), l.stream());
            } else {
              plain.run({l.in(0), l.in(1), l.out(0)}, l.workspace<char>(), l.stream());
              map_matrices<T, 2>({l.out(0), l.in(2)}, {dx.ld, pre.ld}, l.out(0), dx, TimesSlope<decltype(act)>{}, l.stream());
            }
            if (bias_type != 0) sums.run(l.out(0), bias_type, l.out(1), partial, l);
          },
          products + std::max(sums.workspace(), 2 * row_bytes));
    });
  });
}

}  // namespace nemo::cuda
