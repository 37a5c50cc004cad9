// The compute backend of NVIDIA GPUs (Hopper): own kernels, cuBLASLt and cuDNN.
#include "nemo/cpp/plugin.hpp"

#include <cstring>

#include "backend.hpp"
#include "capture.hpp"
#include "driver.hpp"
#include "streams.hpp"
#include "timer.hpp"

namespace {

using nemo::sdk::guard;
using nemo::sdk::to_str;
using nemo::sdk::to_view;

const nemo::sdk::Schema& schema() {
  static const nemo::sdk::Schema s{{
      nemo::sdk::boolean(
          "autotune", "true",
          "time several algorithms for each matrix product before training and remember the fastest in the user's cache folder"),
      nemo::sdk::boolean("deterministic", "true", "the same bits in every run; attention's backward needs more memory and time for it"),
      nemo::sdk::number(
          "determinism_limit", "0.02",
          "largest share of a step that determinism may cost, by measurement; where it costs more the run says so and goes on "
          "without; 1: deterministic at any cost")
          .min(0)
          .max(1),
      nemo::sdk::integer("collective_sms", "0",
                         "multiprocessors that a collective may use (NCCL's maxCTAs), and that matrix products beside it leave free; 0: as "
                         "many as NCCL likes, and products fill the device")
          .min(0)
          .max(64),
      nemo::sdk::boolean("copy_engine", "false",
                         "parts move between ranks by the devices' copy engines, which leave all multiprocessors to other work: gathers, "
                         "and reductions of up to exchange_mib. Where NCCL cannot (older than 2.28, several hosts) they move as without"),
      nemo::sdk::integer("exchange_mib", "128",
                         "largest tensor of a reduce-scatter that moves so too: all parts go to their rank, which adds them; takes as much "
                         "memory. 0: none")
          .min(0)
          .unit("MiB"),
      nemo::sdk::boolean("peer_exchange", "false",
                         "those parts by copies of this plugin straight into the other ranks' memory: NCCL's exchange copies a rank's own "
                         "part too, which waits for a multiprocessor"),
      nemo::sdk::boolean("cudnn", "true", "attention through cuDNN where it takes the shape; false: own kernels"),
  }};
  return s;
}

nemo_error* device_count(nemo_host*, const nemo_config*, int64_t* out, nemo_str* reason) {
  return guard([&] {
    const nemo::cuda::Machine& m = nemo::cuda::machine();
    *out = static_cast<int64_t>(m.ordinals.size());
    if (reason != nullptr) *reason = to_str(m.reason);
  });
}

nemo_error* open(nemo_host*, const nemo_config* config, int64_t device, nemo_backend** out) {
  return guard([&] {
    const nemo::cuda::Machine& m = nemo::cuda::machine();
    if (m.ordinals.empty()) throw nemo::sdk::Error(NEMO_CODE_DEVICE_ERROR, "cuda backend: " + m.reason);
    if (device < 0 || device >= static_cast<int64_t>(m.ordinals.size()))
      throw nemo::sdk::Error(NEMO_CODE_INVALID_ARGUMENT, "cuda backend: device " + std::to_string(device) + " of " +
                                                             std::to_string(m.ordinals.size()) + " usable ones does not exist");
    const nemo::sdk::Config settings(config);
    const bool autotune = settings.boolean("autotune"), deterministic = settings.boolean("deterministic"),
               use_cudnn = settings.boolean("cudnn");
    *out = new nemo_backend(m.ordinals[static_cast<size_t>(device)], autotune ? nemo::cuda::Autotune::on : nemo::cuda::Autotune::off);
    (*out)->device.deterministic = deterministic;
    (*out)->device.autotune = autotune;
    (*out)->device.determinism_limit = settings.number("determinism_limit");
    (*out)->device.use_cudnn = use_cudnn;
    (*out)->groups.transport = {static_cast<int>(settings.integer("collective_sms")), settings.boolean("copy_engine"),
                                settings.integer("exchange_mib") << 20, settings.boolean("peer_exchange")};
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
    info.device_type = 2;
    std::memcpy(out, &info, std::min<size_t>(out->struct_size, sizeof info));
  });
}

nemo_error* allocate(nemo_backend* backend, uint64_t bytes, nemo_str tag, void** out) {
  return guard([&] { *out = backend->allocate(bytes, to_view(tag)); });
}

void release(nemo_backend* backend, void* memory) { backend->release(memory); }

nemo_error* copy_in(nemo_backend* backend, void* device, const void* host, uint64_t bytes, nemo_stream* stream) {
  return guard([&] {
    backend->make_current();
    backend->staging->copy_in(device, host, bytes, backend->stream_of(stream));
  });
}

nemo_error* copy_out(nemo_backend* backend, void* host, const void* device, uint64_t bytes, nemo_stream* stream) {
  return guard([&] {
    backend->make_current();
    backend->staging->copy_out(host, device, bytes, backend->stream_of(stream));
  });
}

nemo_error* synchronize(nemo_backend* backend, nemo_stream* stream) {
  return guard([&] { backend->synchronize(stream); });
}

uint8_t supports(nemo_backend*, nemo_str op) {
  const nemo::cuda::Entry* entry = nemo::cuda::find_entry(to_view(op));
  return entry != nullptr && (entry->prepare != nullptr || nemo::cuda::is_collective(to_view(op)));
}

nemo_error* prepare(nemo_backend* backend, const nemo_node* node, nemo_kernel** out, uint64_t* workspace) {
  return guard([&] {
    nemo::cuda::Prepared prepared = backend->prepare(*node);
    *workspace = prepared.workspace;
    *out = prepared.kernel.release();
  });
}

void kernel_free(nemo_kernel* kernel) { delete kernel; }

nemo_error* launch(nemo_kernel* kernel, const nemo_launch* launch) {
  return guard([&] {
    const bool add = (launch->flags & NEMO_LAUNCH_ACCUMULATE) != 0 || kernel->always_accumulates;
    nemo::cuda::check(cudaSetDevice(kernel->device->ordinal), "cudaSetDevice");
    const cudaStream_t stream = launch->stream != nullptr ? reinterpret_cast<cudaStream_t>(launch->stream) : kernel->device->stream;
    kernel->run(nemo::cuda::Launch(*launch, add ? nemo::cuda::Write::accumulate : nemo::cuda::Write::overwrite, stream));
    nemo::cuda::check(cudaGetLastError(), "launch of a kernel");
  });
}

const void* get_extension(nemo_backend*, nemo_str id) {
  if (to_view(id) == NEMO_EXT_GRAPH_CAPTURE) return &nemo::cuda::graph_capture_api();
  if (to_view(id) == NEMO_EXT_TIMER) return &nemo::cuda::timer_api();
  if (to_view(id) == NEMO_EXT_MEMORY) return &nemo::cuda::memory_api();
  if (to_view(id) == NEMO_EXT_STREAMS) return &nemo::cuda::streams_api();
  if (to_view(id) == NEMO_EXT_COLLECTIVES) return &nemo::cuda::collectives_api();
  return nullptr;
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

NEMO_PLUGIN("backend:cuda\0", nemo::sdk::component(NEMO_KIND_BACKEND, "cuda", "1.0.0", "NVIDIA Hopper GPUs: own kernels, cuBLASLt, cuDNN",
                                                   &kApi, schema().get()))
