#include "tests/backend_cuda/gpu.hpp"

#include <dlfcn.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "nemo/cpp/node.hpp"
#include "tests/backend_cpu/fake_host.hpp"
#include "tests/backend_cuda/setting_defaults.hpp"

namespace nemo::backend_cuda {

namespace {

using backend_cpu::check;

constexpr uint64_t kGuard = 256;

std::map<std::string, double> g_settings;

template <class T>
nemo_error* setting(nemo_str path, T* out) {
  const std::string name(path.ptr, path.len);
  const auto found = g_settings.find(name);
  if (found == g_settings.end()) return new nemo_error{NEMO_CODE_INVALID_ARGUMENT, "no such setting: " + name};
  *out = static_cast<T>(found->second);
  return nullptr;
}

const nemo_host_api& host_api() {
  static const nemo_host_api api = [] {
    nemo_host_api a = backend_cpu::fake_host_api();
    a.config_bool = [](const nemo_config*, nemo_str path, uint8_t* out) { return setting(path, out); };
    a.config_int = [](const nemo_config*, nemo_str path, int64_t* out) { return setting(path, out); };
    a.config_float = [](const nemo_config*, nemo_str path, double* out) { return setting(path, out); };
    return a;
  }();
  return api;
}

const nemo_backend_api& load() {
  void* library = dlopen(NEMO_BUILD_DIR "/lib/nemo/plugins/nemo_backend_cuda.so", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) throw std::runtime_error(dlerror());
  auto* entry = reinterpret_cast<nemo_plugin_entry_fn*>(dlsym(library, NEMO_PLUGIN_ENTRY_NAME));
  if (entry == nullptr) throw std::runtime_error("the plugin has no entry");
  const nemo_plugin* plugin = nullptr;
  check(entry(&host_api(), nullptr, &plugin));
  g_settings = setting_defaults(*plugin->components[0].schema);
  g_settings.at("deterministic") = 1;
  g_settings.at("determinism_limit") = 1;
  return *static_cast<const nemo_backend_api*>(plugin->components[0].api);
}

uint64_t width(nemo_dtype d) { return static_cast<uint64_t>(sdk::size_of(d)); }

// Bytes from the first to the last element of a tensor.
uint64_t extent(const nemo_tensor& t) {
  int64_t last = 0;
  for (int i = 0; i < t.t.ndim; ++i) last += (t.t.shape[i] - 1) * t.t.strides[i];
  return static_cast<uint64_t>(last + 1) * width(t.dtype);
}

bool is_slice(const nemo_tensor& t) {
  int64_t n = 1;
  for (int i = 0; i < t.t.ndim; ++i) n *= t.t.shape[i];
  return extent(t) != static_cast<uint64_t>(n) * width(t.dtype);
}

}  // namespace

const nemo_backend_api& cuda_api() {
  static const nemo_backend_api& api = load();
  return api;
}

int64_t device_count(std::string* reason) {
  int64_t count = 0;
  nemo_str text{};
  check(cuda_api().device_count(nullptr, nullptr, &count, &text));
  *reason = std::string(text.ptr != nullptr ? text.ptr : "", text.len);
  return count;
}

const Gpu* gpu() {
  std::string reason;
  if (device_count(&reason) == 0) return nullptr;
  static const Gpu shared;
  return &shared;
}

void set_setting(const std::string& name, double value) {
  cuda_api();  // with the defaults
  g_settings.at(name) = value;
}

Gpu::Gpu(int64_t ordinal, uint64_t arena_bytes, const std::function<void(const Gpu&)>& opened) : arena_bytes_(arena_bytes) {
  const nemo_config config{};
  check(api().open(nullptr, &config, ordinal, &backend_));
  if (opened) opened(*this);
  void* memory = nullptr;
  check(api().allocate(backend_, arena_bytes_, NEMO_STR("test arena"), &memory));
  arena_ = static_cast<char*>(memory);
}

Gpu::~Gpu() {
  api().release(backend_, arena_);
  api().close(backend_);
}

// A node with its tensors placed in the arena, guard bytes behind each.
class Gpu::Prepared {
 public:
  Prepared(const Gpu& gpu, const std::string& op, const Arrays& inputs, const Arrays& outputs, const Attrs& attrs) : gpu_(gpu) {
    for (const Array& a : inputs) in_.push_back(a.describe()), in_data.push_back(place(in_.back()));
    for (const Array& a : outputs) out_.push_back(a.describe()), out_data.push_back(place(out_.back()));
    for (const sdk::Attr& a : attrs) attrs_.push_back(a.raw);
    nemo_node node{};
    node.struct_size = sizeof node;
    node.op = sdk::to_str(op);
    node.scope = NEMO_STR("test.scope");
    node.inputs = in_.data(), node.n_inputs = in_.size();
    node.outputs = out_.data(), node.n_outputs = out_.size();
    node.tensor_stride = sizeof(nemo_tensor);
    node.attrs = attrs_.data(), node.n_attrs = attrs_.size(), node.attr_stride = sizeof(nemo_attr);
    check(gpu.api().prepare(gpu.handle(), &node, &kernel_, &workspace_bytes_));
    workspace_ = take(workspace_bytes_);
  }
  ~Prepared() { gpu_.api().kernel_free(kernel_); }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;

