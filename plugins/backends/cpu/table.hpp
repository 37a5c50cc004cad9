// From the name of an op to its row and its kernels for one architecture (kernels/table.cpp). A row without kernel stays unsupported, a
// kernel without row does not link. Kernel sources do not see ops.def, so that a new row does not compile them again.
#pragma once

#include <string_view>

#include "kernel.hpp"

namespace nemo::cpu {

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
