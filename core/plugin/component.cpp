#include "core/plugin/component.hpp"

#include <algorithm>
#include <string_view>

#include "core/plugin/sha256.hpp"

namespace nemo::plugin {
namespace {

constexpr nemo_schema kEmptySchema = {sizeof(nemo_schema), 0, nullptr, 0, sizeof(nemo_field)};

std::string text(nemo_str s) { return s.ptr == nullptr ? std::string() : std::string(s.ptr, s.len); }

bool is_version(std::string_view v) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  for (int part = 0; part < 3; ++part) {
    const size_t digits = static_cast<size_t>(std::find_if_not(v.begin(), v.end(), is_digit) - v.begin());
    if (digits == 0) return false;
    v.remove_prefix(digits);
    if (part < 2 && !v.starts_with('.')) return false;
    if (part < 2) v.remove_prefix(1);
  }
  return v.empty() || v.front() == '-' || v.front() == '+';
}

ApiTable named_table(const nemo_component& raw) {
  try {
    return ApiTable(raw.kind, raw.api);
  } catch (const Error& e) {
    throw Error(e.code(), std::string(kind_name(raw.kind)) + ":" + text(raw.id) + ": " + e.what());
  }
}

}  // namespace

Component::Component(const nemo_component& raw, const std::filesystem::path& library_path, nemo_host* host_handle)
    : kind(raw.kind),
      id(text(raw.id)),
      version(text(raw.version)),
      doc(text(raw.doc)),
      schema(raw.schema != nullptr ? raw.schema : &kEmptySchema),
      library(library_path),
      host(host_handle),
      table_(named_table(raw)) {
  if (!is_version(version))
    throw Error(Code::kUnsupported, std::string(kind_name(kind)) + ":" + id + ": version \"" + version + "\" is not MAJOR.MINOR.PATCH");
}

const std::string& Component::file_hash() const {
  if (file_hash_.empty()) file_hash_ = sha256_of_file(library);
  return file_hash_;
}

void Component::require_kind(nemo_kind asked) const {
  if (asked == kind) return;
  throw Error(Code::kInvalidArgument, "component \"" + id + "\" is a " + std::string(kind_name(kind)) +
                                          ", and was asked for the functions of a " + std::string(kind_name(asked)));
}

}  // namespace nemo::plugin
