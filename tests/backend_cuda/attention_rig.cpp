#include "tests/backend_cuda/attention_rig.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <stdexcept>

#include "tests/backend_cuda/setting_defaults.hpp"

struct nemo_error {
  nemo_code code = 0;
  std::string message;
};

struct nemo_config {
  std::map<std::string, int64_t> values;
};

namespace nemo::attention_test {

namespace {

constexpr uint64_t kGuard = 1024, kPoison = uint64_t{64} << 20;
std::string g_log;

std::string text(nemo_str s) { return {s.ptr, s.len}; }

template <class T>
nemo_error* get(const nemo_config* config, nemo_str path, T* out) {
  const auto at = config->values.find(text(path));
  if (at == config->values.end()) return new nemo_error{NEMO_CODE_INVALID_ARGUMENT, "no such setting: " + text(path)};
  *out = static_cast<T>(at->second);
  return nullptr;
}

// The only text among the backends' settings: which kernels the CPU backend takes.
nemo_error* get_string(const nemo_config*, nemo_str path, nemo_str* out) {
  if (text(path) != "kernels") return new nemo_error{NEMO_CODE_INVALID_ARGUMENT, "no such setting: " + text(path)};
  *out = NEMO_STR("auto");
  return nullptr;
}

const nemo_host_api& host_api() {
  static const nemo_host_api api = [] {
    nemo_host_api a{};
    a.struct_size = sizeof a;
    a.abi_minor_max = NEMO_ABI_MINOR;
    a.sdk_build = NEMO_SDK_BUILD;
    a.error_new = [](nemo_host*, nemo_code code, nemo_str message) { return new nemo_error{code, text(message)}; };
    a.error_set = [](nemo_error*, nemo_str, nemo_str) {};
    a.error_code = [](const nemo_error* e) { return e->code; };
    a.error_message = [](const nemo_error* e) { return nemo_str{e->message.data(), e->message.size()}; };
    a.error_free = [](nemo_error* e) { delete e; };
    a.log = [](nemo_host*, nemo_log_level, nemo_str, nemo_str message) { g_log += text(message) + "\n"; };
    a.cancelled = [](nemo_host*) -> uint8_t { return 0; };
    a.config_has = [](const nemo_config* c, nemo_str path) -> uint8_t { return c->values.count(text(path)) != 0; };
    a.config_int = get<int64_t>;
    a.config_bool = get<uint8_t>;
    a.config_float = get<double>;
    a.config_string = get_string;
    return a;
  }();
  return api;
}

void check(nemo_error* error) {
  if (error == nullptr) return;
  const std::unique_ptr<nemo_error> owned(error);
  throw std::runtime_error(owned->message);
}

const nemo_component& load(const std::string& plugin) {
  const std::string path = NEMO_BUILD_DIR "/lib/nemo/plugins/nemo_backend_" + plugin + ".so";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) throw std::runtime_error(dlerror());
  auto* entry = reinterpret_cast<nemo_plugin_entry_fn*>(dlsym(library, NEMO_PLUGIN_ENTRY_NAME));
  const nemo_plugin* found = nullptr;
  check(entry(&host_api(), nullptr, &found));
  return found->components[0];
}

const nemo_backend_api& api_of(const nemo_component& backend) { return *static_cast<const nemo_backend_api*>(backend.api); }

// The backend's own defaults, but for the settings that the tests vary.
nemo_config config_of(const nemo_component& backend, const Settings& s) {
  nemo_config config;
  for (const auto& [name, value] : backend_cuda::setting_defaults(*backend.schema)) config.values[name] = static_cast<int64_t>(value);
  config.values["autotune"] = s.autotune, config.values["deterministic"] = s.deterministic;
  config.values["determinism_limit"] = 1, config.values["cudnn"] = s.cudnn;
  return config;
}

int64_t width(nemo_dtype d) { return d == NEMO_DTYPE_BF16 ? 2 : 4; }

}  // namespace

std::string take_log() { return std::exchange(g_log, {}); }

int64_t Backend::devices(const std::string& plugin, std::string& reason) {
  int64_t count = 0;
  nemo_str why{};
  const nemo_component& backend = load(plugin);
  const nemo_config config = config_of(backend, {});
  check(api_of(backend).device_count(nullptr, &config, &count, &why));
  if (count == 0) reason = text(why);
  return count;
}

