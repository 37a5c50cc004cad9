// cache_write and attention_cached: generation's few queries against many kept keys; bound by reading the cache. Tasks are (batch, head).
#include "kernels/arch.hpp"

#include "kernels/attention_tile.hpp"
#include "kernels/distance_buckets.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

template <class T>
compute_t<T> dot(const compute_t<T>* q, const T* k, int64_t d) {
  compute_t<T> sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < d; ++i) sum += q[i] * widen(k[i]);
  return sum;
}

template <class T>
struct Cached {
  using C = compute_t<T>;
  int64_t h, g, s, t, d, e, window, alibi, alibi_first, pitch;
  C scale, softcap;
  bool sinks;
  Heads q, k, v, o;
  std::shared_ptr<const std::vector<int64_t>> rows;  // of the table, by how many tokens ago a key was; null: there is none

  explicit Cached(const Node& node)
      : h(node.size('h')),
        g(node.size('g')),
        s(node.size('s')),
        t(node.size('t')),
        d(node.size('d')),
        e(node.size('e')),
        window(node.integer("window")),
        alibi(node.integer("alibi")),
        alibi_first(node.integer("alibi_first")),
        pitch((t + d + e + 15) / 16 * 16),
        scale(static_cast<C>(node.number("scale"))),
        softcap(static_cast<C>(node.number("softcap"))),
        sinks(node.in(4).present()),
        q(node.in(0)),
        k(node.in(1)),
        v(node.in(2)),
        o(node.out(0)) {
    if (g == 0 || h % g != 0) node.refuse("the number of query heads must be a multiple of the number of kv heads");
    if (!node.in(5).present()) return;
    const Buckets bucket = buckets_of(node);
    std::vector<int64_t> of(static_cast<size_t>(t));
    for (int64_t ago = 0; ago < t; ++ago) of[static_cast<size_t>(ago)] = bucket(-ago) * h;
    rows = std::make_shared<const std::vector<int64_t>>(std::move(of));
  }

  // Scores of keys [first, last), of which the last one is the query itself, to probabilities, without the division by their sum, which is
  // returned. `table`: of this head.
  C soften(C* score, int64_t n, C tilt, const C* sink, const T* table) const {
    if (softcap > 0)
      for (int64_t j = 0; j < n; ++j) score[j] = softcap * tanh_(score[j] / softcap);
    if (alibi > 0)
      for (int64_t j = 0; j < n; ++j) score[j] += tilt * static_cast<C>(j - n + 1);
    if (table != nullptr)
      for (int64_t j = 0; j < n; ++j) score[j] += widen(table[(*rows)[static_cast<size_t>(n - 1 - j)]]);
    C top = sink != nullptr ? std::max(score[0], *sink) : score[0], sum = 0;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < n; ++j) top = score[j] > top ? score[j] : top;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; ++j) {
      score[j] = exp_(score[j] - top);
      sum += score[j];
    }
    if (sink != nullptr) sum += exp_(*sink - top);
    return sum;
  }

  void head(const Launch& l, int64_t b, int64_t head, C* scratch) const {
    C *score = scratch, *query = score + t, *out = query + d;
    const int64_t start = l.in<int32_t>(3)[b], group = head / (h / g);
    const C tilt = alibi > 0 ? static_cast<C>(sdk::alibi_slope(alibi_first + head, alibi)) : C(0);
    for (int64_t i = 0; i < s; ++i) {
      const int64_t last = std::clamp<int64_t>(start + i + 1, 1, t), first = window > 0 ? std::max<int64_t>(0, last - window) : 0;
      load(l.in<T>(0) + q.at(b, i, head), d, query);
      for (int64_t j = first; j < last; ++j) score[j - first] = scale * dot(query, l.in<T>(1) + k.at(b, j, group), d);
      const C factor = C(1) / soften(score, last - first, tilt, sinks ? l.in<C>(4) + head : nullptr, rows ? l.in<T>(5) + head : nullptr);
      std::fill(out, out + e, C(0));
      for (int64_t j = first; j < last; ++j) {
        const T* row = l.in<T>(2) + v.at(b, j, group);
        const C p = score[j - first] * factor;
#pragma omp simd
        for (int64_t c = 0; c < e; ++c) out[c] += p * widen(row[c]);
      }
      store(out, e, l.out<T>(0) + o.at(b, i, head), Write::overwrite);
    }
  }
};

}  // namespace

NEMO_CPU_KERNEL(attention_cached) {
  for (const size_t i : {3, 4, 5}) node.need_contiguous(node.in(i));
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    const Cached<T> cached(node);
    const int64_t heads = node.size('b') * cached.h;
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          pool.each(heads, [&](int64_t task, int part) {
            cached.head(l, task / cached.h, task % cached.h, l.workspace<C>() + part * cached.pitch);
          });
        },
        align_up(static_cast<uint64_t>(cached.pitch * device.pool.threads()) * sizeof(C)));
  });
}

NEMO_CPU_KERNEL(cache_write) {
  node.need_contiguous(node.in(1));
  const Heads from(node.in(0)), to(node.out(0));
  const int64_t s = node.size('s'), t = node.out(0).shape[1], g = node.size('g'), d = node.size('d'), rows = node.size('b') * s;
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(rows, row_grain(g * d), [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          const int64_t b = r / s, i = r % s, at = l.in<int32_t>(1)[b] + i;
          if (at < 0 || at >= t) continue;
          for (int64_t head = 0; head < g; ++head) std::copy_n(l.in<T>(0) + from.at(b, i, head), d, l.out<T>(0) + to.at(b, at, head));
        }
      });
    });
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
