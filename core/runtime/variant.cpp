#include "core/runtime/variant.hpp"

#include "core/base/error.hpp"
#include "core/base/nearest.hpp"

namespace nemo::runtime {

config::Document with_variant(const config::Document& document, const plugin::Component& model) {
  const config::Entry* entry = document.find("model.variant");
  const std::string* name = entry == nullptr ? nullptr : entry->value.as<std::string>();
  if (name == nullptr || name->empty()) return document;
  const auto& api = model.api<nemo_model_api>();
  std::vector<std::string> known;
  for (uint64_t i = 0; i < api.n_variants; ++i) {
    const nemo_variant& v = api.variants[i];
    known.emplace_back(v.name.ptr, v.name.len);
    if (known.back() == *name)
      return document.with_defaults("model", {v.settings.ptr, v.settings.len}, "variant " + *name + " of model '" + model.id + "'");
  }
  std::string all;
  for (const std::string& k : known) all += " " + k;
  const std::string near = nearest_name(*name, known);
  throw Error(Code::kConfig, location(entry->origin, "model.variant") + ": model '" + model.id + "' has no variant '" + *name + "'" +
                                 (near.empty() ? "" : "; did you mean '" + near + "'?") +
                                 (known.empty() ? " (it has none)" : " (known:" + all + ")"));
}

}  // namespace nemo::runtime