Backend::Backend(const std::string& plugin, Settings settings) : api_(&api_of(load(plugin))) {
  const nemo_config config = config_of(load(plugin), settings);
  check(api_->open(nullptr, &config, 0, &backend_));
}

const nemo_graph_capture_api* Backend::capture() const {
  return static_cast<const nemo_graph_capture_api*>(api_->get_extension(backend_, NEMO_STR(NEMO_EXT_GRAPH_CAPTURE)));
}

Backend::~Backend() { api_->close(backend_); }

// A tensor in the backend's memory with guard bytes on both sides.
struct Backend::Node::Slot {
  Array array;
  Shape strides;
  int64_t base = 0;  // elements before the first one
  uint64_t bytes = 0;
  char* memory = nullptr;
  nemo_tensor tensor{};
  char* data() const { return memory + kGuard + base * width(array.dtype()); }
  int64_t offset(int64_t i) const {
    int64_t at = base;
    for (size_t d = array.shape().size(); d-- > 0; i /= array.shape()[d]) at += i % array.shape()[d] * strides[d];
    return at;
  }
};

Backend::Node::Node(const Backend& backend) : backend_(backend) {}

void Backend::Node::add(const Array& array, Layout layout, bool output) {
  Slot s;
  s.array = array;
  if (array.present()) {
    const Shape& shape = array.shape();
    s.strides.assign(shape.size(), 1);
    for (size_t i = shape.size(); i-- > 1;) s.strides[i - 1] = s.strides[i] * shape[i];
    if (layout != Layout::dense && shape.size() == 4) {
      s.base = layout == Layout::fused ? 24 : 1;
      s.strides[1] += layout == Layout::fused ? 72 : 3;
      s.strides[0] = s.strides[1] * shape[1] + (layout == Layout::fused ? 8 : 1);
    }
    int64_t elements = s.base + 1;
    for (size_t i = 0; i < shape.size(); ++i) elements += (shape[i] - 1) * s.strides[i];
    s.bytes = static_cast<uint64_t>(elements * width(array.dtype()));
    void* memory = nullptr;
    check(backend_.api_->allocate(backend_.backend_, s.bytes + 2 * kGuard, NEMO_STR("test"), &memory));
    s.memory = static_cast<char*>(memory);
    std::vector<char> image(s.bytes + 2 * kGuard, '\xff');
    if (!output && s.base == 0 && layout == Layout::dense) {
      std::memcpy(&image[kGuard], array.data(), s.bytes);
    } else if (!output) {
      const auto w = static_cast<size_t>(width(array.dtype()));
      const std::vector<char> content = array.content();
      for (int64_t i = 0; i < array.size(); ++i)
        std::memcpy(&image[kGuard + static_cast<size_t>(s.offset(i)) * w], &content[static_cast<size_t>(i) * w], w);
    }
    check(backend_.api_->copy_in(backend_.backend_, memory, image.data(), image.size(), nullptr));
    check(backend_.api_->synchronize(backend_.backend_, nullptr));
  }
  (output ? outputs_ : inputs_).push_back(std::move(s));
}

std::unique_ptr<Backend::Node> Backend::prepare(const std::string& op, const Arrays& inputs, const Arrays& outputs, const Attrs& attrs,
                                                Layout layout) const {
  std::unique_ptr<Node> node(new Node(*this));
  for (const Array& a : inputs) node->add(a, layout, false);
  for (const Array& a : outputs) node->add(a, layout, true);
  std::vector<nemo_tensor> in, out;
  auto describe = [](Node::Slot& s) {
    nemo_tensor t = s.array.describe();
    t.t.strides = s.strides.data();
    return t;
  };
  for (Node::Slot& s : node->inputs_) in.push_back(describe(s));
  for (Node::Slot& s : node->outputs_) out.push_back(describe(s));
  for (const sdk::Attr& a : attrs) node->attrs_.push_back(a.raw);
  nemo_node raw{};
  raw.struct_size = sizeof raw;
  raw.op = sdk::to_str(op);
  raw.scope = NEMO_STR("test");
  raw.inputs = in.data(), raw.n_inputs = in.size();
  raw.outputs = out.data(), raw.n_outputs = out.size();
  raw.tensor_stride = sizeof(nemo_tensor);
  raw.attrs = node->attrs_.data(), raw.n_attrs = node->attrs_.size(), raw.attr_stride = sizeof(nemo_attr);
  check(api_->prepare(backend_, &raw, &node->kernel_, &node->workspace_bytes_));
  check(api_->allocate(backend_, node->workspace_bytes_ + kGuard, NEMO_STR("workspace"), &node->workspace_));
  // NaNs at its begin and the guard behind it: a deterministic backward wants tens of gigabytes, which would travel for half a minute.
  const std::vector<char> image(std::min(node->workspace_bytes_, kPoison) + kGuard, '\xff');
  check(api_->copy_in(backend_, node->workspace_, image.data(), image.size() - kGuard, nullptr));
  check(api_->copy_in(backend_, static_cast<char*>(node->workspace_) + node->workspace_bytes_, image.data(), kGuard, nullptr));
  check(api_->synchronize(backend_, nullptr));
  return node;
}

