// nemo/cpp/core.hpp - errors, strings and the host, for plugins written in C++17. Header-only; compiled into the plugin, nothing of it
// crosses.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nemo/nemo.h"

namespace nemo::sdk {
inline namespace v1 {

inline nemo_str to_str(std::string_view s) { return {s.data(), s.size()}; }
inline std::string_view to_view(nemo_str s) { return {s.ptr, s.len}; }
inline std::string to_string(nemo_str s) { return std::string(s.ptr, s.len); }

// The one exception type. Thrown in a plugin, it becomes a nemo_error at the boundary (guard); returned by the host, it is rethrown
// (check).
class Error : public std::runtime_error {
 public:
  Error(nemo_code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  // Adds a fact; "path" names the setting at fault.
  Error&& with(std::string key, std::string value) && {  // NOLINT(misc-unused-parameters): clang-tidy 14 errs
    facts_.emplace_back(std::move(key), std::move(value));
    return std::move(*this);
  }
  nemo_code code() const { return code_; }
  const std::vector<std::pair<std::string, std::string>>& facts() const { return facts_; }

 private:
  nemo_code code_;
  std::vector<std::pair<std::string, std::string>> facts_;
};

// The host as given to this plugin's entry; valid from the entry on, for the life of the process.
struct Host {
  const nemo_host_api* api = nullptr;
  nemo_host* handle = nullptr;
};
inline Host& host() {
  static Host instance;
  return instance;
}

inline void log(nemo_log_level level, std::string_view component, std::string_view message) {
  // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): as in check()
  host().api->log(host().handle, level, to_str(component), to_str(message));
}
inline bool cancelled() { return host().api->cancelled(host().handle) != 0; }

// Turns an error of the host into an exception.
inline void check(nemo_error* error) {
  if (error == nullptr) return;
  const nemo_host_api* api = host().api;
  // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the entry has set it before any code of the plugin runs
  Error thrown(api->error_code(error), to_string(api->error_message(error)));
  api->error_free(error);
  throw thrown;
}

inline nemo_error* to_nemo_error(const Error& e) {
  const Host& h = host();
  nemo_error* error = h.api->error_new(h.handle, e.code(), to_str(e.what()));
  for (const auto& [key, value] : e.facts()) h.api->error_set(error, to_str(key), to_str(value));
  return error;
}

// Wraps the body of every function that the host calls: no exception crosses.
template <class Body>
nemo_error* guard(Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const Error& e) {
    return to_nemo_error(e);
  } catch (const std::bad_alloc&) {
    return to_nemo_error(Error(NEMO_CODE_OUT_OF_MEMORY, "out of host memory"));
  } catch (const std::exception& e) {
    return to_nemo_error(Error(NEMO_CODE_INTERNAL, e.what()));
  } catch (...) {
    return to_nemo_error(Error(NEMO_CODE_INTERNAL, "unknown exception"));
  }
}

}  // namespace v1
}  // namespace nemo::sdk
