#include "core/runtime/device.hpp"

#include <algorithm>
#include <utility>

#include "core/plugin/error.hpp"
#include "nemo/ext/collectives.h"

namespace nemo::runtime {
namespace {

constexpr int64_t kZeroChunk = 1 << 20;

nemo_str to_str(std::string_view s) { return {s.data(), s.size()}; }

DLDataType to_dl(graph::DType dtype) {
  switch (dtype) {
    case graph::DType::kF32:
      return {2, 32, 1};
    case graph::DType::kF64:
      return {2, 64, 1};
    case graph::DType::kF16:
      return {2, 16, 1};
    case graph::DType::kBF16:
      return {4, 16, 1};
    case graph::DType::kI32:
      return {0, 32, 1};
    case graph::DType::kI64:
      return {0, 64, 1};
    case graph::DType::kU8:
      return {1, 8, 1};
    case graph::DType::kE4M3:
      return {10, 8, 1};
    case graph::DType::kE5M2:
      return {12, 8, 1};
    case graph::DType::kNone:
      break;
  }
  return {0, 0, 0};
}

// The C form of tensors, borrowing the shapes and strides of the specs.
std::vector<nemo_tensor> to_tensors(std::vector<TensorSpec>& specs) {
  std::vector<nemo_tensor> tensors;
  for (TensorSpec& spec : specs) {
    if (spec.strides.empty() && !spec.shape.empty()) {
      spec.strides.assign(spec.shape.size(), 1);
      for (size_t d = spec.shape.size(); d-- > 1;) spec.strides[d - 1] = spec.strides[d] * spec.shape[d];
    }
    nemo_tensor t{};
    t.struct_size = sizeof t;
    t.dtype = static_cast<nemo_dtype>(spec.dtype);
    t.t.ndim = static_cast<int32_t>(spec.shape.size());
    t.t.dtype = to_dl(spec.dtype);
    t.t.shape = spec.shape.data();
    t.t.strides = spec.strides.data();
    tensors.push_back(t);
  }
  return tensors;
}

nemo_attr to_attr(const std::string& name, const graph::Attr& value) {
  nemo_attr a{};
  a.name = to_str(name);
  if (const auto* i = std::get_if<int64_t>(&value)) a.type = NEMO_ATTR_INT, a.i = *i;
  if (const auto* f = std::get_if<double>(&value)) a.type = NEMO_ATTR_FLOAT, a.f = *f;
  if (const auto* s = std::get_if<std::string>(&value)) a.type = NEMO_ATTR_STRING, a.s = to_str(*s);
  if (const auto* v = std::get_if<std::vector<double>>(&value)) a.type = NEMO_ATTR_FLOATS, a.floats = v->data(), a.n = v->size();
  if (const auto* v = std::get_if<std::vector<int64_t>>(&value)) a.type = NEMO_ATTR_INTS, a.ints = v->data(), a.n = v->size();
  return a;
}

}  // namespace

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) device_->api_.release(device_->backend_, data_);
}

Device::Device(const plugin::Component& backend, const nemo_config* settings, int64_t index) : api_(backend.api<nemo_backend_api>()) {
  plugin::check(api_.open(backend.host, settings, index, &backend_));
  info_.struct_size = sizeof info_;
  plugin::check(api_.device_info(backend_, &info_));
  if (api_.get_extension == nullptr) return;
  capture_ = static_cast<const nemo_graph_capture_api*>(api_.get_extension(backend_, to_str(NEMO_EXT_GRAPH_CAPTURE)));
  timer_ = static_cast<const nemo_timer_api*>(api_.get_extension(backend_, to_str(NEMO_EXT_TIMER)));
  memory_ = static_cast<const nemo_memory_api*>(api_.get_extension(backend_, to_str(NEMO_EXT_MEMORY)));
  streams_ = static_cast<const nemo_streams_api*>(api_.get_extension(backend_, to_str(NEMO_EXT_STREAMS)));
}

Device::~Device() {
  for (nemo_stream* stream : {second_, copies_})
    if (stream != nullptr) streams_->destroy_stream(backend_, stream);
  api_.close(backend_);
}

nemo_stream* Device::second_stream() {
  if (second_ == nullptr && streams_ != nullptr) plugin::check(streams_->create_stream(backend_, &second_));
  return second_;
}

