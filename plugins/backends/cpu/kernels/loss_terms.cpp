// add_loss and its gradient: scalars.
#include "kernels/arch.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

// 1, the number of labels that count, or the quotient of two numbers.
struct Weight {
  int64_t n, ignored;
  bool counts, quotient;
  Weight(const Node& node, size_t labels)
      : n(node.in(labels).present() ? node.in(labels).size() : 0),
        ignored(node.integer("ignore_index")),
        counts(node.in(labels).present()),
        quotient(node.integer("quotient") != 0) {
    node.need_contiguous(node.in(labels));
    if (quotient && n != 2) node.refuse("a quotient needs two numbers");
  }
  double of(const int32_t* labels) const {
    if (quotient) return static_cast<double>(labels[0]) / static_cast<double>(labels[1]);
    return counts ? static_cast<double>(n - std::count(labels, labels + n, static_cast<int32_t>(ignored))) : 1.0;
  }
};

}  // namespace

NEMO_CPU_KERNEL(add_loss) {
  const Weight weight(node, 2);
  const double coefficient = node.number("coefficient");
  auto prepare = [&]<class C>(C) {
    return make_kernel([=](const Launch& l) {
      *l.out<C>(0) = static_cast<C>(*l.in<C>(0) + coefficient * weight.of(l.in<int32_t>(2)) * static_cast<double>(*l.in<C>(1)));
    });
  };
  return node.compute() == NEMO_DTYPE_F64 ? prepare(double{}) : prepare(float{});
}

NEMO_CPU_KERNEL(add_loss_grad) {
  const Weight weight(node, 1);
  const double coefficient = node.number("coefficient");
  auto prepare = [&]<class C>(C) {
    return make_kernel([=](const Launch& l) {
      *l.out<C>(0) = static_cast<C>(coefficient * weight.of(l.in<int32_t>(1)) * static_cast<double>(*l.in<C>(0)));
    });
  };
  return node.compute() == NEMO_DTYPE_F64 ? prepare(double{}) : prepare(float{});
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
