// From the name of an op to its row and its kernel. A kernel source defines its ops by NEMO_CUDA_KERNEL(op) { ... return make_kernel(...);
// } in namespace nemo::cuda; table.cpp finds them by the rows of nemo/ops.def. A row without kernel stays unsupported, a kernel without row
// does not link. Kernel sources do not see ops.def, so that a new row does not compile them again.
#pragma once

#include <string_view>

#include "kernel.hpp"

namespace nemo::cuda {

struct Entry {
  OpRow row;
  Prepare prepare;  // nullptr: no kernel
};

// nullptr where there is no such row.
const Entry* find_entry(std::string_view op);

}  // namespace nemo::cuda

// The definition of an op's prepare function.
#define NEMO_CUDA_KERNEL(name)                                                 \
  extern const char row_of_##name;                                             \
  [[gnu::used]] static const char* const needs_row_of_##name = &row_of_##name; \
  Prepared prepare_##name(const Node& node, Device& device);                   \
  Prepared prepare_##name([[maybe_unused]] const Node& node, [[maybe_unused]] Device& device)
