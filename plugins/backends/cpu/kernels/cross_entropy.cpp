// Per-token loss and its pieces over a sharded vocabulary. One or two passes over the logits; bound by memory and exp.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/loss_row.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

constexpr const char* kBadLabel = "cross_entropy: label is neither ignore_index nor within the vocabulary";

void need_contiguous(const Node& node, std::initializer_list<size_t> inputs, std::initializer_list<size_t> outputs) {
  for (size_t i : inputs) node.need_contiguous(node.in(i));
  for (size_t i : outputs) node.need_contiguous(node.out(i));
}

// body(row) for every row of [*a v].
template <class F>
void for_rows(Pool& pool, int64_t rows, int64_t cols, const F& body) {
  pool.split(rows, row_grain(cols), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) body(r);
  });
}

// The gradient kernels differ in what a label means: in a shard it may lie elsewhere.
template <class Local>
Prepared gradient(const Node& node, Device& device, const LossSpec& spec, Local local) {
  const int split = node.group_rank('a');
  const Matrix x = node.matrix(node.in(1), split), dx = node.matrix(node.out(0), split);
  need_contiguous(node, {0, 2, 3}, {});
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      Fault fault;
      for_rows(pool, x.rows, x.cols, [&](int64_t r) {
        T* to = l.out<T>(0) + r * dx.ld;
        const int64_t label = l.in<int32_t>(2)[r];
        if (label == spec.ignore_index) {
          std::fill(to, to + spec.v, T{});
          return;
        }
        loss_grad_row(spec, l.in<T>(1) + r * x.ld, local(label, r, fault), l.in<C>(3)[r], l.in<C>(0)[r], to);
      });
      fault.raise(kBadLabel);
    });
  });
}

}  // namespace

NEMO_CPU_KERNEL(cross_entropy) {
  const Matrix x = node.matrix(node.in(0), node.group_rank('a'));
  need_contiguous(node, {1}, {0, 1});
  const LossSpec spec = loss_spec(node);
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      Fault fault;
      for_rows(pool, x.rows, x.cols, [&](int64_t r) {
        const T* row = l.in<T>(0) + r * x.ld;
        const int64_t label = l.in<int32_t>(1)[r];
        const C lse = log_sum_exp(row, spec.v);
        const bool inside = label >= 0 && label < spec.v;
        if (!inside && label != spec.ignore_index) fault.report(r);
        l.out<C>(0)[r] = inside && label != spec.ignore_index ? loss_of_row(spec, row, label, lse) : C(0);
        l.out<C>(1)[r] = lse;
      });
      fault.raise(kBadLabel);
    });
  });
}

NEMO_CPU_KERNEL(cross_entropy_grad) {
  const LossSpec spec = loss_spec(node);
  return gradient(node, device, spec, [v = spec.v](int64_t label, int64_t row, Fault& fault) {
    if (label < 0 || label >= v) fault.report(row);
    return label;
  });
}

NEMO_CPU_KERNEL(cross_entropy_shard_grad) {
  const LossSpec spec{node.size('v'), node.integer("ignore_index"), 0, node.number("z_loss")};
  return gradient(node, device, spec, [offset = node.integer("shard_offset")](int64_t label, int64_t, Fault&) { return label - offset; });
}

NEMO_CPU_KERNEL(row_max) {
  const Matrix x = node.matrix(node.in(0), node.group_rank('a'));
  need_contiguous(node, {}, {0});
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      for_rows(pool, x.rows, x.cols, [&](int64_t r) { l.out<compute_t<T>>(0)[r] = row_maximum(l.in<T>(0) + r * x.ld, x.cols); });
    });
  });
}

NEMO_CPU_KERNEL(cross_entropy_parts) {
  const Matrix x = node.matrix(node.in(0), node.group_rank('a'));
  need_contiguous(node, {1, 2}, {0, 1});
  const int64_t offset = node.integer("shard_offset");
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      for_rows(pool, x.rows, x.cols, [&](int64_t r) {
        const T* row = l.in<T>(0) + r * x.ld;
        const int64_t label = l.in<int32_t>(1)[r] - offset;
        l.out<C>(0)[r] = sum_of_exp(row, x.cols, l.in<C>(2)[r]);
        l.out<C>(1)[r] = label >= 0 && label < x.cols ? static_cast<C>(widen(row[label])) : C(0);
      });
    });
  });
}

NEMO_CPU_KERNEL(cross_entropy_join) {
  need_contiguous(node, {0, 1, 2, 3}, {0, 1});
  const int64_t n = node.size('a'), ignore_index = node.integer("ignore_index");
  const double z = node.number("z_loss");
  return with_type(node.compute(), [&](auto tag) {
    using C = compute_t<decltype(tag)>;
    return make_kernel([=](const Launch& l) {
      for (int64_t r = 0; r < n; ++r) {
        const C lse = l.in<C>(2)[r] + std::log(l.in<C>(0)[r]);
        l.out<C>(0)[r] = l.in<int32_t>(3)[r] == ignore_index ? C(0) : lse - l.in<C>(1)[r] + static_cast<C>(z) * lse * lse;
        l.out<C>(1)[r] = lse;
      }
    });
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
