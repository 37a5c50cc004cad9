#include "kernels/arch.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

#define NEMO_OP(name, signature, whole, attributes)                                \
  Prepared prepare_##name(const Node& node, Device& device) __attribute__((weak)); \
  extern const char row_of_##name = 0;
#include "nemo/ops.def"
#undef NEMO_OP

const Entry* find_entry(std::string_view op) {
  static const Entry entries[] = {
#define NEMO_OP(name, signature, whole, attributes) {{#name, signature, whole, attributes}, &prepare_##name},
#include "nemo/ops.def"
#undef NEMO_OP
  };
  for (const Entry& e : entries)
    if (e.row.name == op) return &e;
  return nullptr;
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
