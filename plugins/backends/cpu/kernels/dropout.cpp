// dropout: one read, one write; bound by memory. Outputs may be the memory of the input.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

constexpr int64_t kPhiloxGroups = 64;  // counters that run side by side

// Philox4x32-10 (Salmon et al. 2011): 10 rounds over 128-bit counters {group low, group high, step low, step high} with a 64-bit key.
// word[w][g] is word w of counter first + g.
inline void philox(uint32_t k0, uint32_t k1, uint64_t first, uint64_t step, uint32_t (&word)[4][kPhiloxGroups]) {
#pragma omp simd
  for (int64_t g = 0; g < kPhiloxGroups; ++g) {
    const uint64_t group = first + static_cast<uint64_t>(g);
    word[0][g] = static_cast<uint32_t>(group);
    word[1][g] = static_cast<uint32_t>(group >> 32);
    word[2][g] = static_cast<uint32_t>(step);
    word[3][g] = static_cast<uint32_t>(step >> 32);
  }
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
#pragma omp simd
    for (int64_t g = 0; g < kPhiloxGroups; ++g) {
      const uint64_t a = uint64_t{0xD2511F53u} * word[0][g], b = uint64_t{0xCD9E8D57u} * word[2][g];
      word[0][g] = static_cast<uint32_t>(b >> 32) ^ word[1][g] ^ k0;
      word[2][g] = static_cast<uint32_t>(a >> 32) ^ word[3][g] ^ k1;
      word[1][g] = static_cast<uint32_t>(b);
      word[3][g] = static_cast<uint32_t>(a);
    }
  }
}

// Elements that follow one another both in memory and in their sample.
struct DropoutRun {
  int64_t local, sample, element, length;
};

std::vector<DropoutRun> dropout_runs(const Node& node) {
  const Tensor& x = node.in(0);
  if (x.rank() < 2) return {{0, 0, 0, x.size()}};
  const int64_t samples = x.shape[0], seq = x.shape[1], inner = x.size() / std::max<int64_t>(samples * seq, 1);
  const int64_t start = node.integer("seq_start"), second = node.integer("seq_start2"), inner_start = node.integer("inner_start");
  const int64_t whole = node.integer("inner_size") > 0 ? node.integer("inner_size") : inner;
  if (second >= 0 && seq % 2 != 0) node.refuse("seq_start2 needs an even number of positions");
  const int64_t half = second >= 0 ? seq / 2 : seq, step = whole == inner ? half : 1;
  std::vector<DropoutRun> runs;
  for (int64_t b = 0; b < samples; ++b)
    for (int64_t s = 0; s < seq; s += step)
      runs.push_back({(b * seq + s) * inner, b, (s < half ? start + s : second + s - half) * whole + inner_start, step * inner});
  return runs;
}

struct DropoutArgs {
  uint64_t key;
  uint32_t threshold;
  double keep;  // 0 where nothing is kept
};

// Elements [begin, end) of a run, which start at a multiple of the span in their sample.
template <class T>
void drop(const DropoutArgs& a, const int64_t* rng, const DropoutRun& run, int64_t begin, int64_t end, const T* in, T* out) {
  using C = compute_t<T>;
  constexpr int64_t kSpan = 4 * kPhiloxGroups;
  const uint64_t seed = static_cast<uint64_t>(rng[0]), sample = static_cast<uint64_t>(rng[1] + run.sample);
  const uint32_t k0 = static_cast<uint32_t>(seed ^ (a.key >> 32)), k1 = static_cast<uint32_t>((seed >> 32) ^ a.key);
  const C keep = static_cast<C>(a.keep);
  uint32_t word[4][kPhiloxGroups];
  C factor[kSpan];
  for (int64_t at = begin / kSpan * kSpan; at < end; at += kSpan) {
    philox(k0, k1, static_cast<uint64_t>(at / 4), sample, word);
#pragma omp simd
    for (int64_t g = 0; g < kPhiloxGroups; ++g) {
      factor[4 * g] = word[0][g] < a.threshold ? C(0) : keep;
      factor[4 * g + 1] = word[1][g] < a.threshold ? C(0) : keep;
      factor[4 * g + 2] = word[2][g] < a.threshold ? C(0) : keep;
      factor[4 * g + 3] = word[3][g] < a.threshold ? C(0) : keep;
    }
    const int64_t first = std::max(at, begin), count = std::min(at + kSpan, end) - first;
    const C* f = factor + (first - at);
    const T* x = in + run.local + (first - run.element);
    T* y = out + run.local + (first - run.element);
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) y[i] = narrow<T>(f[i] == C(0) ? C(0) : static_cast<C>(widen(x[i])) * f[i]);
  }
}

}  // namespace

// Element e of sample s is dropped where word e % 4 of Philox4x32-10 is below p 2^32. key = {low32(rng[0]) ^ high32(key), high32(rng[0]) ^
// low32(key)}, counter = {low32(e / 4), high32(e / 4), low32(s), high32(s)}.
NEMO_CPU_KERNEL(dropout) {
  if (node.size('r') != 2) node.refuse("rng must be [2]: seed and number of the first sample");
  node.need_contiguous(node.in(0));
  node.need_contiguous(node.out(0));
  const double p = node.number("p");
  if (!(p >= 0 && p <= 1)) node.refuse("p must be within [0, 1]");
  const DropoutArgs args{static_cast<uint64_t>(node.integer("key")),
                         static_cast<uint32_t>(std::min(p * 4294967296.0, 4294967295.0)),  // at p = 1 nothing is kept: `keep` is 0
                         p < 1 ? 1 / (1 - p) : 0.0};
  return with_type(node.compute(), [&](auto tag) {
    using T = decltype(tag);
    return make_kernel([args, runs = dropout_runs(node), &pool = device.pool](const Launch& l) {
      const auto part = [&](const DropoutRun& run, int64_t begin, int64_t end) {
        drop<T>(args, l.in<int64_t>(1), run, run.element + begin, run.element + end, l.in<T>(0), l.out<T>(0));
      };
      const auto n = static_cast<int64_t>(runs.size());
      if (n == 1) return pool.split(runs[0].length, kGrain / 4, [&](int64_t begin, int64_t end, int) { part(runs[0], begin, end); });
      pool.split(n, row_grain(runs[0].length), [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) part(runs[static_cast<size_t>(r)], 0, runs[static_cast<size_t>(r)].length);
      });
    });
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
