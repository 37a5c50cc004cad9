#include "attention_cudnn.hpp"

#include "attention_pattern.hpp"

namespace nemo::cuda {

namespace {

bool takes(const AttentionSpec& p, std::initializer_list<Heads> tensors) {
  if (p.dtype != NEMO_DTYPE_BF16 && p.dtype != NEMO_DTYPE_F16) return false;
  if (p.segments || p.extended() || p.softcap > 0 || p.d % 8 != 0 || p.e % 8 != 0 || p.d > 256 || p.e > 256) return false;
  if (p.s > p.t && (p.causal || p.window > 0)) return false;
  if (p.s == 1 && p.t == 1) return false;
  for (const Heads& x : tensors)
    if (x.batch % 8 != 0 || x.position % 8 != 0 || x.head % 8 != 0) return false;
  return true;
}

struct BackwardLayout {
  uint64_t sums, dq, total;  // offsets behind the plan's own workspace
  BackwardLayout(const CudnnPlan& plan, const AttentionSpec& p, DqOrder order) {
    sums = align_up(plan.workspace());
    dq = sums + align_up(static_cast<uint64_t>(p.b * p.h * p.s) * sizeof(float));
    total = dq + (order == DqOrder::fixed ? 0 : align_up(static_cast<uint64_t>(p.b * p.h * p.s * p.d) * sizeof(float)));
  }
};

}  // namespace

bool cudnn_takes(const AttentionForward& p) { return takes(p.spec, {p.q, p.k, p.v, p.o}); }
bool cudnn_takes(const AttentionBackward& p) { return takes(p.spec, {p.dout, p.q, p.k, p.v, p.o, p.dq, p.dk, p.dv}); }

std::shared_ptr<const CudnnPlan> build_forward(std::shared_ptr<const Cudnn> cudnn, const AttentionForward& f) {
  const AttentionSpec& p = f.spec;
  Pattern a(std::move(cudnn), p);
  const auto q = a.tensor(p.h, p.s, p.d, f.q), kt = a.transposed(p.g, p.t, p.d, f.k), v = a.tensor(p.g, p.t, p.e, f.v);
  const auto o = a.tensor(p.h, p.s, p.e, f.o), lse = a.row_memory();
  add_forward(a, {q, kt, v, o, lse});
  return a.graph.build();
}

std::shared_ptr<const CudnnPlan> build_backward(std::shared_ptr<const Cudnn> cudnn, const AttentionBackward& f, DqOrder order) {
  const AttentionSpec& p = f.spec;
  Pattern a(std::move(cudnn), p);
  BackwardTensors x;
  x.dout = a.tensor(p.h, p.s, p.e, f.dout), x.q = a.tensor(p.h, p.s, p.d, f.q), x.kt = a.transposed(p.g, p.t, p.d, f.k);
  x.vt = a.transposed(p.g, p.t, p.e, f.v), x.o = a.tensor(p.h, p.s, p.e, f.o), x.lse = a.row_memory();
  x.dq = a.tensor(p.h, p.s, p.d, f.dq), x.dk = a.tensor(p.g, p.t, p.d, f.dk), x.dv = a.tensor(p.g, p.t, p.e, f.dv), x.sums = a.row_memory();
  x.k = f.k;
  if (order == DqOrder::any) x.gathered = a.graph.memory(kF32, {p.b, p.h, p.s, p.d}, {p.h * p.s * p.d, p.s * p.d, p.d, 1});
  add_backward(a, x);
  return a.graph.build();
}

uint64_t backward_workspace(const CudnnPlan& plan, const AttentionBackward& p, DqOrder order) {
  return BackwardLayout(plan, p.spec, order).total;
}

void run_forward(CudnnBinding& binding, const ForwardPointers& x, cudaStream_t stream, void* workspace) {
  auto free = [](const void* p) { return const_cast<void*>(p); };
  void* const addresses[] = {free(x.q), free(x.k), free(x.v), x.o, x.lse};
  binding.execute(stream, addresses, workspace);
}

void run_backward(CudnnBinding& binding, const AttentionBackward& p, DqOrder order, const BackwardPointers& x, cudaStream_t stream,
                  void* workspace) {
  auto free = [](const void* p) { return const_cast<void*>(p); };
  const BackwardLayout layout(binding.plan(), p.spec, order);
  char* base = static_cast<char*>(workspace);
  void* const addresses[] = {free(x.dout), free(x.q), free(x.k), free(x.v),          free(x.o),       const_cast<float*>(x.lse),
                             x.dq,         x.dk,      x.dv,      base + layout.sums, base + layout.dq};
  binding.execute(stream, std::span(addresses).first(order == DqOrder::any ? 11 : 10), workspace);
}

}  // namespace nemo::cuda