nemo_stream* Device::copy_stream() {
  if (copies_ == nullptr && streams_ != nullptr) plugin::check(streams_->create_stream(backend_, &copies_));
  return copies_;
}

Device::HostMemory Device::allocate_host(int64_t bytes) {
  void* memory = nullptr;
  plugin::check(streams_->allocate_host(backend_, static_cast<uint64_t>(bytes), &memory));
  return {static_cast<std::byte*>(memory), HostDeleter{this}};
}

void Device::HostDeleter::operator()(std::byte* memory) const { device->streams_->release_host(device->backend_, memory); }

void Device::copy_beside(void* host, const void* device, int64_t bytes) {
  plugin::check(streams_->copy_to_host(backend_, host, device, static_cast<uint64_t>(bytes), copy_stream()));
}

void Device::finish(const Event& event) {
  if (event) plugin::check(streams_->finish(backend_, event.get()));
}

Event Device::make_event() {
  nemo_event* made = nullptr;
  if (streams_ != nullptr) plugin::check(streams_->create_event(backend_, &made));
  return {made, EventDeleter{streams_}};
}

Stream Device::make_stream() {
  nemo_stream* made = nullptr;
  if (streams_ != nullptr) plugin::check(streams_->create_stream(backend_, &made));
  return {made, StreamDeleter{streams_, backend_}};
}

void Device::record(const Event& event, nemo_stream* stream) {
  if (event) plugin::check(streams_->record(backend_, event.get(), stream));
}

void Device::wait(const Event& event, nemo_stream* stream) {
  if (event) plugin::check(streams_->wait(backend_, event.get(), stream));
}

std::string Device::name() const { return {info_.name.ptr, info_.name.len}; }

Buffer Device::allocate(int64_t bytes, std::string_view tag) {
  if (bytes == 0) return {};
  void* data = nullptr;
  plugin::check(api_.allocate(backend_, static_cast<uint64_t>(bytes), to_str(tag), &data));
  return {this, data, bytes};
}

void Device::send(void* device, const void* host, int64_t bytes) {
  plugin::check(api_.copy_in(backend_, device, host, static_cast<uint64_t>(bytes), nullptr));
}

void Device::copy_in(void* device, const void* host, int64_t bytes) {
  send(device, host, bytes);
  synchronize();
}

void Device::copy_out(void* host, const void* device, int64_t bytes) {
  plugin::check(api_.copy_out(backend_, host, device, static_cast<uint64_t>(bytes), nullptr));
  synchronize();
}

void Device::zero(void* device, int64_t bytes) {
  if (memory_ != nullptr && memory_->zero != nullptr)
    return plugin::check(memory_->zero(backend_, device, static_cast<uint64_t>(bytes), nullptr));
  const std::vector<std::byte> zeros(static_cast<size_t>(std::min(bytes, kZeroChunk)));
  for (int64_t at = 0; at < bytes; at += kZeroChunk)
    copy_in(static_cast<std::byte*>(device) + at, zeros.data(), std::min(kZeroChunk, bytes - at));
}

void Device::synchronize() { plugin::check(api_.synchronize(backend_, nullptr)); }

bool Device::supports(std::string_view op) const { return api_.supports(backend_, to_str(op)) != 0; }

PreparedKernel Device::prepare(std::string_view op, std::string_view scope, const std::vector<TensorSpec>& inputs,
                               const std::vector<TensorSpec>& outputs, const graph::Attrs& attrs) {
  if (plan_only_ && attrs.contains("mesh")) return {Kernel(nullptr, KernelDeleter{&api_}), 0};
  std::vector<TensorSpec> in = inputs, out = outputs;
  const std::vector<nemo_tensor> input_tensors = to_tensors(in), output_tensors = to_tensors(out);
  std::vector<nemo_attr> raw;
  for (const auto& [name, value] : attrs) raw.push_back(to_attr(name, value));
  nemo_node node{};
  node.struct_size = sizeof node;
  node.op = to_str(op);
  node.scope = to_str(scope);
  node.inputs = input_tensors.data();
  node.n_inputs = input_tensors.size();
  node.outputs = output_tensors.data();
  node.n_outputs = output_tensors.size();
  node.tensor_stride = sizeof(nemo_tensor);
  node.attrs = raw.data();
  node.n_attrs = raw.size();
  node.attr_stride = sizeof(nemo_attr);
  nemo_kernel* kernel = nullptr;
  uint64_t workspace = 0;
  plugin::check(api_.prepare(backend_, &node, &kernel, &workspace));
  return {Kernel(kernel, KernelDeleter{&api_}), static_cast<int64_t>(workspace)};
}

