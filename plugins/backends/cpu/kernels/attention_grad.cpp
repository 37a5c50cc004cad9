// attention backward: probabilities are computed again per tile from lse. 10 s t d flops per head (half where causal). A task is one kv
// head: its dk and dv gather over the query heads and tiles in a fixed order.
// A sink has value 0, so that its dS is -e^(sink - lse) rowsum(dO O). A bias is shared by the batch: then a task is a kv head of all batch
// entries.
//   P = e^(S - lse), dV += P^T dO, dP = dO V^T, dS = P (dP - rowsum(dO O)) (times the softcap's slope), dQ += scale dS K, dK += scale dS^T
//   Q
#include "kernels/arch.hpp"

#include "kernels/attention_tile.hpp"
#include "kernels/block.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

// A thread's private memory, in elements. dk, dv hold a whole kv head where the outputs are 16-bit.
struct Scratch {
  int64_t scores, slope, dp, dots, dq, q, k, v, dout, dk, dv, total;
  Scratch(const AttentionSpec& p, bool converts) {
    int64_t at = 0;
    auto take = [&](int64_t n) { return std::exchange(at, at + (n + 15) / 16 * 16); };
    scores = take(kQueryTile * kKeyTile);
    slope = take(p.softcap > 0 ? kQueryTile * kKeyTile : 0);
    dp = take(kQueryTile * kKeyTile);
    dots = take(kQueryTile);
    dq = take(converts ? kQueryTile * p.d : 0);
    q = take(converts ? kQueryTile * p.d : 0);
    k = take(converts ? kKeyTile * p.d : 0);
    v = take(converts ? kKeyTile * p.e : 0);
    dout = take(converts ? kQueryTile * p.e : 0);
    dk = take(converts ? p.t * p.d : 0);
    dv = take(converts ? p.t * p.e : 0);
    total = (at + 63) / 64 * 64;
  }
};

template <class T>
struct Backward {
  using C = compute_t<T>;
  static constexpr bool kConverts = !std::is_same_v<T, C>;
  AttentionSpec p;
  Heads dout, q, k, v, o, dq, dk, dv;
  Scratch layout;
  bool has_dsinks, has_dbias;

  // Per batch entry and head, at the workspace's begin.
  C* dsinks(const Launch& l) const { return l.workspace<C>(); }
  uint64_t dsinks_bytes() const { return align_up(static_cast<uint64_t>(has_dsinks ? (p.b + 1) * p.h : 0) * sizeof(C)); }

  // Where a kv head's gradient gathers.
  struct Target {
    C* data;
    int64_t ld;
  };

  Target target(T* out, const Heads& heads, int64_t b, int64_t group, C* scratch, int64_t cols) const {
    Target to{scratch, cols};
    if constexpr (!kConverts) to = {out + heads.at(b, 0, group), heads.position};
    for (int64_t j = 0; j < p.t; ++j) std::fill(to.data + j * to.ld, to.data + j * to.ld + cols, C(0));
    return to;
  }

  void publish(const Target& from, T* out, const Heads& heads, int64_t b, int64_t group, int64_t cols) const {
    if constexpr (kConverts)
      for (int64_t j = 0; j < p.t; ++j) store(from.data + j * from.ld, cols, out + heads.at(b, j, group), Write::overwrite);
  }

  void kv_head(const Blas& blas, const Launch& l, int64_t b, int64_t group, C* scratch) const {
    const Target to_k = target(l.out<T>(1), dk, b, group, scratch + layout.dk, p.d);
    const Target to_v = target(l.out<T>(2), dv, b, group, scratch + layout.dv, p.e);
    const int64_t per_group = p.h / p.g;
    for (int64_t head = group * per_group; head < (group + 1) * per_group; ++head)
      for (int64_t i0 = 0; i0 < p.s; i0 += kQueryTile) query_tile(blas, l, b, head, group, i0, scratch, to_k, to_v);
    publish(to_k, l.out<T>(1), dk, b, group, p.d);
    publish(to_v, l.out<T>(2), dv, b, group, p.e);
  }

