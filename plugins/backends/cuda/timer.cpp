#include "timer.hpp"

#include <nvtx3/nvToolsExt.h>

#include "backend.hpp"

struct nemo_mark {
  const nemo::cuda::Device* device = nullptr;
  cudaEvent_t event = nullptr;
  ~nemo_mark() {
    if (event != nullptr) cudaEventDestroy(event);
  }
};

namespace nemo::cuda {

namespace {

nemo_error* create(nemo_backend* backend, nemo_mark** out) {
  return sdk::guard([&] {
    backend->make_current();
    auto mark = std::make_unique<nemo_mark>();
    mark->device = &backend->device;
    check(cudaEventCreate(&mark->event), "event");
    *out = mark.release();
  });
}

nemo_error* record(nemo_mark* mark, nemo_stream* stream) {
  return sdk::guard([&] {
    const cudaStream_t on = stream != nullptr ? reinterpret_cast<cudaStream_t>(stream) : mark->device->stream;
    check(cudaEventRecord(mark->event, on), "event");
  });
}

nemo_error* elapsed(nemo_mark* begin, nemo_mark* end, double* milliseconds) {
  return sdk::guard([&] {
    float ms = 0;
    check(cudaEventSynchronize(end->event), "event");
    check(cudaEventElapsedTime(&ms, begin->event, end->event), "time between events");
    *milliseconds = ms;
  });
}

void destroy(nemo_mark* mark) { delete mark; }

void begin_range(nemo_backend*, nemo_str name) { nvtxRangePushA(sdk::to_string(name).c_str()); }
void end_range(nemo_backend*) { nvtxRangePop(); }

nemo_error* used(nemo_backend* backend, uint64_t* bytes) {
  return sdk::guard([&] {
    backend->make_current();
    size_t left = 0, total = 0;
    check(cudaMemGetInfo(&left, &total), "memory of the device");
    *bytes = total - left;
  });
}

nemo_error* zero(nemo_backend* backend, void* device, uint64_t bytes, nemo_stream* stream) {
  return sdk::guard([&] {
    backend->make_current();
    check(cudaMemsetAsync(device, 0, bytes, backend->stream_of(stream)), "clearing memory");
  });
}

}  // namespace

const nemo_timer_api& timer_api() {
  static const nemo_timer_api api{sizeof(nemo_timer_api), 0, create, record, elapsed, destroy, begin_range, end_range};
  return api;
}

const nemo_memory_api& memory_api() {
  static const nemo_memory_api api{sizeof(nemo_memory_api), 0, used, zero};
  return api;
}

}  // namespace nemo::cuda