Mark Device::make_mark() {
  Mark mark;
  if (timer_ == nullptr) return mark;
  nemo_mark* made = nullptr;
  plugin::check(timer_->create(backend_, &made));
  mark.device = {made, MarkDeleter{timer_}};
  return mark;
}

void Device::record(Mark& mark, nemo_stream* stream) {
  if (mark.device) return plugin::check(timer_->record(mark.device.get(), stream));
  synchronize();
  mark.host = std::chrono::steady_clock::now();
}

double Device::elapsed(const Mark& begin, const Mark& end) const {
  if (!begin.device) return std::chrono::duration<double, std::milli>(end.host - begin.host).count();
  double ms = 0;
  plugin::check(timer_->elapsed(begin.device.get(), end.device.get(), &ms));
  return ms;
}

void Device::begin_range(std::string_view name) {
  if (timer_ != nullptr && timer_->begin_range != nullptr) timer_->begin_range(backend_, to_str(name));
}

void Device::end_range() {
  if (timer_ != nullptr && timer_->end_range != nullptr) timer_->end_range(backend_);
}

int64_t Device::overhead_bytes() const {
  nemo_device_info now{};
  now.struct_size = sizeof now;
  plugin::check(api_.device_info(backend_, &now));
  return static_cast<int64_t>(now.overhead_bytes);
}

std::optional<int64_t> Device::used_bytes() const {
  if (memory_ == nullptr) return std::nullopt;
  uint64_t bytes = 0;
  plugin::check(memory_->used(backend_, &bytes));
  return static_cast<int64_t>(bytes);
}

namespace {

constexpr int64_t kPeerTimeoutMs = 30 * 60 * 1000;  // the watchdog names a stalled rank long before

dist::World& world_of(nemo_store* store) { return *reinterpret_cast<dist::World*>(store); }

const nemo_store_api kStoreApi{
    sizeof(nemo_store_api), 0,
    [](nemo_store* store, nemo_str key, const void* bytes, uint64_t len) {
      return plugin::guard([&] { world_of(store).store().set({key.ptr, key.len}, {static_cast<const char*>(bytes), len}); });
    },
    [](nemo_store* store, nemo_str key, int64_t timeout_ms, nemo_sink sink) {
      return plugin::guard([&] {
        const std::string value = world_of(store).store().get({key.ptr, key.len}, std::chrono::milliseconds(timeout_ms));
        plugin::check(sink.write(sink.ctx, value.data(), value.size()));
      });
    }};

}  // namespace

void Device::join(const dist::Group& group, dist::World& world) {
  const void* found = api_.get_extension == nullptr ? nullptr : api_.get_extension(backend_, to_str(NEMO_EXT_COLLECTIVES));
  if (found == nullptr)
    throw Error(Code::kUnsupported, "the backend of " + name() + " has no collectives, so a run on it cannot have several ranks");
  nemo_group raw{};
  raw.struct_size = sizeof raw;
  raw.name = to_str(group.name);
  raw.key = to_str(group.key);
  raw.rank = group.index;
  raw.size = group.size;
  raw.timeout_ms = kPeerTimeoutMs;
  raw.store_api = &kStoreApi;
  raw.store = reinterpret_cast<nemo_store*>(&world);
  plugin::check(static_cast<const nemo_collectives_api*>(found)->join(backend_, &raw));
}

Device::Capture Device::capture(const std::function<void()>& launches) {
  plugin::check(capture_->begin(backend_, nullptr));
  launches();
  nemo_capture* made = nullptr;
  plugin::check(capture_->end(backend_, nullptr, &made));
  return {made, CaptureDeleter{capture_}};
}

void Device::replay(const Capture& capture) { plugin::check(capture_->launch(capture.get(), nullptr)); }

void Device::launch(nemo_kernel* kernel, const nemo_launch& launch) {
  if (kernel == nullptr)
    throw Error(Code::kUnsupported, "a plan for several ranks cannot be run by one process; set trainer.devices = 1 and a strategy for it");
  plugin::check(api_.launch(kernel, &launch));
}

}  // namespace nemo::runtime
