#include "attention_check.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <vector>

#include "../gemm_tuner.hpp"
#include "attention_own.hpp"
#include "scratch.hpp"

namespace nemo::cuda {

namespace {

constexpr int64_t kRows = 2, kTokens = 320, kDocuments = 5;
constexpr double kHalfBound = 1.0 / 64, kLseBound = 1.0 / 8192;

// The problem with few tokens, each tensor as dense between rows as it is within one.
Heads few(const Heads& x, int64_t tokens) { return {tokens * x.position, x.position, x.head}; }
AttentionSpec few(AttentionSpec s) {
  s.b = std::min(s.b, kRows);
  s.s = s.t = std::min(s.s, kTokens);
  return s;
}

// Tensors of one trial, freed together.
class Trial {
 public:
  Trial(const AttentionSpec& s, cudaStream_t stream) : s_(s), stream_(stream) {}

  void* random(const Heads& x) {
    void* data = memory(elements(x) * 2);
    fill_random(data, s_.dtype, elements(x), static_cast<uint32_t>(memory_.size()), stream_);
    return data;
  }
  void* unset(const Heads& x) { return memory(elements(x) * 2); }
  float* rows() { return static_cast<float*>(memory(s_.b * s_.h * s_.s * 4)); }
  // Filled with NaNs.
  void* memory(int64_t bytes) {
    memory_.push_back(std::make_unique<Scratch>(static_cast<uint64_t>(bytes)));
    check(cudaMemsetAsync(memory_.back()->data(), 0xff, static_cast<size_t>(bytes), stream_), "packed attention's check");
    return memory_.back()->data();
  }
  const int32_t* segments() {
    std::vector<int32_t> numbers;
    for (int64_t i = 0; i < s_.b * s_.s; ++i) {
      const int64_t at = i % s_.s;
      numbers.push_back(static_cast<int32_t>(at * at * kDocuments / (s_.s * s_.s)));
    }
    void* data = memory(static_cast<int64_t>(numbers.size() * sizeof(int32_t)));
    check(cudaStreamSynchronize(stream_), "packed attention's check");
    check(cudaMemcpy(data, numbers.data(), numbers.size() * sizeof(int32_t), cudaMemcpyHostToDevice), "packed attention's check");
    return static_cast<const int32_t*>(data);
  }

  // |a - b| / |b| over the elements of [b s heads features]; infinite where one is not finite.
  double distance(const void* a, const void* b, const Heads& x, int64_t heads, int64_t features) const {
    const std::vector<uint16_t> left = fetch<uint16_t>(a, elements(x)), right = fetch<uint16_t>(b, elements(x));
    double difference = 0, size = 0;
    for (int64_t row = 0; row < s_.b; ++row)
      for (int64_t i = 0; i < s_.s; ++i)
        for (int64_t h = 0; h < heads; ++h)
          for (int64_t c = 0; c < features; ++c) {
            const auto at = static_cast<size_t>(row * x.batch + i * x.position + h * x.head + c);
            add(value(left[at]), value(right[at]), difference, size);
          }
    return result(difference, size);
  }
  double row_distance(const float* a, const float* b) const {
    const std::vector<float> left = fetch<float>(a, s_.b * s_.h * s_.s), right = fetch<float>(b, s_.b * s_.h * s_.s);
    double difference = 0, size = 0;
    for (size_t i = 0; i < left.size(); ++i) add(left[i], right[i], difference, size);
    return result(difference, size);
  }

 private:
  int64_t elements(const Heads& x) const { return s_.b * s_.s * x.position; }
  double value(uint16_t bits) const {
    if (s_.dtype == NEMO_DTYPE_BF16) return __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{bits}));
    return __half2float(__half(__half_raw{bits}));
  }
  static void add(double a, double b, double& difference, double& size) {
    difference += (a - b) * (a - b);
    size += b * b;
  }
  static double result(double difference, double size) {
    if (!std::isfinite(difference) || !std::isfinite(size)) return INFINITY;
    return difference == 0 ? 0 : std::sqrt(difference / size);
  }
  template <class T>
  std::vector<T> fetch(const void* data, int64_t n) const {
    std::vector<T> values(static_cast<size_t>(n));
    check(cudaStreamSynchronize(stream_), "packed attention's check");
    check(cudaMemcpy(values.data(), data, values.size() * sizeof(T), cudaMemcpyDeviceToHost), "packed attention's check");
    return values;
  }

