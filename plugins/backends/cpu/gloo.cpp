// libnemo_gloo.so: groups of CPU ranks connected by Gloo over TCP (github.com/facebookincubator/gloo).
#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/alltoall.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "communicator.hpp"
#include "dtype.hpp"

namespace nemo::cpu {
namespace {

class Store final : public gloo::rendezvous::Store {
 public:
  explicit Store(const Rendezvous& rendezvous) : rendezvous_(rendezvous) {}
  void set(const std::string& key, const std::vector<char>& data) override { rendezvous_.set(key, data); }
  std::vector<char> get(const std::string& key) override { return rendezvous_.get(key); }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) (void)rendezvous_.get(key);
  }

 private:
  const Rendezvous& rendezvous_;
};

template <class T, Reduction op>
void reduce(void* to, const void* a, const void* b, size_t n) {
  T* y = static_cast<T*>(to);
  const T *p = static_cast<const T*>(a), *q = static_cast<const T*>(b);
  for (size_t i = 0; i < n; ++i) {
    if constexpr (std::is_integral_v<T>)
      y[i] = op == Reduction::sum ? static_cast<T>(p[i] + q[i]) : std::max(p[i], q[i]);
    else
      y[i] = narrow<T>(op == Reduction::sum ? widen(p[i]) + widen(q[i]) : std::max(widen(p[i]), widen(q[i])));
  }
}

using Function = void (*)(void*, const void*, const void*, size_t);

template <Reduction op>
Function function_of(nemo_dtype dtype) {
  switch (dtype) {
    case NEMO_DTYPE_F32:
      return reduce<float, op>;
    case NEMO_DTYPE_F64:
      return reduce<double, op>;
    case NEMO_DTYPE_BF16:
      return reduce<bf16, op>;
    case NEMO_DTYPE_I32:
      return reduce<int32_t, op>;
    case NEMO_DTYPE_I64:
      return reduce<int64_t, op>;
    default:
      return nullptr;
  }
}

class GlooCommunicator final : public Communicator {
 public:
  explicit GlooCommunicator(std::shared_ptr<gloo::Context> context) : context_(std::move(context)) {}

  const char* all_reduce(void* data, int64_t n, nemo_dtype dtype, Reduction op) override {
    const Function f = op == Reduction::sum ? function_of<Reduction::sum>(dtype) : function_of<Reduction::max>(dtype);
    if (f == nullptr) return "elements of this type cannot be reduced";
    return guarded([&] {
      gloo::AllreduceOptions options(context_);
      switch (size_of(dtype)) {
        case 8:
          options.setOutput(static_cast<uint64_t*>(data), static_cast<size_t>(n));
          break;
        case 4:
          options.setOutput(static_cast<uint32_t*>(data), static_cast<size_t>(n));
          break;
        default:
          options.setOutput(static_cast<uint16_t*>(data), static_cast<size_t>(n));
      }
      options.setReduceFunction(f);
      options.setTag(next_tag());
      gloo::allreduce(options);
    });
  }

  const char* all_gather(const void* mine, void* all, uint64_t bytes) override {
    return guarded([&] {
      char* to = static_cast<char*>(all) + static_cast<uint64_t>(context_->rank) * bytes;
      if (to != mine) std::memmove(to, mine, bytes);
      gloo::AllgatherOptions options(context_);
      options.setOutput(static_cast<char*>(all), bytes * static_cast<uint64_t>(context_->size));
      options.setTag(next_tag());
      gloo::allgather(options);
    });
  }

  const char* all_to_all(const void* from, void* to, uint64_t bytes) override {
    return guarded([&] {
      const size_t total = bytes * static_cast<uint64_t>(context_->size);
      gloo::AlltoallOptions options(context_);
      options.setInput(const_cast<char*>(static_cast<const char*>(from)), total);
      options.setOutput(static_cast<char*>(to), total);
      options.setTag(next_tag());
      gloo::alltoall(options);
    });
  }

  const char* exchange(int to, const void* sent, uint64_t sent_bytes, int from, void* received, uint64_t received_bytes) override {
    return guarded([&] {
      const auto out = context_->createUnboundBuffer(const_cast<void*>(sent), sent_bytes);
      const auto in = context_->createUnboundBuffer(received, received_bytes);
      const uint64_t slot = kPeerSlots + next_tag();
      if (received_bytes > 0) in->recv(from, slot);
      if (sent_bytes > 0) out->send(to, slot);
      if ((received_bytes > 0 && !in->waitRecv(context_->getTimeout())) || (sent_bytes > 0 && !out->waitSend(context_->getTimeout())))
        throw std::runtime_error("timed out");
    });
  }

  const char* send(int to, const void* data, uint64_t bytes) override {
    return guarded([&] {
      const auto buffer = context_->createUnboundBuffer(const_cast<void*>(data), bytes);
      buffer->send(to, kPairSlot);
      if (!buffer->waitSend(context_->getTimeout())) throw std::runtime_error("timed out");
    });
  }

  const char* receive(int from, void* data, uint64_t bytes) override {
    return guarded([&] {
      const auto buffer = context_->createUnboundBuffer(data, bytes);
      buffer->recv(from, kPairSlot);
      if (!buffer->waitRecv(context_->getTimeout())) throw std::runtime_error("timed out");
    });
  }

 private:
  // Apart from Gloo's own slots, whose upper byte is a small number. Messages of one slot between two ranks keep their order.
  static constexpr uint64_t kPeerSlots = uint64_t{0x70} << 56, kPairSlot = uint64_t{0x71} << 56;

  uint32_t next_tag() { return ++tag_ & 0x7fffffffu; }

  template <class Body>
  const char* guarded(Body&& body) {
    try {
      body();
      return nullptr;
    } catch (const std::exception& e) {
      fault_ = e.what();
    }
    return fault_.c_str();
  }

  std::shared_ptr<gloo::Context> context_;
  uint32_t tag_ = 0;
  std::string fault_;
};

// The interface that faces the other ranks: the loopback where rank 0 is on it, else what GLOO_SOCKET_IFNAME or the host's name say.
std::shared_ptr<gloo::transport::Device> make_device() {
  gloo::transport::tcp::attr attributes;
  const char* master = std::getenv("MASTER_ADDR");
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  if (interface != nullptr)
    attributes.iface = interface;
  else if (master != nullptr && (std::string_view(master) == "127.0.0.1" || std::string_view(master) == "localhost"))
    attributes.hostname = "127.0.0.1";
  return gloo::transport::tcp::CreateDevice(attributes);
}

}  // namespace
}  // namespace nemo::cpu

extern "C" __attribute__((visibility("default"))) nemo::cpu::Communicator* nemo_gloo_connect(const nemo::cpu::Rendezvous* rendezvous,
                                                                                             int rank, int size, int64_t timeout_ms,
                                                                                             std::string* fault) {
  try {
    static std::shared_ptr<gloo::transport::Device> device = nemo::cpu::make_device();
    nemo::cpu::Store store(*rendezvous);
    auto context = std::make_shared<gloo::rendezvous::Context>(rank, size);
    context->setTimeout(std::chrono::milliseconds(timeout_ms));
    context->connectFullMesh(store, device);
    return new nemo::cpu::GlooCommunicator(std::move(context));
  } catch (const std::exception& e) {
    *fault = e.what();
    return nullptr;
  }
}
