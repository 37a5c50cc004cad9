// core/hub/json_document.hpp - the host's side of nemo_json: one document that a plugin reads and writes by dotted paths.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "core/hub/json_text.hpp"
#include "nemo/hf.h"

namespace nemo::hub {

// One thread at a time.
class JsonDocument {
 public:
  JsonDocument(Json root, std::string where) : root_(std::move(root)), where_(std::move(where)) {}
  [[nodiscard]] nemo_json* handle() { return reinterpret_cast<nemo_json*>(this); }
  [[nodiscard]] const nemo_json* handle() const { return reinterpret_cast<const nemo_json*>(this); }
  [[nodiscard]] static JsonDocument& of(nemo_json* handle) { return *reinterpret_cast<JsonDocument*>(handle); }
  [[nodiscard]] static const JsonDocument& of(const nemo_json* handle) { return *reinterpret_cast<const JsonDocument*>(handle); }

  [[nodiscard]] const Json& root() const { return root_; }
  [[nodiscard]] Json& root() { return root_; }
  [[nodiscard]] const std::string& where() const { return where_; }
  // nullptr where the path leads nowhere. Remembers that the top-level key was asked for.
  [[nodiscard]] const Json* find(std::string_view path) const;
  // As find; throws Error(kConfig) naming document and path.
  [[nodiscard]] const Json& at(std::string_view path, const char* wanted) const;
  void set(std::string_view path, Json value);
  void erase(std::string_view path);
  // Top-level keys that nobody has asked for, in the document's order.
  [[nodiscard]] std::vector<std::string> unread() const;

 private:
  Json root_;
  std::string where_;
  mutable std::set<std::string, std::less<>> read_;
};

// The table for plugins.
[[nodiscard]] const nemo_json_api& json_api();

}  // namespace nemo::hub
