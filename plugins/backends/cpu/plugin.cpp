// The compute backend of CPUs (x86-64, Linux): own kernels and OpenBLAS.
#include "nemo/cpp/plugin.hpp"

#include <cstring>

#include "backend.hpp"

namespace {

using nemo::sdk::guard;
using nemo::sdk::to_str;
using nemo::sdk::to_view;

const nemo::sdk::Schema& schema() {
  static const nemo::sdk::Schema s{{
      nemo::sdk::integer("threads", "0", "worker threads; 0: one per core that the process may run on").min(0).max(1024),
      nemo::sdk::choice("kernels", "\"auto\"",
                        {{"auto", "the newest that the processor has"},
                         {"v2", "x86-64-v2 (SSE4.2)"},
                         {"v3", "x86-64-v3 (AVX2)"},
                         {"v4", "x86-64-v4 (AVX-512)"}},
                        "instruction set of the backend's own kernels"),
  }};
  return s;
}

nemo::cpu::Arch chosen_kernels(const std::string& name) {
  using nemo::cpu::Arch;
  const Arch native = nemo::cpu::native_arch();
  if (name == "auto") return native;
  const Arch wanted = name == "v4" ? Arch::v4 : name == "v3" ? Arch::v3 : Arch::v2;
  if (wanted > native) nemo::sdk::config_fault("kernels", "this processor cannot run the kernels " + name + "; \"auto\" takes what it has");
  return wanted;
}

nemo_error* device_count(nemo_host*, const nemo_config*, int64_t* out, nemo_str*) {
  *out = 1;
  return nullptr;
}

nemo_error* open(nemo_host*, const nemo_config* config, int64_t device, nemo_backend** out) {
  return guard([&] {
    if (device != 0)
      throw nemo::sdk::Error(NEMO_CODE_INVALID_ARGUMENT, "cpu backend: there is one device, 0, not " + std::to_string(device));
    const nemo::sdk::Config settings(config);
    *out = new nemo_backend(chosen_kernels(settings.string("kernels")), static_cast<int>(settings.integer("threads")));
  });
}

void close(nemo_backend* backend) { delete backend; }

nemo_error* device_info(nemo_backend* backend, nemo_device_info* out) {
  return guard([&] {
    nemo_device_info info{};
    info.struct_size = out->struct_size;
    info.name = to_str(backend->name);
    info.memory_bytes = backend->memory_bytes;
    info.overhead_bytes = backend->overhead_bytes();
    info.device_type = 1;
    info.threads = backend->pool.threads();
    std::memcpy(out, &info, std::min<size_t>(out->struct_size, sizeof info));
  });
}

nemo_error* allocate(nemo_backend* backend, uint64_t bytes, nemo_str tag, void** out) {
  return guard([&] { *out = backend->allocate(bytes, to_view(tag)); });
}

void release(nemo_backend* backend, void* memory) { backend->release(memory); }

nemo_error* copy_in(nemo_backend*, void* device, const void* host, uint64_t bytes, nemo_stream*) {
  std::memcpy(device, host, bytes);
  return nullptr;
}

nemo_error* copy_out(nemo_backend*, void* host, const void* device, uint64_t bytes, nemo_stream*) {
  std::memcpy(host, device, bytes);
  return nullptr;
}

nemo_error* synchronize(nemo_backend*, nemo_stream*) { return nullptr; }

uint8_t supports(nemo_backend* backend, nemo_str op) {
  const nemo::cpu::Entry* entry = backend->find(to_view(op));
  return entry != nullptr && (entry->prepare != nullptr || nemo::cpu::is_collective(to_view(op)));
}

nemo_error* prepare(nemo_backend* backend, const nemo_node* node, nemo_kernel** out, uint64_t* workspace) {
  return guard([&] {
    nemo::cpu::Prepared prepared = backend->prepare(*node);
    *workspace = prepared.workspace;
    *out = prepared.kernel.release();
  });
}

void kernel_free(nemo_kernel* kernel) { delete kernel; }

nemo_error* launch(nemo_kernel* kernel, const nemo_launch* launch) {
  return guard([&] {
    const bool add = (launch->flags & NEMO_LAUNCH_ACCUMULATE) != 0 || kernel->always_accumulates;
    kernel->run(nemo::cpu::Launch(*launch, add ? nemo::cpu::Write::accumulate : nemo::cpu::Write::overwrite));
  });
}

const void* get_extension(nemo_backend*, nemo_str id) {
  return to_view(id) == NEMO_EXT_COLLECTIVES ? &nemo::cpu::collectives_api() : nullptr;
}

const nemo_backend_api kApi = {sizeof(nemo_backend_api),
                               0,
                               device_count,
                               open,
                               close,
                               device_info,
                               allocate,
                               release,
                               copy_in,
                               copy_out,
                               synchronize,
                               supports,
                               prepare,
                               kernel_free,
                               launch,
                               get_extension};

}  // namespace

NEMO_PLUGIN("backend:cpu\0", nemo::sdk::component(NEMO_KIND_BACKEND, "cpu", "1.0.0", "CPU kernels and OpenBLAS", &kApi, schema().get()))
