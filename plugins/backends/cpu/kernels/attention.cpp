// attention forward: tiles of queries against tiles of keys with a running maximum and sum (Dao et al. 2022, Milakov & Gimelshein 2018).
// 4 s t d flops per head (half where causal); scores never leave a tile of 64 x 128. Tasks are (batch, head, query tile).
#include "kernels/arch.hpp"

#include "kernels/attention_tile.hpp"
#include "kernels/block.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

// A thread's private memory, in elements.
struct Scratch {
  int64_t scores, out, top, sum, q, k, v, total;
  explicit Scratch(const AttentionSpec& p) {
    int64_t at = 0;
    auto take = [&](int64_t n) { return std::exchange(at, at + (n + 15) / 16 * 16); };
    scores = take(kQueryTile * kKeyTile);
    out = take(kQueryTile * p.e);
    top = take(kQueryTile);
    sum = take(kQueryTile);
    q = take(kQueryTile * p.d);
    k = take(kKeyTile * p.d);
    v = take(kKeyTile * p.e);
    total = (at + 63) / 64 * 64;
  }
};

// Scores of one row to e^(score - running maximum); rescales what the row has gathered so far.
template <class C>
void softmax_step(C* score, int64_t n, C& top, C& sum, C* out, int64_t e) {
  C now = top;
#pragma omp simd reduction(max : now)
  for (int64_t j = 0; j < n; ++j) now = score[j] > now ? score[j] : now;
  if (now == -std::numeric_limits<C>::infinity()) {  // nothing visible yet
    std::fill(score, score + n, C(0));
    return;
  }
  C added = 0;
#pragma omp simd reduction(+ : added)
  for (int64_t j = 0; j < n; ++j) {
    score[j] = exp_(score[j] - now);
    added += score[j];
  }
  if (now != top) {
    const C keep = exp_(top - now);
    sum *= keep;
#pragma omp simd
    for (int64_t i = 0; i < e; ++i) out[i] *= keep;
    top = now;
  }
  sum += added;
}

// One more score whose value is 0.
template <class C>
void sink_step(C sink, C& top, C& sum, C* out, int64_t e) {
  C score = sink;
  softmax_step(&score, 1, top, sum, out, e);
}

template <class T>
struct Forward {
  using C = compute_t<T>;
  AttentionSpec p;
  Heads q, k, v, o;
  Scratch layout;

  void tile(const Blas& blas, const Launch& l, int64_t b, int64_t head, int64_t i0, C* scratch) const {
    const int64_t m = std::min(kQueryTile, p.s - i0), group = head / (p.h / p.g);
    const Extras<C> extras(p, l, 3, b, head);
    const int32_t* segments = extras.segments;
    C *scores = scratch + layout.scores, *out = scratch + layout.out, *top = scratch + layout.top, *sum = scratch + layout.sum;
    std::fill(out, out + m * p.e, C(0));
    std::fill(top, top + m, -std::numeric_limits<C>::infinity());
    std::fill(sum, sum + m, C(0));
    int64_t ldq = 0;
    const C* qt = as_compute(l.in<T>(0) + q.at(b, i0, head), q.position, m, p.d, scratch + layout.q, ldq);
    const int64_t last = std::min(p.last_key(i0 + m - 1), extras.keys);
    for (int64_t j0 = p.first_key(i0) / kKeyTile * kKeyTile; j0 < last; j0 += kKeyTile) {
      const int64_t n = std::min(kKeyTile, last - j0);
      if (segments != nullptr && segments_apart(segments, i0, i0 + m, j0, j0 + n)) continue;
      int64_t ldk = 0, ldv = 0;
      const C* kt = as_compute(l.in<T>(1) + k.at(b, j0, group), k.position, n, p.d, scratch + layout.k, ldk);
      const C* vt = as_compute(l.in<T>(2) + v.at(b, j0, group), v.position, n, p.e, scratch + layout.v, ldv);
      blas.gemm(kNoTrans, kTrans, static_cast<int>(m), static_cast<int>(n), static_cast<int>(p.d), static_cast<C>(p.scale), qt,
                static_cast<int>(ldq), kt, static_cast<int>(ldk), C(0), scores, static_cast<int>(n));
      for (int64_t i = 0; i < m; ++i) {
        cap_and_mask<C>(p, extras, i0 + i, j0, n, scores + i * n, nullptr);
        softmax_step(scores + i * n, n, top[i], sum[i], out + i * p.e, p.e);
      }
      blas.gemm(kNoTrans, kNoTrans, static_cast<int>(m), static_cast<int>(p.e), static_cast<int>(n), C(1), scores, static_cast<int>(n), vt,
                static_cast<int>(ldv), C(1), out, static_cast<int>(p.e));
    }
    for (int64_t i = 0; i < m; ++i) {
      if (extras.sink != nullptr) sink_step(*extras.sink, top[i], sum[i], out + i * p.e, p.e);
      const C factor = sum[i] > C(0) ? C(1) / sum[i] : C(0);
      T* to = l.out<T>(0) + o.at(b, i0 + i, head);
#pragma omp simd
      for (int64_t c = 0; c < p.e; ++c) to[c] = narrow<T>(out[i * p.e + c] * factor);
      l.out<C>(1)[(b * p.h + head) * p.s + i0 + i] = sum[i] > C(0) ? top[i] + std::log(sum[i]) : -std::numeric_limits<C>::infinity();
    }
  }
};

}  // namespace

NEMO_CPU_KERNEL(attention) {
  const AttentionSpec p(node, 3);
  node.need_contiguous(node.out(1));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const Forward<T> forward{p, Heads(node.in(0)), Heads(node.in(1)), Heads(node.in(2)), Heads(node.out(0)), Scratch(p)};
    const int64_t tiles = (p.s + kQueryTile - 1) / kQueryTile;
    Device held = device;
    return make_kernel(
        [=](const Launch& l) {
          held.pool.each(p.b * p.h * tiles, [&](int64_t task, int part) {
            const int64_t pair = task / tiles;
            forward.tile(held.blas, l, pair / p.h, pair % p.h, task % tiles * kQueryTile, l.workspace<C>() + part * forward.layout.total);
          });
        },
        align_up(static_cast<uint64_t>(forward.layout.total * device.pool.threads()) * sizeof(C)));
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
