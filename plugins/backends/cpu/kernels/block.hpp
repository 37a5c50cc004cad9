// Rows of any dtype to and from arithmetic precision, a block at a time. Included after kernels/arch.hpp.
#pragma once

namespace nemo::cpu::NEMO_CPU_NS {

// Elements that kernels over mixed dtypes hold on the stack at once.
constexpr int64_t kBlock = 512;

template <class C, class T>
inline void load(const T* x, int64_t n, C* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<C>(widen(x[i]));
}
template <class C>
inline void load(nemo_dtype dtype, const void* x, int64_t offset, int64_t n, C* y) {
  with_stored_type(dtype, [&](auto tag) { load(static_cast<const decltype(tag)*>(x) + offset, n, y); });
}

template <class C, class T>
inline void store(const C* x, int64_t n, T* y, Write write) {
  if (write == Write::accumulate) {  // NOLINT(bugprone-branch-clone): it does not see the loops behind the pragmas
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = narrow<T>(static_cast<C>(widen(y[i])) + x[i]);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = narrow<T>(x[i]);
  }
}
template <class C>
inline void store(const C* x, int64_t n, nemo_dtype dtype, void* y, int64_t offset, Write write = Write::overwrite) {
  with_type(dtype, [&](auto tag) { store(x, n, static_cast<decltype(tag)*>(y) + offset, write); });
}

// Elements per thread below which a second thread costs more than it brings.
constexpr int64_t kGrain = 16384;
inline int64_t row_grain(int64_t cols) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(cols, 1)); }

}  // namespace nemo::cpu::NEMO_CPU_NS