  void send(const Arrays& inputs, const Arrays& outputs) const {
    const std::vector<char> guard(kGuard, '\x55');
    for (uint64_t end : ends_) check(gpu_.api().copy_in(gpu_.handle(), gpu_.arena_ + end, guard.data(), kGuard, nullptr));
    for (size_t i = 0; i < inputs.size(); ++i) copy_in(in_[i], in_data[i], inputs[i]);
    for (size_t i = 0; i < outputs.size(); ++i) copy_in(out_[i], out_data[i], outputs[i]);
  }

  void launch(uint32_t flags) const {
    const nemo_launch launch{sizeof(nemo_launch), flags, in_data.data(), out_data.data(), workspace_, nullptr};
    check(gpu_.api().launch(kernel_, &launch));
  }

  void replay(uint32_t flags, int times) const {
    const auto& capture =
        *static_cast<const nemo_graph_capture_api*>(gpu_.api().get_extension(gpu_.handle(), NEMO_STR(NEMO_EXT_GRAPH_CAPTURE)));
    nemo_capture* recorded = nullptr;
    check(capture.begin(gpu_.handle(), nullptr));
    for (int i = 0; i < times; ++i) launch(flags);
    check(capture.end(gpu_.handle(), nullptr, &recorded));
    check(capture.launch(recorded, nullptr));
    synchronize();
    const auto start = std::chrono::steady_clock::now();
    if (times > 1) {
      check(capture.launch(recorded, nullptr));
      synchronize();
    }
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / times;
    capture.destroy(recorded);
  }

  void fetch(Arrays& outputs) const {
    for (size_t i = 0; i < outputs.size(); ++i)
      if (outputs[i].present()) check(gpu_.api().copy_out(gpu_.handle(), outputs[i].data(), out_data[i], extent(out_[i]), nullptr));
    std::vector<char> guards(ends_.size() * kGuard);
    for (size_t i = 0; i < ends_.size(); ++i)
      check(gpu_.api().copy_out(gpu_.handle(), guards.data() + i * kGuard, gpu_.arena_ + ends_[i], kGuard, nullptr));
    synchronize();
    for (char c : guards)
      if (c != '\x55') throw std::runtime_error("the kernel wrote beyond a tensor or its workspace");
  }

  void synchronize() const { check(gpu_.api().synchronize(gpu_.handle(), nullptr)); }

  std::vector<const void*> in_data;
  std::vector<void*> out_data;
  mutable double seconds = 0;

 private:
  char* take(uint64_t bytes) {
    char* at = gpu_.arena_ + used_;
    ends_.push_back(used_ + bytes);
    used_ = (used_ + bytes + kGuard + 255) / 256 * 256;
    if (used_ > gpu_.arena_bytes_) throw std::runtime_error("the test arena is too small");
    return at;
  }
  // Slices begin where a slice of a fused buffer may: not at a multiple of 16 bytes.
  char* place(const nemo_tensor& t) {
    if (t.dtype == 0) return nullptr;
    const uint64_t shift = is_slice(t) ? 2 * width(t.dtype) : 0;
    return take(extent(t) + shift) + shift;
  }
  void copy_in(const nemo_tensor& t, const void* to, const Array& a) const {
    if (t.dtype != 0) check(gpu_.api().copy_in(gpu_.handle(), const_cast<void*>(to), a.data(), extent(t), nullptr));
  }

  const Gpu& gpu_;
  std::vector<nemo_tensor> in_, out_;
  std::vector<nemo_attr> attrs_;
  std::vector<uint64_t> ends_;
  uint64_t used_ = 0, workspace_bytes_ = 0;
  char* workspace_ = nullptr;
  nemo_kernel* kernel_ = nullptr;
};

void Gpu::run(const std::string& op, const Arrays& inputs, Arrays& outputs, const Attrs& attrs, uint32_t flags, How how) const {
  const Prepared prepared(*this, op, inputs, outputs, attrs);
  prepared.send(inputs, outputs);
  if (how == How::eager)
    prepared.launch(flags);
  else
    prepared.replay(flags, 1);
  prepared.fetch(outputs);
}

Arrays Gpu::run_in_place(const std::string& op, const Arrays& inputs, size_t place, Arrays outputs, const Attrs& attrs) const {
  Prepared prepared(*this, op, inputs, outputs, attrs);
  prepared.send(inputs, outputs);
  prepared.out_data[0] = const_cast<void*>(prepared.in_data[place]);
  prepared.launch(0);
  prepared.fetch(outputs);
  return outputs;
}

double Gpu::time(const std::string& op, const Arrays& inputs, const Arrays& outputs, const Attrs& attrs, uint32_t flags,
                 int launches) const {
  const Prepared prepared(*this, op, inputs, outputs, attrs);
  prepared.send(inputs, outputs);
  prepared.launch(flags);
  prepared.synchronize();
  prepared.replay(flags, launches);
  return prepared.seconds;
}

}  // namespace nemo::backend_cuda