Backend::Node::~Node() {
  if (recorded_ != nullptr) backend_.capture()->destroy(recorded_);
  if (kernel_ != nullptr) backend_.api_->kernel_free(kernel_);
  for (const auto* slots : {&inputs_, &outputs_})
    for (const Slot& s : *slots) backend_.api_->release(backend_.backend_, s.memory);
  backend_.api_->release(backend_.backend_, workspace_);
}

void Backend::Node::launch() {
  std::vector<const void*> in;
  std::vector<void*> out;
  for (const Slot& s : inputs_) in.push_back(s.array.present() ? s.data() : nullptr);
  for (const Slot& s : outputs_) out.push_back(s.array.present() ? s.data() : nullptr);
  const nemo_launch launch{sizeof(nemo_launch), 0, in.data(), out.data(), workspace_, nullptr};
  check(backend_.api_->launch(kernel_, &launch));
}

void Backend::Node::synchronize() { check(backend_.api_->synchronize(backend_.backend_, nullptr)); }

bool Backend::Node::launch_captured() {
  const auto* capture = backend_.capture();
  if (capture == nullptr) return false;
  check(capture->begin(backend_.backend_, nullptr));
  launch();
  check(capture->end(backend_.backend_, nullptr, &recorded_));
  replay();
  return true;
}

void Backend::Node::replay() {
  check(backend_.capture()->launch(recorded_, nullptr));
  synchronize();
}

void Backend::Node::write(size_t input, const Array& array) {
  const Slot& s = inputs_.at(input);
  check(backend_.api_->copy_in(backend_.backend_, s.data(), array.data(), s.bytes, nullptr));
  synchronize();
}

Arrays Backend::Node::read() {
  synchronize();
  Arrays result;
  for (const Slot& s : outputs_) {
    std::vector<char> image(s.bytes + 2 * kGuard);
    check(backend_.api_->copy_out(backend_.backend_, image.data(), s.memory, image.size(), nullptr));
    synchronize();
    Array a(s.array.dtype(), s.array.shape());
    const auto w = static_cast<size_t>(width(a.dtype()));
    const int64_t row = a.shape().empty() ? 1 : a.shape().back();  // contiguous in every layout
    for (int64_t i = 0; i < a.size(); i += row) {
      char* at = &image[kGuard + static_cast<size_t>(s.offset(i)) * w];
      std::memcpy(a.data() + static_cast<size_t>(i) * w, at, static_cast<size_t>(row) * w);
      std::memset(at, 0xff, static_cast<size_t>(row) * w);
    }
    for (const char c : image)
      if (c != '\xff') throw std::runtime_error("the kernel wrote outside an output");
    result.push_back(std::move(a));
  }
  std::vector<char> guard(kGuard);
  check(backend_.api_->copy_out(backend_.backend_, guard.data(), static_cast<char*>(workspace_) + workspace_bytes_, kGuard, nullptr));
  synchronize();
  for (const char c : guard)
    if (c != '\xff') throw std::runtime_error("the kernel wrote beyond its workspace");
  return result;
}

double Backend::Node::time(int count) {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < 2; ++i) launch();
  synchronize();
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < count; ++i) launch();
  synchronize();
  return std::chrono::duration<double>(Clock::now() - start).count() / count;
}

}  // namespace nemo::attention_test
