// From the name of an op to its row and its kernel. Made from nemo/ops.def: a row without kernel stays unsupported, a kernel without row
// does not compile. A kernel source defines its ops by NEMO_CUDA_KERNEL(op) { ... return make_kernel(...); } in namespace nemo::cuda.
#pragma once

#include <string_view>

#include "kernel.hpp"

namespace nemo::cuda {

enum class Op {
#define NEMO_OP(name, signature, whole, attributes) name,
#include "nemo/ops.def"
#undef NEMO_OP
};

#define NEMO_OP(name, signature, whole, attributes) Prepared prepare_##name(const Node& node, Device& device) __attribute__((weak));
#include "nemo/ops.def"
#undef NEMO_OP

struct Entry {
  OpRow row;
  Prepare prepare;  // nullptr: no kernel
};

// nullptr where there is no such row.
const Entry* find_entry(std::string_view op);

}  // namespace nemo::cuda

// The definition of an op's prepare function.
#define NEMO_CUDA_KERNEL(name)                                \
  static_assert(static_cast<int>(nemo::cuda::Op::name) >= 0); \
  Prepared prepare_##name([[maybe_unused]] const Node& node, [[maybe_unused]] Device& device)
