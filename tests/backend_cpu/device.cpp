#include "tests/backend_cpu/device.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>

#include "tests/backend_cpu/fake_host.hpp"

namespace nemo::backend_cpu {

namespace {

const nemo_backend_api& load() {
  void* library = dlopen(NEMO_BUILD_DIR "/lib/nemo/plugins/nemo_backend_cpu.so", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) throw std::runtime_error(dlerror());
  auto* entry = reinterpret_cast<nemo_plugin_entry_fn*>(dlsym(library, NEMO_PLUGIN_ENTRY_NAME));
  if (entry == nullptr) throw std::runtime_error("the plugin has no entry");
  const nemo_plugin* plugin = nullptr;
  check(entry(&fake_host_api(), nullptr, &plugin));
  return *static_cast<const nemo_backend_api*>(plugin->components[0].api);
}

// Memory that catches writes beyond its end.
class Guarded {
 public:
  explicit Guarded(uint64_t bytes) : bytes_(bytes), storage_(bytes + 512, '\x55') {}
  char* data() {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    return storage_.data() + (256 - address % 256) % 256;
  }
  void check_guard() {
    for (char* p = data() + bytes_; p < storage_.data() + storage_.size(); ++p)
      if (*p != '\x55') throw std::runtime_error("the kernel wrote beyond its workspace");
  }

 private:
  uint64_t bytes_;
  std::vector<char> storage_;
};

}  // namespace

Device::Device(int64_t threads, const std::string& kernels) : api_(&load()) {
  const nemo_config config{threads, kernels};
  check(api_->open(nullptr, &config, 0, &backend_));
}

Device::~Device() { api_->close(backend_); }

// A node with everything that its views point at.
class Device::Prepared {
 public:
  Prepared(const Device& device, const std::string& op, const Arrays& inputs, Arrays& outputs, const Attrs& attrs) : api_(device.api()) {
    for (const Array& a : inputs) in_.push_back(a.describe()), in_data.push_back(a.present() ? a.data() : nullptr);
    for (Array& a : outputs) out_.push_back(a.describe()), out_data.push_back(a.present() ? a.data() : nullptr);
    for (const sdk::Attr& a : attrs) attrs_.push_back(a.raw);
    nemo_node node{};
    node.struct_size = sizeof node;
    node.op = sdk::to_str(op);
    node.scope = NEMO_STR("test.scope");
    node.inputs = in_.data(), node.n_inputs = in_.size();
    node.outputs = out_.data(), node.n_outputs = out_.size();
    node.tensor_stride = sizeof(nemo_tensor);
    node.attrs = attrs_.data(), node.n_attrs = attrs_.size(), node.attr_stride = sizeof(nemo_attr);
    uint64_t workspace = 0;
    check(api_.prepare(device.handle(), &node, &kernel_, &workspace));
    memory_ = std::make_unique<Guarded>(workspace);
  }
  ~Prepared() { api_.kernel_free(kernel_); }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;

  void launch(uint32_t flags) {
    const nemo_launch launch{sizeof(nemo_launch), flags, in_data.data(), out_data.data(), memory_->data(), nullptr};
    check(api_.launch(kernel_, &launch));
    memory_->check_guard();
  }

  std::vector<const void*> in_data;
  std::vector<void*> out_data;

 private:
  const nemo_backend_api& api_;
  std::vector<nemo_tensor> in_, out_;
  std::vector<nemo_attr> attrs_;
  nemo_kernel* kernel_ = nullptr;
  std::unique_ptr<Guarded> memory_;
};

void Device::run(const std::string& op, const Arrays& inputs, Arrays& outputs, const Attrs& attrs, uint32_t flags) const {
  Prepared(*this, op, inputs, outputs, attrs).launch(flags);
}

Arrays Device::apply_in_place(const std::string& op, Arrays inputs, size_t place, Arrays outputs, const Attrs& attrs) const {
  Prepared prepared(*this, op, inputs, outputs, attrs);
  prepared.out_data[0] = inputs[place].data();
  prepared.launch(0);
  outputs[0] = inputs[place];
  return outputs;
}

Arrays Device::apply(const std::string& op, const Arrays& inputs, Arrays outputs, const Attrs& attrs) const {
  run(op, inputs, outputs, attrs);
  return outputs;
}

double Device::time(const std::string& op, const Arrays& inputs, Arrays& outputs, const Attrs& attrs) const {
  using Clock = std::chrono::steady_clock;
  Prepared prepared(*this, op, inputs, outputs, attrs);
  prepared.launch(0);
  double best = 1e300;
  const Clock::time_point until = Clock::now() + std::chrono::milliseconds(300);
  for (int i = 0; i < 5 || Clock::now() < until; ++i) {
    const Clock::time_point start = Clock::now();
    prepared.launch(0);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

const Device& device() {
  static const Device shared(2);
  return shared;
}

}  // namespace nemo::backend_cpu
