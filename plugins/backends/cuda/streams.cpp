#include "streams.hpp"

#include "backend.hpp"

struct nemo_event {
  cudaEvent_t event = nullptr;
  ~nemo_event() {
    if (event != nullptr) cudaEventDestroy(event);
  }
};

namespace nemo::cuda {

namespace {

nemo_error* create_stream(nemo_backend* backend, nemo_stream** out) {
  return sdk::guard([&] {
    backend->make_current();
    int least = 0, greatest = 0;
    check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "priorities of streams");
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, greatest), "stream");
    *out = reinterpret_cast<nemo_stream*>(stream);
  });
}

void destroy_stream(nemo_backend* backend, nemo_stream* stream) {
  if (stream == nullptr) return;
  cudaSetDevice(backend->device.ordinal);
  cudaStreamSynchronize(reinterpret_cast<cudaStream_t>(stream));
  cudaStreamDestroy(reinterpret_cast<cudaStream_t>(stream));
}

nemo_error* create_event(nemo_backend* backend, nemo_event** out) {
  return sdk::guard([&] {
    backend->make_current();
    auto event = std::make_unique<nemo_event>();
    check(cudaEventCreateWithFlags(&event->event, cudaEventDisableTiming), "event");
    *out = event.release();
  });
}

void destroy_event(nemo_event* event) { delete event; }

nemo_error* record(nemo_backend* backend, nemo_event* event, nemo_stream* stream) {
  return sdk::guard([&] { check(cudaEventRecord(event->event, backend->stream_of(stream)), "record of an event"); });
}

nemo_error* wait(nemo_backend* backend, nemo_event* event, nemo_stream* stream) {
  return sdk::guard([&] { check(cudaStreamWaitEvent(backend->stream_of(stream), event->event, 0), "wait for an event"); });
}

nemo_error* allocate_host(nemo_backend* backend, uint64_t bytes, void** out) {
  return sdk::guard([&] {
    backend->make_current();
    if (cudaHostAlloc(out, bytes > 0 ? bytes : 1, cudaHostAllocDefault) == cudaSuccess) return;
    cudaGetLastError();
    throw sdk::Error(NEMO_CODE_OUT_OF_MEMORY, "cuda backend: no " + std::to_string(bytes) + " bytes of page-locked host memory");
  });
}

void release_host(nemo_backend*, void* host) { cudaFreeHost(host); }

nemo_error* copy_to_host(nemo_backend* backend, void* host, const void* device, uint64_t bytes, nemo_stream* stream) {
  return sdk::guard(
      [&] { check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, backend->stream_of(stream)), "copy from the device"); });
}

nemo_error* finish(nemo_backend* backend, nemo_event* event) {
  return sdk::guard([&] {
    backend->make_current();
    check(cudaEventSynchronize(event->event), "wait for an event");
  });
}

}  // namespace

const nemo_streams_api& streams_api() {
  static const nemo_streams_api api{sizeof(nemo_streams_api),
                                    0,
                                    create_stream,
                                    destroy_stream,
                                    create_event,
                                    destroy_event,
                                    record,
                                    wait,
                                    allocate_host,
                                    release_host,
                                    copy_to_host,
                                    finish};
  return api;
}

}  // namespace nemo::cuda
