#include "tests/backend_cpu/fake_host.hpp"

#include <memory>
#include <stdexcept>

namespace nemo::backend_cpu {

namespace {

std::string text(nemo_str s) { return std::string(s.ptr, s.len); }

nemo_error* error_new(nemo_host*, nemo_code code, nemo_str message) { return new nemo_error{code, text(message)}; }
void error_set(nemo_error* e, nemo_str key, nemo_str value) { e->message += " [" + text(key) + "=" + text(value) + "]"; }
nemo_code error_code(const nemo_error* e) { return e->code; }
nemo_str error_message(const nemo_error* e) { return {e->message.data(), e->message.size()}; }
void error_free(nemo_error* e) { delete e; }
void log(nemo_host*, nemo_log_level, nemo_str, nemo_str) {}
uint8_t cancelled(nemo_host*) { return 0; }
nemo_error* config_int(const nemo_config* config, nemo_str path, int64_t* out) {
  if (text(path) != "threads") return error_new(nullptr, NEMO_CODE_INVALID_ARGUMENT, NEMO_STR("no such setting"));
  *out = config->threads;
  return nullptr;
}
nemo_error* config_string(const nemo_config* config, nemo_str path, nemo_str* out) {
  if (text(path) != "kernels") return error_new(nullptr, NEMO_CODE_INVALID_ARGUMENT, NEMO_STR("no such setting"));
  *out = {config->kernels.data(), config->kernels.size()};
  return nullptr;
}

}  // namespace

const nemo_host_api& fake_host_api() {
  static const nemo_host_api api = [] {
    nemo_host_api a{};
    a.struct_size = sizeof a;
    a.abi_minor_max = NEMO_ABI_MINOR;
    a.sdk_build = NEMO_SDK_BUILD;
    a.error_new = error_new;
    a.error_set = error_set;
    a.error_code = error_code;
    a.error_message = error_message;
    a.error_free = error_free;
    a.log = log;
    a.cancelled = cancelled;
    a.config_int = config_int;
    a.config_string = config_string;
    return a;
  }();
  return api;
}

void check(nemo_error* error) {
  if (error == nullptr) return;
  const std::unique_ptr<nemo_error> owned(error);
  throw std::runtime_error(owned->message);
}

}  // namespace nemo::backend_cpu
