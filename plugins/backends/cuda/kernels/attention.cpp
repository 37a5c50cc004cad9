// The rows attention and attention_grad: cuDNN where it takes the shape, else the own kernels.
#include "attention.hpp"

#include <cstring>
#include <map>
#include <string>

#include "../table.hpp"
#include "attention_check.hpp"
#include "attention_cudnn.hpp"
#include "attention_order.hpp"
#include "attention_own.hpp"
#include "attention_packed.hpp"
#include "attention_split.hpp"

namespace nemo::cuda {

namespace {

// What the nodes of a device share: the library, and plans by shape (plans take long to build, and layers repeat).
struct Shared {
  std::shared_ptr<Cudnn> cudnn;                                   // nullptr: own kernels only
  std::map<std::string, std::shared_ptr<const CudnnPlan>> plans;  // nullptr: cuDNN refused the shape
  std::map<std::string, bool> fixed;                              // measured choices
};

Shared& shared(Device& device) {
  if (device.attention == nullptr) {
    auto made = std::make_shared<Shared>();
    try {
      made->cudnn = Cudnn::open();
    } catch (const sdk::Error& e) {
      sdk::log(NEMO_LOG_WARNING, "backend:cuda", std::string(e.what()) + "; attention uses the slower own kernels");
    }
    device.attention = made;
  }
  return *static_cast<Shared*>(device.attention.get());
}

template <class Problem>
std::string key(const Problem& p, const char* kind) {
  static_assert(std::is_trivially_copyable_v<Problem>);
  return kind + std::string(reinterpret_cast<const char*>(&p), sizeof p);
}

// nullptr where cuDNN is absent, unwanted or refuses. takes: what it could take.
template <class Problem, class Build>
std::shared_ptr<const CudnnPlan> find_plan(Device& device, const Problem& p, const char* kind, Build build,
                                           bool (*takes)(const Problem&) = &cudnn_takes) {
  if (!device.use_cudnn || !takes(p)) return nullptr;
  Shared& s = shared(device);
  if (s.cudnn == nullptr) return nullptr;
  const auto [at, fresh] = s.plans.try_emplace(key(p, kind));
  if (!fresh) return at->second;
  try {
    at->second = build(s.cudnn);
  } catch (const sdk::Error& e) {
    if (e.code() != NEMO_CODE_UNSUPPORTED) throw;
    sdk::log(NEMO_LOG_DEBUG, "backend:cuda", std::string("attention by own kernels: ") + e.what());
  }
  return at->second;
}

BackwardRoute route_of(Device& device, const AttentionBackward& p, DqOrder order) {
  return {p,
          find_plan(device, p, order == DqOrder::fixed ? "backward, fixed" : "backward",
                    [&](const std::shared_ptr<Cudnn>& c) { return build_backward(c, p, order); }),
          order};
}

// Without a plan the own kernels run, whose order is fixed.
BackwardRoute backward_route(Device& device, const AttentionBackward& p) {
  if (!device.deterministic) return route_of(device, p, DqOrder::any);
  BackwardRoute fixed = route_of(device, p, DqOrder::fixed);
  if (device.determinism_limit >= 1) return fixed;
  BackwardRoute any = route_of(device, p, DqOrder::any);
  if (!any || !fixed) return any ? any : fixed;
  const auto [at, fresh] = shared(device).fixed.try_emplace(key(p, "order"), false);
  if (fresh) at->second = fixed_order_pays(device, p, any, fixed);
  return at->second ? fixed : any;
}

// Packed sequences by cuDNN, whose results have been checked.
template <class Problem, class Build>
std::shared_ptr<const CudnnPlan> find_packed(Device& device, const Problem& p, const char* kind, Build build) {
  const auto checked = [&](const std::shared_ptr<Cudnn>& c) {
    auto plan = build(c, p);
    check_packed(device, c, p);
    return plan;
  };
  return find_plan(device, p, kind, checked, &packed_takes);
}

// Its sums have no fixed order, the own kernels' have: these are taken where runs must be equal bit for bit.
std::shared_ptr<const CudnnPlan> packed_backward_plan(Device& device, const AttentionBackward& p) {
  if (device.deterministic && device.determinism_limit >= 1) return nullptr;
  auto plan = find_packed(device, p, "packed backward", build_packed_backward);
  if (plan == nullptr || !device.deterministic) return plan;
  const auto [at, fresh] = shared(device).fixed.try_emplace(key(p, "packed order"), false);
  if (fresh) at->second = own_order_pays(device, p, plan);
  return at->second ? nullptr : plan;
}

Heads heads(const Tensor& t) {
  if (t.size() == 0) return {};
  return {t.shape[0] > 1 ? t.strides[0] : t.strides[1] * t.shape[1], t.strides[1], t.shape[2] > 1 ? t.strides[2] : t.shape[3]};
}

// Zeroed first: plans are found by the bytes of the problem.
// first: place of the segments among the inputs.
template <class Problem>
Problem problem(const Node& node, size_t first) {
  const Tensor& segments = node.in(first);
  for (size_t i = first; i < first + 4; ++i) node.need_contiguous(node.in(i));
  Problem p;
  std::memset(static_cast<void*>(&p), 0, sizeof p);
  AttentionSpec& s = p.spec;
  s.dtype = node.compute();
  s.b = node.size('b'), s.s = node.size('s'), s.t = node.size('t'), s.h = node.size('h'), s.g = node.size('g'), s.d = node.size('d'),
  s.e = node.size('e');
  s.window = node.integer("window");
  s.scale = static_cast<float>(node.number("scale"));
  s.softcap = static_cast<float>(node.number("softcap"));
  s.causal = node.integer("causal") != 0;
  s.segments = segments.present();
  s.sinks = node.in(first + 1).present(), s.bias = node.in(first + 2).present(), s.key_lengths = node.in(first + 3).present();
  s.alibi = node.integer("alibi"), s.alibi_first = node.integer("alibi_first");
  if (s.g == 0 || s.h % s.g != 0) node.refuse("the number of query heads must be a multiple of the number of kv heads");
  if (s.segments && s.s != s.t) node.refuse("segments need as many queries as keys");
  if (const char* why = own_refuses(s)) node.refuse(why);
  return p;
}

// first: place of the segments among the inputs.
AttentionExtras extras_of(const AttentionSpec& s, const Launch& l, int first) {
  return {s.sinks ? l.in<float>(first + 1) : nullptr, s.bias ? l.in<float>(first + 2) : nullptr,
          s.key_lengths ? l.in<int32_t>(first + 3) : nullptr};
}

bool aligned(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return false;
  return true;
}

class ForwardKernel final : public nemo_kernel {
 public:
  ForwardKernel(const AttentionForward& p, std::shared_ptr<const CudnnPlan> plan) : p_(p) {
    if (plan != nullptr) binding_ = std::make_unique<CudnnBinding>(std::move(plan));
  }
  uint64_t workspace() const { return binding_ ? binding_->plan().workspace() : 0; }
  void run(const Launch& l) const override {
    ForwardPointers x{l.in(0), l.in(1), l.in(2), p_.spec.segments ? l.in<int32_t>(3) : nullptr, l.out(0), l.out<float>(1)};
    x.extras = extras_of(p_.spec, l, 3);
    if (binding_ && aligned({x.q, x.k, x.v, x.o}))
      run_forward(*binding_, x, l.stream(), l.workspace<char>());
    else
      own_forward(p_, x, l.stream());
  }

