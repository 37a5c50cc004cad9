// Host side of the own attention kernels: the arguments that they share, the choice of the template, the launch.
#pragma once

#include <initializer_list>
#include <utility>

#include "attention_own.hpp"
#include "attention_tile.cuh"

namespace nemo::cuda::attention {

// `read`: the tensors that kernels load; 16-byte loads where all of them allow it.
inline Problem make_problem(const AttentionSpec& s, const int32_t* segments, const AttentionExtras& extras,
                            std::initializer_list<std::pair<const void*, Heads>> read) {
  const int64_t step = 16 / size_of(s.dtype);
  bool vector = s.d % step == 0 && s.e % step == 0;
  for (const auto& [pointer, x] : read)
    vector =
        vector && reinterpret_cast<uintptr_t>(pointer) % 16 == 0 && x.batch % step == 0 && x.position % step == 0 && x.head % step == 0;
  auto narrow_int = [](int64_t v) { return static_cast<int>(v); };
  return {narrow_int(s.b),
          narrow_int(s.s),
          narrow_int(s.t),
          narrow_int(s.h),
          narrow_int(s.g),
          narrow_int(s.d),
          narrow_int(s.e),
          narrow_int(s.window),
          s.causal,
          vector,
          s.scale,
          s.softcap,
          segments,
          extras,
          narrow_int(s.alibi),
          narrow_int(s.alibi_first)};
}

// f.template operator()<T, D>() with the storage type and the head dimension rounded up to what is compiled.
template <class F>
void with_kernel_type(const AttentionSpec& s, F&& f) {
  const int64_t widest = std::max(s.d, s.e);
  auto with_width = [&]<class T>() {
    if (widest <= 64)
      f.template operator()<T, 64>();
    else if (widest <= 128)
      f.template operator()<T, 128>();
    else
      f.template operator()<T, 256>();
  };
  if (s.dtype == NEMO_DTYPE_BF16)
    with_width.template operator()<__nv_bfloat16>();
  else if (s.dtype == NEMO_DTYPE_F16)
    with_width.template operator()<__half>();
  else
    with_width.template operator()<float>();
}

template <class Args>
void launch_kernel(void (*kernel)(Args), dim3 grid, int threads, int shared_bytes, cudaStream_t stream, const Args& args) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes), "attention: shared memory");
  kernel<<<grid, threads, shared_bytes, stream>>>(args);
}

}  // namespace nemo::cuda::attention
