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

}  // namespace

const nemo_streams_api& streams_api() {
  static const nemo_streams_api api{sizeof(nemo_streams_api), 0, create_stream, destroy_stream, create_event, destroy_event, record, wait};
  return api;
}

}  // namespace nemo::cuda
