#include "table.hpp"

namespace nemo::cpu {

const Entry* find_entry(Arch arch, std::string_view op) {
  if (arch == Arch::v4) return v4::find_entry(op);
  if (arch == Arch::v3) return v3::find_entry(op);
  return v2::find_entry(op);
}

}  // namespace nemo::cpu
