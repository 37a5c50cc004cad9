// Last linear and loss by chunks of rows: the logits of a chunk live in the workspace, in arithmetic precision, and become their own
// gradient there. The weights are read once (forward) or three times (training) per chunk.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/gemm.hpp"
#include "kernels/loss_row.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

constexpr int64_t kChunkRows = 256;

struct Layout {
  int64_t rows, d, v, chunk;
  int64_t ldx, ldw;
  nemo_dtype type, acc;  // of the tensors; of the arithmetic
};

Layout layout_of(const Node& node) {
  const nemo_dtype type = node.compute();
  const int64_t rows = node.size('a');
  node.need_contiguous(node.in(2));
  node.need_contiguous(node.out(0));
  return {rows,
          node.size('d'),
          node.size('v'),
          std::min(rows, kChunkRows),
          node.matrix(node.in(0), node.group_rank('a')).ld,
          node.matrix(node.in(1), 1).ld,
          type,
          type == NEMO_DTYPE_F64 ? NEMO_DTYPE_F64 : NEMO_DTYPE_F32};
}

Product logits_product(const Layout& s, int64_t rows) {
  return {rows, s.v, s.d, Transpose::no, Transpose::yes, s.type, s.type, s.acc, s.ldx, s.ldw, s.v};
}
Product dx_product(const Layout& s, int64_t rows, int64_t ld) {
  return {rows, s.d, s.v, Transpose::no, Transpose::no, s.acc, s.type, s.type, s.v, s.ldw, ld};
}
Product dw_product(const Layout& s, int64_t rows, nemo_dtype out, int64_t ld) {
  return {s.v, s.d, rows, Transpose::yes, Transpose::no, s.acc, s.type, out, s.v, s.ldx, ld};
}

// Workspace of a product over full chunks and over the last one.
template <class F>
uint64_t both(const Layout& s, const Device& device, const F& product) {
  return std::max(product_workspace(product(s.chunk), device),
                  product_workspace(product(s.rows % s.chunk == 0 ? s.chunk : s.rows % s.chunk), device));
}

uint64_t logits_bytes(const Layout& s) { return align_up(static_cast<uint64_t>(s.chunk * s.v * size_of(s.acc))); }

// The loss of a chunk's rows; dloss given: logits become dlogits.
template <class C>
void chunk_loss(Pool& pool, const LossSpec& spec, C* logits, const int32_t* labels, int64_t rows, const C* dloss, C* loss, int64_t first,
                Fault& fault) {
  pool.split(rows, row_grain(spec.v), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      C* row = logits + r * spec.v;
      const int64_t label = labels[r];
      const bool inside = label >= 0 && label < spec.v, counts = inside && label != spec.ignore_index;
      if (!inside && label != spec.ignore_index) fault.report(first + r);
      loss[r] = 0;
      if (counts) {
        const C lse = log_sum_exp(row, spec.v);
        loss[r] = loss_of_row(spec, row, label, lse);
        if (dloss != nullptr) loss_grad_row(spec, row, label, lse, dloss[r], row);
      } else if (dloss != nullptr) {
        std::fill(row, row + spec.v, C(0));
      }
    }
  });
}

constexpr const char* kBadLabel = "linear_cross_entropy: label is neither ignore_index nor within the vocabulary";

}  // namespace

NEMO_CPU_KERNEL(linear_cross_entropy) {
  const Layout s = layout_of(node);
  const LossSpec spec = loss_spec(node);
  Device held = device;
  const uint64_t scratch = both(s, device, [&](int64_t rows) { return logits_product(s, rows); });
  return with_type(s.acc, [&](auto tag) {
    using C = compute_t<decltype(tag)>;
    return make_kernel(
        [=](const Launch& l) {
          Fault fault;
          C* logits = l.workspace<C>();
          for (int64_t r = 0; r < s.rows; r += s.chunk) {
            const int64_t rows = std::min(s.chunk, s.rows - r);
            multiply(held, logits_product(s, rows), l.in<char>(0) + r * s.ldx * size_of(s.type), l.in(1), logits, Write::overwrite, nullptr,
                     l.workspace<char>(logits_bytes(s)));
            chunk_loss<C>(held.pool, spec, logits, l.in<int32_t>(2) + r, rows, nullptr, l.out<C>(0) + r, r, fault);
          }
          fault.raise(kBadLabel);
        },
        logits_bytes(s) + scratch);
  });
}

// dw is accumulated over chunks in arithmetic precision: in its own buffer where that has it, else in the workspace.
NEMO_CPU_KERNEL(linear_cross_entropy_train) {
  const Layout s = layout_of(node);
  const LossSpec spec = loss_spec(node);
  node.need_contiguous(node.in(3));
  const int64_t lddx = node.matrix(node.out(1), node.group_rank('a')).ld, lddw = node.matrix(node.out(2), 1).ld;
  const nemo_dtype grad = node.out(2).dtype;
  const bool direct = grad == s.acc;
  const uint64_t dw_bytes = direct ? 0 : align_up(static_cast<uint64_t>(s.v * s.d * size_of(s.acc)));
  const int64_t ld_sum = direct ? lddw : s.d;
  Device held = device;
  const uint64_t scratch = std::max({both(s, device, [&](int64_t rows) { return logits_product(s, rows); }),
                                     both(s, device, [&](int64_t rows) { return dx_product(s, rows, lddx); }),
                                     both(s, device, [&](int64_t rows) { return dw_product(s, rows, s.acc, ld_sum); })});
  return with_type(s.acc, [&](auto tag) {
    using C = compute_t<decltype(tag)>;
    return make_kernel(
        [=](const Launch& l) {
          Fault fault;
          C* logits = l.workspace<C>();
          C* sum = direct ? l.out<C>(2) : l.workspace<C>(logits_bytes(s));
          void* rest = l.workspace<char>(logits_bytes(s) + dw_bytes);
          for (int64_t r = 0; r < s.rows; r += s.chunk) {
            const int64_t rows = std::min(s.chunk, s.rows - r);
            const char* x = l.in<char>(0) + r * s.ldx * size_of(s.type);
            multiply(held, logits_product(s, rows), x, l.in(1), logits, Write::overwrite, nullptr, rest);
            chunk_loss<C>(held.pool, spec, logits, l.in<int32_t>(2) + r, rows, l.in<C>(3) + r, l.out<C>(0) + r, r, fault);
            const bool add = r > 0 || (direct && l.write() == Write::accumulate);
            multiply(held, dw_product(s, rows, s.acc, ld_sum), logits, x, sum, add ? Write::accumulate : Write::overwrite, nullptr, rest);
            multiply(held, dx_product(s, rows, lddx), logits, l.in(1), l.out<char>(1) + r * lddx * size_of(s.type), Write::overwrite,
                     nullptr, rest);
          }
          if (!direct)
            held.pool.split(s.v, row_grain(s.d), [&](int64_t begin, int64_t end, int) {
              for (int64_t row = begin; row < end; ++row) store(sum + row * s.d, s.d, grad, l.out(2), row * lddw, l.write());
            });
          fault.raise(kBadLabel);
        },
        logits_bytes(s) + dw_bytes + scratch);
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
