// Sums over rows in two stages: each thread sums its rows into a partial of its own, then the partials are added in order. Deterministic
// for a given number of threads. Included after kernels/arch.hpp.
#pragma once

#include "kernels/block.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

class ColumnSums {
 public:
  // Of a [rows cols] matrix that is handled by pool.split(rows, row_grain(cols), ...).
  ColumnSums(const Pool& pool, int64_t rows, int64_t cols)
      : parts_(pool.parts_of(rows, row_grain(cols))), cols_(cols), pitch_((cols + 15) / 16 * 16) {}

  template <class C>
  uint64_t bytes() const {
    return align_up(static_cast<uint64_t>(parts_ * pitch_) * sizeof(C));
  }
  template <class C>
  C* partial(C* base, int64_t part) const {
    return base + part * pitch_;
  }

  template <class C>
  void finish(Pool& pool, C* base, nemo_dtype dtype, void* out, Write write) const {
    pool.split(cols_, kGrain, [&](int64_t begin, int64_t end, int) {
      for (int64_t part = 1; part < parts_; ++part) {
        const C* p = partial(base, part);
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) base[i] += p[i];
      }
      store(base + begin, end - begin, dtype, out, begin, write);
    });
  }

 private:
  int64_t parts_, cols_, pitch_;
};

}  // namespace nemo::cpu::NEMO_CPU_NS
