// core/plugin/api_table.hpp - the host's full copy of a component's function table.
#pragma once

#include <cstddef>
#include <vector>

#include "nemo/nemo.h"

namespace nemo::plugin {

// A plugin's table may be shorter than the host's (built with older headers) or longer (newer ones). The copy has the host's size: slots
// that the plugin's table lacks are NULL, slots that the host does not know are left out. struct_size is the host's.
class ApiTable {
 public:
  // Throws nemo::Error(kUnsupported), a phrase naming the fault: table missing, size absurd, or a required slot of the kind NULL (all such
  // slots are named). `theirs` is static memory of the plugin.
  ApiTable(nemo_kind kind, const void* theirs);
  [[nodiscard]] const void* get() const { return storage_.data(); }

 private:
  std::vector<std::max_align_t> storage_;
};

}  // namespace nemo::plugin
