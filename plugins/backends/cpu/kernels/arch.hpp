// Included last by every kernel source, which is compiled three times, with NEMO_CPU_ARCH = 2, 3 and 4 (x86-64 levels), into namespace v2,
// v3 or v4. The target is a pragma and not a compiler flag so that inline functions of the headers above, of which the linker keeps one
// copy for all three, stay baseline code. Each source ends with arch_end.hpp.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "table.hpp"

#pragma GCC push_options
#if NEMO_CPU_ARCH == 4
#define NEMO_CPU_NS v4
#pragma GCC target("avx2,fma,bmi,bmi2,lzcnt,movbe,f16c,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,prefer-vector-width=512")
#elif NEMO_CPU_ARCH == 3
#define NEMO_CPU_NS v3
#pragma GCC target("avx2,fma,bmi,bmi2,lzcnt,movbe,f16c")
#else
#define NEMO_CPU_NS v2
#pragma GCC target("sse3,ssse3,sse4.1,sse4.2,popcnt")
#endif

// The definition of an op's prepare function.
#define NEMO_CPU_KERNEL(name)                                                  \
  extern const char row_of_##name;                                             \
  [[gnu::used]] static const char* const needs_row_of_##name = &row_of_##name; \
  Prepared prepare_##name(const Node& node, Device& device);                   \
  Prepared prepare_##name([[maybe_unused]] const Node& node, [[maybe_unused]] Device& device)
