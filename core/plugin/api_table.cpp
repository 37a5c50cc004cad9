#include "core/plugin/api_table.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/base/error.hpp"
#include "core/plugin/kind.hpp"

namespace nemo::plugin {
namespace {

struct Slot {
  const char* name;
  size_t offset;
};
struct TableLayout {
  size_t size;
  std::vector<Slot> required;
};

#define SLOT(table, slot) \
  { #slot, offsetof(table, slot) }
TableLayout layout_of(nemo_kind kind) {
  switch (kind) {
    case NEMO_KIND_MODEL:
      return {sizeof(nemo_model_api), {SLOT(nemo_model_api, build)}};
    case NEMO_KIND_PEFT:
      return {sizeof(nemo_peft_api), {SLOT(nemo_peft_api, edit)}};
    case NEMO_KIND_STRATEGY:
      return {sizeof(nemo_strategy_api), {SLOT(nemo_strategy_api, plan)}};
    case NEMO_KIND_PRECISION:
      return {sizeof(nemo_precision_api), {SLOT(nemo_precision_api, policy)}};
    case NEMO_KIND_DATA:
      return {sizeof(nemo_data_api),
              {SLOT(nemo_data_api, open), SLOT(nemo_data_api, close), SLOT(nemo_data_api, next), SLOT(nemo_data_api, seek),
               SLOT(nemo_data_api, num_samples)}};
    case NEMO_KIND_LOGGER:
      return {
          sizeof(nemo_logger_api),
          {SLOT(nemo_logger_api, start), SLOT(nemo_logger_api, metrics), SLOT(nemo_logger_api, finish), SLOT(nemo_logger_api, destroy)}};
    case NEMO_KIND_BACKEND:
      return {sizeof(nemo_backend_api),
              {SLOT(nemo_backend_api, device_count), SLOT(nemo_backend_api, open), SLOT(nemo_backend_api, close),
               SLOT(nemo_backend_api, device_info), SLOT(nemo_backend_api, allocate), SLOT(nemo_backend_api, release),
               SLOT(nemo_backend_api, copy_in), SLOT(nemo_backend_api, copy_out), SLOT(nemo_backend_api, synchronize),
               SLOT(nemo_backend_api, supports), SLOT(nemo_backend_api, prepare), SLOT(nemo_backend_api, kernel_free),
               SLOT(nemo_backend_api, launch)}};
    default:
      throw Error(Code::kUnsupported, "kind " + std::to_string(kind) + " is not one that this host knows");
  }
}
#undef SLOT

constexpr uint32_t kHeaderSize = 2 * sizeof(uint32_t);
constexpr uint32_t kMaxTable = 1u << 16;

}  // namespace

ApiTable::ApiTable(nemo_kind kind, const void* theirs) {
  const TableLayout layout = layout_of(kind);
  const std::string table = "nemo_" + std::string(kind_name(kind)) + "_api";
  if (theirs == nullptr) throw Error(Code::kUnsupported, table + " is missing (api is NULL)");
  uint32_t size = 0;
  std::memcpy(&size, theirs, sizeof size);
  if (size < kHeaderSize || size > kMaxTable)
    throw Error(Code::kUnsupported, table + " has struct_size " + std::to_string(size) + ", which no version of it has");

  storage_.resize((layout.size + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
  std::memset(storage_.data(), 0, storage_.size() * sizeof(std::max_align_t));
  std::memcpy(storage_.data(), theirs, std::min<size_t>(size, layout.size));
  const uint32_t full = static_cast<uint32_t>(layout.size);
  std::memcpy(storage_.data(), &full, sizeof full);

  std::string missing;
  for (const Slot& slot : layout.required) {
    const void* function = nullptr;
    std::memcpy(&function, reinterpret_cast<const char*>(storage_.data()) + slot.offset, sizeof function);
    if (function == nullptr) missing += (missing.empty() ? "" : ", ") + std::string(slot.name);
  }
  if (!missing.empty()) throw Error(Code::kUnsupported, "required slots of " + table + " are NULL: " + missing);
}

}  // namespace nemo::plugin
