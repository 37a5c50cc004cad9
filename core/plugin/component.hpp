// core/plugin/component.hpp - one loaded component: what a recipe names.
#pragma once

#include <filesystem>
#include <string>

#include "core/base/error.hpp"
#include "core/plugin/api_table.hpp"
#include "core/plugin/kind.hpp"

namespace nemo::plugin {

// Stays valid for the life of its Registry; what it points into stays mapped for the life of the process. [any-thread] unless noted
class Component {
 public:
  // Checks one description (already copied to the host's size) as it came from the library. Throws nemo::Error(kUnsupported), a phrase
  // naming the component and the fault.
  Component(const nemo_component& raw, const std::filesystem::path& library, nemo_host* host);

  nemo_kind kind;
  std::string id;
  std::string version;            // "MAJOR.MINOR.PATCH"
  std::string doc;                // one sentence
  const nemo_schema* schema;      // never NULL: a component without settings has an empty schema
  std::filesystem::path library;  // absolute
  nemo_host* host;                // first argument of its functions

  // The function table: nemo_model_api for a model, and so on; another Api is kInvalidArgument. Optional slots may be NULL, and every slot
  // may be read whatever headers the plugin was built with.
  template <class Api>
  [[nodiscard]] const Api& api() const {
    static_assert(kKindOf<Api> != 0, "not the function table of a kind");
    require_kind(kKindOf<Api>);
    return *static_cast<const Api*>(table_.get());
  }

  // SHA-256 of the library file, 64 hex digits; read and computed at the first call. [host-thread]
  [[nodiscard]] const std::string& file_hash() const;

 private:
  void require_kind(nemo_kind asked) const;
  ApiTable table_;
  mutable std::string file_hash_;
};

}  // namespace nemo::plugin
