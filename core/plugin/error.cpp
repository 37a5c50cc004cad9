#include "core/plugin/error.hpp"

#include <array>

namespace nemo::plugin {
namespace {

struct CodePair {
  nemo_code plugin;
  Code core;
};
constexpr std::array<CodePair, 11> kCodes = {{
    {NEMO_CODE_INVALID_ARGUMENT, Code::kInvalidArgument},
    {NEMO_CODE_CONFIG_INVALID, Code::kConfig},
    {NEMO_CODE_NOT_FOUND, Code::kNotFound},
    {NEMO_CODE_DATA_LOSS, Code::kDataLoss},
    {NEMO_CODE_UNSUPPORTED, Code::kUnsupported},
    {NEMO_CODE_UNSUPPORTED_FIELD, Code::kUnsupported},
    {NEMO_CODE_OUT_OF_MEMORY, Code::kOutOfMemory},
    {NEMO_CODE_CANCELLED, Code::kCancelled},
    {NEMO_CODE_DEVICE_ERROR, Code::kDevice},
    {NEMO_CODE_PEER_FAILED, Code::kPeer},
    {NEMO_CODE_INTERNAL, Code::kInternal},
}};

// Given where the allocation of an error fails; never written to or freed. Its message fits std::string's inline buffer.
nemo_error& out_of_memory() {
  static nemo_error error{NEMO_CODE_OUT_OF_MEMORY, "out of memory", {}};
  return error;
}

}  // namespace

Code to_code(nemo_code code) {
  for (const CodePair& pair : kCodes)
    if (pair.plugin == code) return pair.core;
  return Code::kInternal;
}

nemo_code to_nemo_code(Code code) {
  for (const CodePair& pair : kCodes)
    if (pair.core == code) return pair.plugin;
  return NEMO_CODE_INTERNAL;
}

PluginError::PluginError(nemo_code code, const std::string& message, Facts facts)
    : nemo::Error(to_code(code), message), plugin_code_(code), facts_(std::move(facts)) {}

std::string_view PluginError::fact(std::string_view key) const {
  for (auto it = facts_.rbegin(); it != facts_.rend(); ++it)
    if (it->first == key) return it->second;
  return {};
}

void raise(nemo_error* error) {
  PluginError thrown(error->code, error->message, error->facts);
  free_error(error);
  throw thrown;
}

nemo_error* new_error(nemo_code code, std::string_view message) noexcept {
  try {
    return new nemo_error{code, std::string(message), {}};
  } catch (...) {
    return &out_of_memory();
  }
}

nemo_error* to_nemo_error(const nemo::Error& error) noexcept {
  const auto* from_plugin = dynamic_cast<const PluginError*>(&error);
  nemo_error* made = new_error(from_plugin != nullptr ? from_plugin->plugin_code() : to_nemo_code(error.code()), error.what());
  if (from_plugin != nullptr)
    for (const auto& [key, value] : from_plugin->facts()) set_fact(made, key, value);
  return made;
}

// A fact that finds no memory is dropped: the error itself matters more.
void set_fact(nemo_error* error, std::string_view key, std::string_view value) noexcept {
  if (error == nullptr || error == &out_of_memory()) return;
  try {
    error->facts.emplace_back(key, value);
  } catch (...) {
    return;
  }
}

void free_error(nemo_error* error) noexcept {
  if (error != &out_of_memory()) delete error;
}

}  // namespace nemo::plugin
