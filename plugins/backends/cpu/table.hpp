// From the name of an op to its row and its kernels for one architecture. Made from nemo/ops.def: a row without kernel stays unsupported, a
// kernel without row does not compile (NEMO_CPU_KERNEL names the row's enumerator).
#pragma once

#include <string_view>

#include "kernel.hpp"

namespace nemo::cpu {

enum class Op {
#define NEMO_OP(name, signature, whole, attributes) name,
#include "nemo/ops.def"
#undef NEMO_OP
};

struct Entry {
  OpRow row;
  Prepare prepare;  // nullptr: no kernel
};

// nullptr where there is no such row.
const Entry* find_entry(Arch arch, std::string_view op);

namespace v2 {
const Entry* find_entry(std::string_view op);
}
namespace v3 {
const Entry* find_entry(std::string_view op);
}
namespace v4 {
const Entry* find_entry(std::string_view op);
}

}  // namespace nemo::cpu
