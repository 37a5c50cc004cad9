#include "attention_order.hpp"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "../gemm_tuner.hpp"

namespace nemo::cuda {

namespace {

constexpr double kProductRate = 7e14, kBandwidth = 2.8e12;  // flops and bytes per second
constexpr double kForwardShare = 0.4;                       // attention's forward over its backward
constexpr uint64_t kMemoryShare = 10;                       // the workspace may take a tenth of the device
constexpr int kLaunches = 4;

// Device memory for a measurement; throws OUT_OF_MEMORY.
class Scratch {
 public:
  explicit Scratch(uint64_t bytes) { check(cudaMalloc(&data_, std::max<uint64_t>(bytes, 256)), "memory to time attention"); }
  ~Scratch() { cudaFree(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

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
    const Scratch workspace(route.workspace());
    char* at = static_cast<char*>(workspace.data());
    cudaEvent_t begin = nullptr, end = nullptr;
    check(cudaEventCreate(&begin), "event");
    check(cudaEventCreate(&end), "event");
    route.run(binding, x_, stream_, at);
    check(cudaEventRecord(begin, stream_), "event");
    for (int i = 0; i < kLaunches; ++i) route.run(binding, x_, stream_, at);
    check(cudaEventRecord(end, stream_), "event");
    check(cudaEventSynchronize(end), "time of attention");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "event");
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return ms / kLaunches;
  }

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

bool fixed_order_pays(const Device& device, const AttentionBackward& p, const BackwardRoute& any, const BackwardRoute& fixed) {
  const uint64_t bytes = fixed.workspace();
  char words[160];
  std::optional<double> free, ordered;
  if (bytes <= device.memory_bytes / kMemoryShare) free = time_route(device, p, any), ordered = time_route(device, p, fixed);
  bool pays = false;
  if (free && ordered) {
    const double cost = (*ordered - *free) / block_ms(p.spec, *free);
    pays = cost <= device.determinism_limit;
    std::snprintf(words, sizeof words, "%.3f ms in a fixed order, %.3f ms in any: %.1f %% of a step", *ordered, *free, 100 * cost);
  } else {
    std::snprintf(words, sizeof words, "a fixed order needs a workspace of %llu MiB", static_cast<unsigned long long>(bytes >> 20));
  }
  sdk::log(pays ? NEMO_LOG_INFO : NEMO_LOG_WARNING, "backend:cuda",
           shape_of(p.spec) + ": " + words +
               (pays ? "; deterministic" : "; not deterministic, runs may differ in the last bits (trainer.deterministic=true insists)"));
  return pays;
}

}  // namespace nemo::cuda