 private:
  AttentionForward p_;
  std::unique_ptr<CudnnBinding> binding_;  // nullptr: own kernels
};

class BackwardKernel final : public nemo_kernel {
 public:
  // dsinks: its dtype; 0: not wanted.
  BackwardKernel(const AttentionBackward& p, BackwardRoute route, nemo_dtype dsinks, bool has_dbias)
      : p_(p), route_(std::move(route)), dsinks_(dsinks), has_dbias_(has_dbias) {
    if (route_) binding_ = std::make_unique<CudnnBinding>(route_.plan);
  }
  uint64_t workspace() const {
    const uint64_t own = own_backward_workspace(p_);
    return binding_ ? std::max(own, route_.workspace()) : own;
  }
  void run(const Launch& l) const override {
    const int32_t* segments = p_.spec.segments ? l.in<int32_t>(6) : nullptr;
    BackwardPointers x{l.in(0), l.in(1), l.in(2), l.in(3), l.in(4), l.in<float>(5), segments, l.out(0), l.out(1), l.out(2)};
    x.extras = extras_of(p_.spec, l, 6);
    if (dsinks_ != 0) x.dsinks = l.out(3), x.dsinks_type = dsinks_, x.add = l.write() == Write::accumulate;
    if (has_dbias_) x.dbias = l.out<float>(4);
    if (binding_ && aligned({x.dout, x.q, x.k, x.v, x.o, x.dq, x.dk, x.dv}))
      route_.run(*binding_, x, l.stream(), l.workspace<char>());
    else
      own_backward(p_, x, l.stream(), l.workspace<char>());
  }

