#include "capture.hpp"

#include "backend.hpp"

struct nemo_capture {
  const nemo::cuda::Device* device = nullptr;
  cudaGraphExec_t graph = nullptr;
  ~nemo_capture() {
    if (graph != nullptr) cudaGraphExecDestroy(graph);
  }
};

namespace nemo::cuda {

namespace {

nemo_error* begin(nemo_backend* backend, nemo_stream* stream) {
  return sdk::guard([&] {
    backend->make_current();
    check(cudaStreamBeginCapture(backend->stream_of(stream), cudaStreamCaptureModeThreadLocal), "begin of a capture");
  });
}

nemo_error* end(nemo_backend* backend, nemo_stream* stream, nemo_capture** out) {
  return sdk::guard([&] {
    backend->make_current();
    cudaGraph_t recorded = nullptr;
    check(cudaStreamEndCapture(backend->stream_of(stream), &recorded), "end of a capture");
    auto capture = std::make_unique<nemo_capture>();
    capture->device = &backend->device;
    const cudaError_t status = cudaGraphInstantiate(&capture->graph, recorded, 0);
    cudaGraphDestroy(recorded);
    check(status, "graph of a capture");
    check(cudaGraphUpload(capture->graph, backend->stream_of(stream)), "upload of a graph");
    *out = capture.release();
  });
}

nemo_error* launch(nemo_capture* capture, nemo_stream* stream) {
  return sdk::guard([&] {
    check(cudaSetDevice(capture->device->ordinal), "cudaSetDevice");
    check(cudaGraphLaunch(capture->graph, stream != nullptr ? reinterpret_cast<cudaStream_t>(stream) : capture->device->stream),
          "launch of a graph");
  });
}

void destroy(nemo_capture* capture) { delete capture; }

}  // namespace

const nemo_graph_capture_api& graph_capture_api() {
  static const nemo_graph_capture_api api{sizeof(nemo_graph_capture_api), 0, begin, end, launch, destroy};
  return api;
}

}  // namespace nemo::cuda
