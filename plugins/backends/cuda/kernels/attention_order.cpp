#include "attention_order.hpp"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "../gemm_tuner.hpp"
#include "attention_own.hpp"
#include "attention_packed.hpp"
#include "scratch.hpp"

namespace nemo::cuda {

namespace {

constexpr double kProductRate = 7e14, kBandwidth = 2.8e12;  // flops and bytes per second
constexpr double kForwardShare = 0.4;                       // attention's forward over its backward
constexpr uint64_t kMemoryShare = 10;                       // the workspace may take a tenth of the device
constexpr int kLaunches = 4;

// Tensors as the problem lays them out, filled with random values.
class Tensors {
 public:
  Tensors(const AttentionBackward& p, cudaStream_t stream) : p_(p), stream_(stream) {
    x_.dout = add(p.dout), x_.q = add(p.q), x_.k = add(p.k), x_.v = add(p.v), x_.o = add(p.o);
    x_.dq = add(p.dq), x_.dk = add(p.dk), x_.dv = add(p.dv);
    x_.lse = static_cast<float*>(fill(p.spec.b * p.spec.h * p.spec.s, NEMO_DTYPE_F32));
    x_.segments = nullptr;
  }
  // Milliseconds per launch, the first not counted.
  double time(const BackwardRoute& route) {
    CudnnBinding binding(route.plan);
    return time(route.workspace(), [&](char* at) { route.run(binding, x_, stream_, at); });
  }
  template <class F>
  double time(uint64_t bytes, F&& run) {
    const Scratch workspace(bytes);
    char* at = static_cast<char*>(workspace.data());
    cudaEvent_t begin = nullptr, end = nullptr;
    check(cudaEventCreate(&begin), "event");
    check(cudaEventCreate(&end), "event");
    run(at);
    check(cudaEventRecord(begin, stream_), "event");
    for (int i = 0; i < kLaunches; ++i) run(at);
    check(cudaEventRecord(end, stream_), "event");
    check(cudaEventSynchronize(end), "time of attention");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "event");
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return ms / kLaunches;
  }

  // Rows of as many documents of equal length.
  void pack(int64_t documents) {
    std::vector<int32_t> numbers(static_cast<size_t>(p_.spec.b * p_.spec.s));
    for (size_t i = 0; i < numbers.size(); ++i)
      numbers[i] = static_cast<int32_t>(static_cast<int64_t>(i) % p_.spec.s * documents / p_.spec.s);
    memory_.push_back(std::make_unique<Scratch>(numbers.size() * sizeof(int32_t)));
    check(cudaMemcpyAsync(memory_.back()->data(), numbers.data(), numbers.size() * sizeof(int32_t), cudaMemcpyHostToDevice, stream_),
          "segments to time attention");
    check(cudaStreamSynchronize(stream_), "segments to time attention");
    x_.segments = static_cast<const int32_t*>(memory_.back()->data());
  }
  const BackwardPointers& pointers() const { return x_; }

 private:
  void* add(const Heads& h) { return fill(p_.spec.b * std::max(h.batch, std::max(p_.spec.s, p_.spec.t) * h.position), NEMO_DTYPE_BF16); }
  void* fill(int64_t elements, nemo_dtype dtype) {
    memory_.push_back(std::make_unique<Scratch>(static_cast<uint64_t>(elements * size_of(dtype))));
    fill_random(memory_.back()->data(), dtype, elements, static_cast<uint32_t>(memory_.size()), stream_);
    return memory_.back()->data();
  }

  const AttentionBackward& p_;
  cudaStream_t stream_;
  std::vector<std::unique_ptr<Scratch>> memory_;
  BackwardPointers x_{};
};

double block_ms(const AttentionSpec& s, double backward) {
  const auto width = static_cast<double>(s.h * s.d), tokens = static_cast<double>(s.b * s.s);
  return tokens * (72 * width * width / kProductRate + 100 * width / kBandwidth) * 1e3 + (1 + kForwardShare) * backward;
}

std::string shape_of(const AttentionSpec& s) {
  return "attention's backward (b " + std::to_string(s.b) + ", s " + std::to_string(s.s) + ", h " + std::to_string(s.h) + ", g " +
         std::to_string(s.g) + ", d " + std::to_string(s.d) + ")";
}

}  // namespace

std::optional<double> time_route(const Device& device, const AttentionBackward& p, const BackwardRoute& route) {
  try {
    return Tensors(p, device.stream).time(route);
  } catch (const sdk::Error& e) {
    if (e.code() != NEMO_CODE_OUT_OF_MEMORY) throw;
    return std::nullopt;
  }
}

namespace {

// Chooses between both times and says so; nothing was measured: `why`.
bool ordered_pays(const Device& device, const AttentionSpec& s, std::optional<double> free, std::optional<double> ordered,
                  const std::string& why) {
  bool pays = false;
  char words[160];
  if (free && ordered) {
    const double cost = (*ordered - *free) / block_ms(s, *free);
    pays = cost <= device.determinism_limit;
    std::snprintf(words, sizeof words, "%.3f ms in a fixed order, %.3f ms in any: %.1f %% of a step", *ordered, *free, 100 * cost);
  }
  sdk::log(pays ? NEMO_LOG_INFO : NEMO_LOG_WARNING, "backend:cuda",
           shape_of(s) + ": " + (free && ordered ? words : why) +
               (pays ? "; deterministic" : "; not deterministic, runs may differ in the last bits (trainer.deterministic=true insists)"));
  return pays;
}

}  // namespace

bool own_order_pays(const Device& device, const AttentionBackward& p, const std::shared_ptr<const CudnnPlan>& packed) {
  std::optional<double> free, ordered;
  try {
    Tensors tensors(p, device.stream);
    tensors.pack(8);
    PackedBackward backward(p, packed);
    free = tensors.time(backward.workspace(), [&](char* at) { backward.run(tensors.pointers(), device.stream, at); });
    ordered = tensors.time(own_backward_workspace(p), [&](char* at) { own_backward(p, tensors.pointers(), device.stream, at); });
  } catch (const sdk::Error& e) {
    if (e.code() != NEMO_CODE_OUT_OF_MEMORY) throw;
  }
  return ordered_pays(device, p.spec, free, ordered, "packed; no memory to time a fixed order");
}

bool fixed_order_pays(const Device& device, const AttentionBackward& p, const BackwardRoute& any, const BackwardRoute& fixed) {
  const uint64_t bytes = fixed.workspace();
  std::optional<double> free, ordered;
  if (bytes <= device.memory_bytes / kMemoryShare) free = time_route(device, p, any), ordered = time_route(device, p, fixed);
  return ordered_pays(device, p.spec, free, ordered, "a fixed order needs a workspace of " + std::to_string(bytes >> 20) + " MiB");
}

}  // namespace nemo::cuda