 private:
  AttentionBackward p_;
  BackwardRoute route_;
  nemo_dtype dsinks_;
  bool has_dbias_;
  std::unique_ptr<CudnnBinding> binding_;
};

// In two parts (attention_split.hpp), where cuDNN takes both.
class SplitBackwardKernel final : public nemo_kernel {
 public:
  SplitBackwardKernel(const AttentionBackward& p, BackwardRoute before, BackwardRoute square)
      : p_(p), before_(std::move(before)), square_(std::move(square)), before_binding_(before_.plan), square_binding_(square_.plan) {}
  uint64_t workspace() const {
    return std::max(own_backward_workspace(p_), square_dq_bytes(p_.spec) + std::max(before_.workspace(), square_.workspace()));
  }
  void run(const Launch& l) const override {
    const BackwardPointers x{l.in(0), l.in(1), l.in(2), l.in(3), l.in(4), l.in<float>(5), nullptr, l.out(0), l.out(1), l.out(2)};
    char* const workspace = l.workspace<char>();
    const BackwardPointers y = square_pointers(p_, x, workspace);
    if (!aligned({x.dout, x.q, x.k, x.v, x.o, x.dq, x.dk, x.dv, y.k, y.v, y.dk, y.dv})) return own_backward(p_, x, l.stream(), workspace);
    char* const rest = workspace + square_dq_bytes(p_.spec);
    before_.run(before_binding_, x, l.stream(), rest);
    square_.run(square_binding_, y, l.stream(), rest);
    add_square_dq(p_, x.dq, y.dq, l.stream());
  }

 private:
  AttentionBackward p_;
  BackwardRoute before_, square_;
  mutable CudnnBinding before_binding_, square_binding_;
};

template <class Kernel>
Prepared prepared(std::unique_ptr<Kernel> kernel) {
  const uint64_t workspace = kernel->workspace();
  return {std::move(kernel), workspace};
}

}  // namespace

NEMO_CUDA_KERNEL(attention) {
  auto p = problem<AttentionForward>(node, 3);
  node.need_contiguous(node.out(1));
  p.q = heads(node.in(0)), p.k = heads(node.in(1)), p.v = heads(node.in(2)), p.o = heads(node.out(0));
  if (auto packed = find_packed(device, p, "packed forward", build_packed_forward)) return packed_forward(p, std::move(packed));
  auto plan = find_plan(device, p, "forward", [&](const std::shared_ptr<Cudnn>& c) { return build_forward(c, p); });
  auto kernel = std::make_unique<ForwardKernel>(p, std::move(plan));
  const uint64_t workspace = kernel->workspace();
  return {std::move(kernel), workspace};
}

NEMO_CUDA_KERNEL(attention_grad) {
  auto p = problem<AttentionBackward>(node, 6);
  for (const Tensor* t : {&node.in(5), &node.out(3), &node.out(4)}) node.need_contiguous(*t);
  if ((node.out(3).present() && !p.spec.sinks) || (node.out(4).present() && !p.spec.bias)) node.refuse("a gradient of what is not there");
  p.dout = heads(node.in(0)), p.q = heads(node.in(1)), p.k = heads(node.in(2)), p.v = heads(node.in(3)), p.o = heads(node.in(4));
  p.dq = heads(node.out(0)), p.dk = heads(node.out(1)), p.dv = heads(node.out(2));
  if (auto packed = packed_backward_plan(device, p)) return packed_backward(p, std::move(packed));
  if (splits(p.spec)) {
    const BackwardParts parts = parts_of(p);
    BackwardRoute before = backward_route(device, parts.before), square = backward_route(device, parts.square);
    if (before && square) return prepared(std::make_unique<SplitBackwardKernel>(p, std::move(before), std::move(square)));
  }
  return prepared(std::make_unique<BackwardKernel>(p, backward_route(device, p), node.out(3).dtype, node.out(4).present()));
}

}  // namespace nemo::cuda
