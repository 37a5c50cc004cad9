// core/runtime/device.hpp - one opened device of a backend plugin: memory, copies, kernels.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/dist/mesh.hpp"
#include "core/dist/world.hpp"
#include "core/graph/graph.hpp"
#include "core/plugin/component.hpp"
#include "nemo/ext/graph_capture.h"
#include "nemo/ext/memory.h"
#include "nemo/ext/streams.h"
#include "nemo/ext/timer.h"

namespace nemo::runtime {

class Device;

// Owns a range of device memory; released on destruction, before its Device closes.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device* device, void* data, int64_t bytes) : device_(device), data_(data), bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();
  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(data_); }
  [[nodiscard]] int64_t bytes() const { return bytes_; }

 private:
  Device* device_ = nullptr;
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

struct KernelDeleter {
  const nemo_backend_api* api;
  void operator()(nemo_kernel* kernel) const { api->kernel_free(kernel); }
};
using Kernel = std::unique_ptr<nemo_kernel, KernelDeleter>;

// One tensor of a node to be prepared; dtype kNone: absent.
struct TensorSpec {
  graph::DType dtype = graph::DType::kNone;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // empty: contiguous
};

struct PreparedKernel {
  Kernel kernel;
  int64_t workspace_bytes = 0;
};

struct MarkDeleter {
  const nemo_timer_api* api;
  void operator()(nemo_mark* mark) const { api->destroy(mark); }
};

// A point in time between launches: the device's own where its backend has timers, else the host's, once the launches are done.
struct Mark {
  std::unique_ptr<nemo_mark, MarkDeleter> device{nullptr, {nullptr}};
  std::chrono::steady_clock::time_point host{};
};

struct EventDeleter {
  const nemo_streams_api* api;
  void operator()(nemo_event* event) const { api->destroy_event(event); }
};
// A point of a stream that another one can wait for; NULL where the backend has one stream, which is in order by itself.
using Event = std::unique_ptr<nemo_event, EventDeleter>;

struct StreamDeleter {
  const nemo_streams_api* api;
  nemo_backend* backend;
  void operator()(nemo_stream* stream) const { api->destroy_stream(backend, stream); }
};
using Stream = std::unique_ptr<nemo_stream, StreamDeleter>;

// Opens the device at construction and closes it at the end. One thread at a time. Copies are complete when the call returns.
class Device {
 public:
  Device(const plugin::Component& backend, const nemo_config* settings, int64_t index);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  [[nodiscard]] Buffer allocate(int64_t bytes, std::string_view tag);
  void copy_in(void* device, const void* host, int64_t bytes);
  // Enqueues a copy; the host memory may be used again at once.
  void send(void* device, const void* host, int64_t bytes);
  void copy_out(void* host, const void* device, int64_t bytes);
  void zero(void* device, int64_t bytes);
  void synchronize();
  [[nodiscard]] bool supports(std::string_view op) const;
  [[nodiscard]] PreparedKernel prepare(std::string_view op, std::string_view scope, const std::vector<TensorSpec>& inputs,
                                       const std::vector<TensorSpec>& outputs, const graph::Attrs& attrs);
  void launch(nemo_kernel* kernel, const nemo_launch& launch);
  // Connects this rank with the others of a group, whose collectives can be prepared from then on; all members call it. `world` must
  // outlive the device. Throws nemo::Error(kUnsupported) where the backend has no collectives.
  void join(const dist::Group& group, dist::World& world);
  // From now on collectives of groups that were not joined are prepared as nothing, for plans that are not run.
  void plan_only() { plan_only_ = true; }

  // The stream for communication, made on first use; NULL, the default stream, where the backend has no other.
  [[nodiscard]] nemo_stream* second_stream();
  [[nodiscard]] Event make_event();
  void record(const Event& event, nemo_stream* stream);
  void wait(const Event& event, nemo_stream* stream);

  // Copies to the host beside what the device computes, in a stream of their own; page-locked memory for them. Only where
  // can_copy_beside(). finish() makes the calling thread, whichever it is, wait for an event.
  [[nodiscard]] bool can_copy_beside() const { return streams_ != nullptr && streams_->copy_to_host != nullptr; }
  [[nodiscard]] nemo_stream* copy_stream();
  struct HostDeleter {
    Device* device;
    void operator()(std::byte* memory) const;
  };
  using HostMemory = std::unique_ptr<std::byte, HostDeleter>;
  [[nodiscard]] HostMemory allocate_host(int64_t bytes);
  void copy_beside(void* host, const void* device, int64_t bytes);
  void finish(const Event& event);

  // A further stream, which goes before the device does; NULL, the default stream, where the backend has no other.
  [[nodiscard]] Stream make_stream();
  [[nodiscard]] Mark make_mark();
  void record(Mark& mark, nemo_stream* stream = nullptr);
  // Milliseconds between two recorded marks; waits for `end`.
  [[nodiscard]] double elapsed(const Mark& begin, const Mark& end) const;
  // Ranges for the vendor's profiler; without effect where the backend has none.
  void begin_range(std::string_view name);
  void end_range();

  [[nodiscard]] std::string name() const;
  [[nodiscard]] int64_t memory_bytes() const { return static_cast<int64_t>(info_.memory_bytes); }
  // What the backend holds besides what was allocated through it, as of now: libraries grow while kernels are prepared.
  [[nodiscard]] int64_t overhead_bytes() const;
  // Device memory in use as the device counts it; nothing where the backend cannot tell.
  [[nodiscard]] std::optional<int64_t> used_bytes() const;
  [[nodiscard]] bool is_cpu() const { return info_.device_type == 1; }

  // A launch list recorded by the backend; replayed as one unit.
  struct CaptureDeleter {
    const nemo_graph_capture_api* api;
    void operator()(nemo_capture* capture) const { api->destroy(capture); }
  };
  using Capture = std::unique_ptr<nemo_capture, CaptureDeleter>;
  [[nodiscard]] bool can_capture() const { return capture_ != nullptr; }
  // Records what `launches` launches, without running it.
  [[nodiscard]] Capture capture(const std::function<void()>& launches);
  void replay(const Capture& capture);

 private:
  friend class Buffer;
  const nemo_backend_api& api_;
  nemo_backend* backend_ = nullptr;
  // Extensions; NULL where the backend has none.
  const nemo_graph_capture_api* capture_ = nullptr;
  const nemo_timer_api* timer_ = nullptr;
  const nemo_memory_api* memory_ = nullptr;
  const nemo_streams_api* streams_ = nullptr;
  nemo_stream* second_ = nullptr;
  nemo_stream* copies_ = nullptr;
  bool plan_only_ = false;
  nemo_device_info info_{};
};

}  // namespace nemo::runtime