  const AttentionSpec& s_;
  cudaStream_t stream_;
  std::vector<std::unique_ptr<Scratch>> memory_;
};

struct Found {
  const char* name;
  double distance, bound;
};

// f() gives what was found.
template <class F>
void judge(F&& f) {
  std::string why;
  try {
    for (const Found& found : f())
      if (!(found.distance <= found.bound))
        why = std::string(found.name) + " is off by " + std::to_string(found.distance) + " of its norm, allowed are " +
              std::to_string(found.bound);
  } catch (const sdk::Error& e) {
    if (e.code() != NEMO_CODE_OUT_OF_MEMORY) throw;
    why = e.what();
  }
  if (why.empty()) return;
  why = "packed attention by cuDNN failed its check: " + why + "; the own kernels are taken";
  sdk::log(NEMO_LOG_WARNING, "backend:cuda", why);
  throw sdk::Error(NEMO_CODE_UNSUPPORTED, why);
}

}  // namespace

void check_packed(const Device& device, const std::shared_ptr<const Cudnn>& cudnn, const AttentionForward& f) {
  AttentionForward p = f;
  p.spec = few(f.spec);
  for (Heads* x : {&p.q, &p.k, &p.v, &p.o}) *x = few(*x, p.spec.s);
  const AttentionSpec& s = p.spec;
  judge([&] {
    Trial trial(s, device.stream);
    ForwardPointers x{trial.random(p.q), trial.random(p.k), trial.random(p.v), trial.segments(), trial.unset(p.o), trial.rows()}, own = x;
    own.o = trial.unset(p.o), own.lse = trial.rows();
    PackedForward packed(p, build_packed_forward(cudnn, p));
    packed.run(x, device.stream, trial.memory(static_cast<int64_t>(packed.workspace())));
    own_forward(p, own, device.stream);
    return std::vector<Found>{{"o", trial.distance(x.o, own.o, p.o, s.h, s.e), kHalfBound},
                              {"lse", trial.row_distance(x.lse, own.lse), kLseBound}};
  });
}

void check_packed(const Device& device, const std::shared_ptr<const Cudnn>& cudnn, const AttentionBackward& f) {
  AttentionBackward p = f;
  p.spec = few(f.spec);
  for (Heads* x : {&p.dout, &p.q, &p.k, &p.v, &p.o, &p.dq, &p.dk, &p.dv}) *x = few(*x, p.spec.s);
  const AttentionSpec& s = p.spec;
  judge([&] {
    Trial trial(s, device.stream);
    const void *q = trial.random(p.q), *k = trial.random(p.k), *v = trial.random(p.v), *dout = trial.random(p.dout);
    const int32_t* segments = trial.segments();
    void* o = trial.unset(p.o);
    float* lse = trial.rows();
    own_forward({s, p.q, p.k, p.v, p.o}, {q, k, v, segments, o, lse}, device.stream);
    const BackwardPointers x{dout, q, k, v, o, lse, segments, trial.unset(p.dq), trial.unset(p.dk), trial.unset(p.dv)};
    BackwardPointers own = x;
    own.dq = trial.unset(p.dq), own.dk = trial.unset(p.dk), own.dv = trial.unset(p.dv);
    PackedBackward packed(p, build_packed_backward(cudnn, p));
    packed.run(x, device.stream, trial.memory(static_cast<int64_t>(packed.workspace())));
    own_backward(p, own, device.stream, trial.memory(static_cast<int64_t>(own_backward_workspace(p))));
    return std::vector<Found>{{"dq", trial.distance(x.dq, own.dq, p.dq, s.h, s.d), kHalfBound},
                              {"dk", trial.distance(x.dk, own.dk, p.dk, s.g, s.d), kHalfBound},
                              {"dv", trial.distance(x.dv, own.dv, p.dv, s.g, s.e), kHalfBound}};
  });
}

}  // namespace nemo::cuda
