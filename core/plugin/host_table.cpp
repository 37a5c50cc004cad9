#include "core/plugin/host_table.hpp"

#include "core/plugin/error.hpp"

struct nemo_host {
  const nemo::plugin::HostTable* table;
  std::string library;  // path
  std::string file_name;
};

namespace nemo::plugin {
namespace {

std::string_view view(nemo_str s) { return {s.ptr, s.ptr == nullptr ? 0 : static_cast<size_t>(s.len)}; }

// The plugin side of the table. Nothing here may throw: the callers are C.
nemo_error* error_new(nemo_host* host, nemo_code code, nemo_str message) noexcept {
  nemo_error* error = new_error(code, view(message));
  if (host != nullptr) set_fact(error, "library", host->library);
  return error;
}

void error_set(nemo_error* error, nemo_str key, nemo_str value) noexcept { set_fact(error, view(key), view(value)); }

nemo_code error_code(const nemo_error* error) noexcept { return error->code; }

nemo_str error_message(const nemo_error* error) noexcept { return {error->message.data(), error->message.size()}; }

void error_free(nemo_error* error) noexcept { free_error(error); }

void log_line(nemo_host* host, nemo_log_level level, nemo_str component, nemo_str message) noexcept {
  host->table->log(level, component.len == 0 ? std::string_view(host->file_name) : view(component), view(message));
}

uint8_t is_cancelled(nemo_host* host) noexcept { return host->table->cancelled() ? 1 : 0; }

const void* get_extension(nemo_host* host, nemo_str id) noexcept { return host->table->extension(view(id)); }

}  // namespace

HostTable::HostTable(HostOptions options) : options_(std::move(options)) {
  api_.struct_size = sizeof api_;
  api_.abi_minor_min = 0;
  api_.abi_minor_max = NEMO_ABI_MINOR;
  api_.sdk_build = NEMO_SDK_BUILD;
  api_.error_new = error_new;
  api_.error_set = error_set;
  api_.error_code = error_code;
  api_.error_message = error_message;
  api_.error_free = error_free;
  api_.log = log_line;
  api_.cancelled = is_cancelled;
  api_.get_extension = get_extension;
  if (options_.fill_config != nullptr) options_.fill_config(api_);
}

HostTable::~HostTable() = default;

nemo_host* HostTable::host_of(const std::filesystem::path& library) {
  for (const auto& host : hosts_)
    if (host->library == library.string()) return host.get();
  hosts_.push_back(std::make_unique<nemo_host>(nemo_host{this, library.string(), library.filename().string()}));
  return hosts_.back().get();
}

void HostTable::log(nemo_log_level level, std::string_view component, std::string_view message) const noexcept {
  if (!options_.log) return;
  try {
    options_.log(level, component, message);
  } catch (...) {
    return;
  }
}

bool HostTable::cancelled() const noexcept { return options_.cancelled != nullptr && options_.cancelled->load(std::memory_order_relaxed); }

const void* HostTable::extension(std::string_view id) const noexcept {
  const auto found = options_.extensions.find(id);
  return found == options_.extensions.end() ? nullptr : found->second;
}

}  // namespace nemo::plugin
