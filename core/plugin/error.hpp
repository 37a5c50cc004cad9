// core/plugin/error.hpp - errors across the plugin boundary: nemo_error <-> nemo::Error.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/error.hpp"
#include "nemo/nemo.h"

// What a plugin holds as nemo_error*. Allocated by the host only; it never points into a plugin.
struct nemo_error {
  nemo_code code = NEMO_CODE_INTERNAL;
  std::string message;
  std::vector<std::pair<std::string, std::string>> facts;
};

namespace nemo::plugin {

using Facts = std::vector<std::pair<std::string, std::string>>;

// An error that came out of a plugin. what() is the plugin's message. Facts that the host itself knows: "library" (path of the library
// that made the error). Facts by convention: "path" (setting at fault, relative to the component's section), "file", "tensor", "rank".
class PluginError : public nemo::Error {
 public:
  PluginError(nemo_code code, const std::string& message, Facts facts);
  // The code as the plugin gave it; code() is its nearest nemo::Code.
  [[nodiscard]] nemo_code plugin_code() const { return plugin_code_; }
  // Value of the last fact of that name; empty if there is none.
  [[nodiscard]] std::string_view fact(std::string_view key) const;
  [[nodiscard]] const Facts& facts() const { return facts_; }

 private:
  nemo_code plugin_code_;
  Facts facts_;
};

// CONFIG_INVALID -> kConfig, UNSUPPORTED_FIELD -> kUnsupported ...; a code that no header has -> kInternal.
[[nodiscard]] Code to_code(nemo_code code);
[[nodiscard]] nemo_code to_nemo_code(Code code);

// Frees the error and throws it as PluginError. error is not NULL.
[[noreturn]] void raise(nemo_error* error);
// The same if error is not NULL: wrap every call of a plugin function in it.
inline void check(nemo_error* error) {
  if (error != nullptr) raise(error);
}

// Owned by the receiver (free_error). Never NULL: without memory, a static out-of-memory error is given. [any-thread]
[[nodiscard]] nemo_error* new_error(nemo_code code, std::string_view message) noexcept;
// A PluginError keeps its code and facts.
[[nodiscard]] nemo_error* to_nemo_error(const nemo::Error& error) noexcept;
void set_fact(nemo_error* error, std::string_view key, std::string_view value) noexcept;
void free_error(nemo_error* error) noexcept;  // NULL is legal

// Body of every function that core hands to plugins (graph builder, plan builder, tokenizer, ...): no exception crosses. An exception
// that is no nemo::Error is NEMO_CODE_INTERNAL with its text.
template <class Body>
[[nodiscard]] nemo_error* guard(Body&& body) noexcept {
  try {
    std::forward<Body>(body)();
    return nullptr;
  } catch (const nemo::Error& e) {
    return to_nemo_error(e);
  } catch (const std::bad_alloc&) {
    return new_error(NEMO_CODE_OUT_OF_MEMORY, "out of host memory");
  } catch (const std::exception& e) {
    return new_error(NEMO_CODE_INTERNAL, e.what());
  } catch (...) {
    return new_error(NEMO_CODE_INTERNAL, "unknown exception in the host");
  }
}

}  // namespace nemo::plugin
