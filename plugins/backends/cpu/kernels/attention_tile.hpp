// What attention and its gradient share: strided tensors [batch, position, head, feature], the mask of a tile of scores, and tiles in
// arithmetic precision. Included after kernels/arch.hpp.
#pragma once

#include "nemo/cpp/alibi.hpp"

#include "kernels/block.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

constexpr int64_t kQueryTile = 64, kKeyTile = 128;

// Element offsets of a [b s h d] tensor whose last dimension is contiguous.
struct Heads {
  int64_t batch, position, head;
  explicit Heads(const Tensor& t) : batch(t.strides[0]), position(t.strides[1]), head(t.strides[2]) {}
  int64_t at(int64_t b, int64_t s, int64_t h) const { return b * batch + s * position + h * head; }
};

struct AttentionSpec {
  int64_t b, s, t, h, g, d, e, window, alibi, alibi_first;
  double scale, softcap;
  bool causal, segments, sinks, bias, key_lengths;

  // first: place of the segments among the inputs; what is optional follows them.
  AttentionSpec(const Node& node, size_t first) : AttentionSpec(node) {
    segments = node.in(first).present();
    sinks = node.in(first + 1).present();
    bias = node.in(first + 2).present();
    key_lengths = node.in(first + 3).present();
    if (segments && s != t) node.refuse("segments need as many queries as keys");
    for (size_t i = first; i < first + 4; ++i) node.need_contiguous(node.in(i));
  }
  explicit AttentionSpec(const Node& node)
      : b(node.size('b')),
        s(node.size('s')),
        t(node.size('t')),
        h(node.size('h')),
        g(node.size('g')),
        d(node.size('d')),
        e(node.size('e')),
        window(node.integer("window")),
        alibi(node.integer("alibi")),
        alibi_first(node.integer("alibi_first")),
        scale(node.number("scale")),
        softcap(node.number("softcap")),
        causal(node.integer("causal") != 0),
        segments(false),
        sinks(false),
        bias(false),
        key_lengths(false) {
    if (g == 0 || h % g != 0) node.refuse("the number of query heads must be a multiple of the number of kv heads");
  }
  // Keys that query i may see, segments aside: [first_key(i), last_key(i)).
  int64_t first_key(int64_t i) const { return window > 0 ? std::clamp<int64_t>(i + t - s - window + 1, 0, t) : 0; }
  int64_t last_key(int64_t i) const { return causal ? std::clamp<int64_t>(i + t - s + 1, 0, t) : t; }
};

// What the optional inputs say about one batch entry and head.
template <class C>
struct Extras {
  const int32_t* segments;
  const C *sink, *bias;  // bias [s t]
  int64_t keys;          // that exist
  C tilt;                // of linear biases

  Extras(const AttentionSpec& p, const Launch& l, int first, int64_t b, int64_t head)
      : segments(p.segments ? l.in<int32_t>(first) + b * p.t : nullptr),
        sink(p.sinks ? l.in<C>(first + 1) + head : nullptr),
        bias(p.bias ? l.in<C>(first + 2) + head * p.s * p.t : nullptr),
        keys(p.key_lengths ? std::clamp<int64_t>(l.in<int32_t>(first + 3)[b], 0, p.t) : p.t),
        tilt(p.alibi > 0 ? static_cast<C>(sdk::alibi_slope(p.alibi_first + head, p.alibi)) : C(0)) {}
};

// rows x cols values of any dtype as arithmetic values: in place where they are that already, else converted into scratch.
template <class T>
const compute_t<T>* as_compute(const T* x, int64_t ld, int64_t rows, int64_t cols, compute_t<T>* scratch, int64_t& out_ld) {
  if constexpr (std::is_same_v<T, compute_t<T>>) {
    out_ld = ld;
    return x;
  } else {
    for (int64_t r = 0; r < rows; ++r) load(x + r * ld, cols, scratch + r * cols);
    out_ld = cols;
    return scratch;
  }
}

// True where no query of [i0, i1) shares a segment number with a key of [j0, j1), judged by the ranges of the numbers.
inline bool segments_apart(const int32_t* segments, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  const auto [qa, qb] = std::minmax_element(segments + i0, segments + i1);
  const auto [ka, kb] = std::minmax_element(segments + j0, segments + j1);
  return *qb < *ka || *kb < *qa;
}

// Scores of query i against keys [j0, j0 + n): softcap, biases and mask. Masked scores become -infinity. With `slope` (softcap only) also d
// capped / d score.
template <class C>
void cap_and_mask(const AttentionSpec& p, const Extras<C>& extras, int64_t i, int64_t j0, int64_t n, C* score, C* slope) {
  if (p.softcap > 0) {
    const C c = static_cast<C>(p.softcap), inverse = static_cast<C>(1 / p.softcap);
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
      const C t = tanh_(score[j] * inverse);
      score[j] = c * t;
      if (slope != nullptr) slope[j] = C(1) - t * t;
    }
  }
  if (extras.bias != nullptr) {
    const C* bias = extras.bias + i * p.t + j0;
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) score[j] += bias[j];
  }
  if (p.alibi > 0) {
    const int64_t here = i + p.t - p.s - j0;
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) score[j] += extras.tilt * static_cast<C>(j - here);
  }
  const C masked = -std::numeric_limits<C>::infinity();
  const int64_t first = std::clamp<int64_t>(p.first_key(i) - j0, 0, n);
  const int64_t last = std::clamp<int64_t>(std::min(p.last_key(i), extras.keys) - j0, first, n);
  std::fill(score, score + first, masked);
  std::fill(score + last, score + n, masked);
  if (const int32_t* segments = extras.segments; segments != nullptr) {
    const int32_t own = segments[i];
#pragma omp simd
    for (int64_t j = first; j < last; ++j) score[j] = segments[j0 + j] == own ? score[j] : masked;
  }
}

}  // namespace nemo::cpu::NEMO_CPU_NS