  // P and dS of one row; scores become P, dp becomes dS.
  void row(const Extras<C>& extras, int64_t i, int64_t j0, int64_t n, C lse, C dot, C* scores, C* slope, C* dp, C* dbias) const {
    cap_and_mask<C>(p, extras, i, j0, n, scores, slope);
    if (lse == -std::numeric_limits<C>::infinity()) {  // a query that sees nothing
      std::fill(scores, scores + n, C(0));
      std::fill(dp, dp + n, C(0));
      return;
    }
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
      scores[j] = exp_(scores[j] - lse);
      dp[j] = scores[j] * (dp[j] - dot);
    }
    if (dbias != nullptr) {
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) dbias[j] += dp[j];
    }
    if (slope == nullptr) return;
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) dp[j] *= slope[j];
  }

  void query_tile(const Blas& blas, const Launch& l, int64_t b, int64_t head, int64_t group, int64_t i0, C* scratch, Target to_k,
                  Target to_v) const {
    const int m = static_cast<int>(std::min(kQueryTile, p.s - i0)), d = static_cast<int>(p.d), e = static_cast<int>(p.e);
    const Extras<C> extras(p, l, 6, b, head);
    const int32_t* segments = extras.segments;
    C* dbias = has_dbias ? l.out<C>(4) + (head * p.s + i0) * p.t : nullptr;
    const C* lse = l.in<C>(5) + (b * p.h + head) * p.s + i0;
    C *scores = scratch + layout.scores, *dp = scratch + layout.dp, *dots = scratch + layout.dots;
    C* slope = p.softcap > 0 ? scratch + layout.slope : nullptr;
    const T* dout_rows = l.in<T>(0) + dout.at(b, i0, head);
    for (int64_t i = 0; i < m; ++i) {
      const T *x = dout_rows + i * dout.position, *y = l.in<T>(4) + o.at(b, i0 + i, head);
      C dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t c = 0; c < p.e; ++c) dot += widen(x[c]) * widen(y[c]);
      dots[i] = dot;
      if (has_dsinks) dsinks(l)[b * p.h + head] -= exp_(*extras.sink - lse[i]) * dot;
    }
    int64_t ldq = 0, ldo = 0;
    const C* qt = as_compute(l.in<T>(1) + q.at(b, i0, head), q.position, m, p.d, scratch + layout.q, ldq);
    const C* ot = as_compute(dout_rows, dout.position, m, p.e, scratch + layout.dout, ldo);
    Target to_q{scratch + layout.dq, p.d};
    if constexpr (!kConverts) to_q = {l.out<T>(0) + dq.at(b, i0, head), dq.position};
    for (int64_t i = 0; i < m; ++i) std::fill(to_q.data + i * to_q.ld, to_q.data + i * to_q.ld + p.d, C(0));
    const C scale = static_cast<C>(p.scale);
    const int64_t last = std::min(p.last_key(i0 + m - 1), extras.keys);
    for (int64_t j0 = p.first_key(i0) / kKeyTile * kKeyTile; j0 < last; j0 += kKeyTile) {
      const int n = static_cast<int>(std::min(kKeyTile, last - j0));
      if (segments != nullptr && segments_apart(segments, i0, i0 + m, j0, j0 + n)) continue;
      int64_t ldk = 0, ldv = 0;
      const C* kt = as_compute(l.in<T>(2) + k.at(b, j0, group), k.position, n, p.d, scratch + layout.k, ldk);
      const C* vt = as_compute(l.in<T>(3) + v.at(b, j0, group), v.position, n, p.e, scratch + layout.v, ldv);
      const int lq = static_cast<int>(ldq), lo = static_cast<int>(ldo), lk = static_cast<int>(ldk), lv = static_cast<int>(ldv);
      blas.gemm(kNoTrans, kTrans, m, n, d, scale, qt, lq, kt, lk, C(0), scores, n);
      blas.gemm(kNoTrans, kTrans, m, n, e, C(1), ot, lo, vt, lv, C(0), dp, n);
      for (int64_t i = 0; i < m; ++i)
        row(extras, i0 + i, j0, n, lse[i], dots[i], scores + i * n, slope != nullptr ? slope + i * n : nullptr, dp + i * n,
            dbias != nullptr ? dbias + i * p.t + j0 : nullptr);
      blas.gemm(kTrans, kNoTrans, n, e, m, C(1), scores, n, ot, lo, C(1), to_v.data + j0 * to_v.ld, static_cast<int>(to_v.ld));
      blas.gemm(kTrans, kNoTrans, n, d, m, scale, dp, n, qt, lq, C(1), to_k.data + j0 * to_k.ld, static_cast<int>(to_k.ld));
      blas.gemm(kNoTrans, kNoTrans, m, d, n, scale, dp, n, kt, lk, C(1), to_q.data, static_cast<int>(to_q.ld));
    }
    if constexpr (kConverts)
      for (int64_t i = 0; i < m; ++i) store(to_q.data + i * to_q.ld, p.d, l.out<T>(0) + dq.at(b, i0 + i, head), Write::overwrite);
  }
};

}  // namespace

NEMO_CPU_KERNEL(attention_grad) {
  const AttentionSpec p(node, 6);
  node.need_contiguous(node.in(5));
  node.need_contiguous(node.out(3));
  node.need_contiguous(node.out(4));
  const bool has_dsinks = node.out(3).present(), has_dbias = node.out(4).present();
  if ((has_dsinks && !p.sinks) || (has_dbias && !p.bias)) node.refuse("a gradient of what is not there");
  const nemo_dtype sink_type = node.out(3).dtype;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const Backward<T> backward{p,
                               Heads(node.in(0)),
                               Heads(node.in(1)),
                               Heads(node.in(2)),
                               Heads(node.in(3)),
                               Heads(node.in(4)),
                               Heads(node.out(0)),
                               Heads(node.out(1)),
                               Heads(node.out(2)),
                               Scratch(p, !std::is_same_v<T, C>),
                               has_dsinks,
                               has_dbias};
    Device held = device;
    return make_kernel(
        [=](const Launch& l) {
          C *sinks = backward.dsinks(l), *total = sinks + p.b * p.h;
          if (has_dsinks) std::fill(sinks, total, C(0));
          if (has_dbias) std::fill(l.out<C>(4), l.out<C>(4) + p.h * p.s * p.t, C(0));
          const int64_t together = has_dbias ? p.b : 1;  // batch entries of a task
          held.pool.each(p.b / together * p.g, [&](int64_t task, int part) {
            for (int64_t b = task / p.g; b < task / p.g + together; ++b)
              backward.kv_head(held.blas, l, b, task % p.g, l.workspace<C>(backward.dsinks_bytes()) + part * backward.layout.total);
          });
          if (!has_dsinks) return;
          std::fill(total, total + p.h, C(0));
          for (int64_t i = 0; i < p.b * p.h; ++i) total[i % p.h] += sinks[i];
          store(total, p.h, sink_type, l.out(3), 0, l.write());
        },
        backward.dsinks_bytes() + align_up(static_cast<uint64_t>(backward.layout.total * device.pool.threads()) * sizeof(C)));
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
