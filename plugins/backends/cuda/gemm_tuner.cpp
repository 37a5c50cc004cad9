#include "gemm_tuner.hpp"

#include <algorithm>

#include "gemm_check.hpp"

namespace nemo::cuda {

namespace {

constexpr uint64_t kFlushBytes = uint64_t{128} << 20;  // more than the L2 of any Hopper GPU
constexpr int kRounds = 4;
constexpr float kHopeless = 1.25f;  // times the best so far: not tried again

// Device memory for the time of a search; nullptr where there is none.
class Scratch {
 public:
  explicit Scratch(int64_t bytes) {
    if (cudaMalloc(&data_, static_cast<size_t>(std::max<int64_t>(bytes, 256))) == cudaSuccess) return;
    cudaGetLastError();
    data_ = nullptr;
  }
  ~Scratch() { cudaFree(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

struct Timer {
  cudaEvent_t begin = nullptr, end = nullptr;
  Timer() {
    check(cudaEventCreate(&begin), "event");
    check(cudaEventCreate(&end), "event");
  }
  ~Timer() {
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
};

// Whether an algorithm's product is right: a part that is left out shows against the rounding of its elements.
class Check {
 public:
  Check(const Product& p, const Operands& o, uint64_t c_bytes, cudaStream_t stream)
      : p_(p), o_(o), c_bytes_(c_bytes), stream_(stream), samples_(2 * kSamples * static_cast<int64_t>(sizeof(float))) {
    applies_ = p.epilogue == Epilogue::none && size_of(p.ab) >= 2 && size_of(p.b_type()) >= 2 && samples_.data() != nullptr;
    if (applies_) compute_samples(p, o.a, o.b, data(), stream);
  }
  template <class F>
  bool passes(const F& run) const {
    if (!applies_) return true;
    check(cudaMemsetAsync(o_.c, 0, c_bytes_, stream_), "memset");
    if (run() != CUBLAS_STATUS_SUCCESS) return false;
    read_samples(p_, o_.c, data() + kSamples, stream_);
    float both[2 * kSamples];
    check(cudaMemcpyAsync(both, data(), sizeof both, cudaMemcpyDeviceToHost, stream_), "copy");
    check(cudaStreamSynchronize(stream_), "check of a matrix product");
    double off = 0, all = 0;
    for (int i = 0; i < kSamples; ++i) {
      const double delta = static_cast<double>(both[kSamples + i]) - static_cast<double>(both[i]);
      off += delta * delta, all += static_cast<double>(both[i]) * static_cast<double>(both[i]);
    }
    return off <= kTolerated * kTolerated * all;
  }

 private:
  static constexpr double kTolerated = 1.0 / 256;  // of the root of the mean square: bf16 results are off by a quarter of it
  float* data() const { return static_cast<float*>(samples_.data()); }
  const Product& p_;
  const Operands& o_;
  uint64_t c_bytes_;
  cudaStream_t stream_;
  Scratch samples_;
  bool applies_;
};

int64_t rows_of(Transpose t, int64_t rows, int64_t cols) { return t == Transpose::yes ? cols : rows; }

}  // namespace

std::optional<Fastest> fastest(const Product& p, const std::vector<cublasLtMatmulAlgo_t>& algorithms, const TryProduct& run,
                               uint64_t workspace_bytes, cudaStream_t stream) {
  const int64_t a = rows_of(p.ta, p.m, p.k) * p.lda, b = rows_of(p.tb, p.k, p.n) * p.ldb, c = p.m * p.ldc;
  const Scratch sa(a * size_of(p.ab)), sb(b * size_of(p.b_type())), sc(c * size_of(p.c)), bias(std::max(p.m, p.n) * 4),
      aux(p.m * p.ld_aux * size_of(p.c));
  const Scratch workspace(static_cast<int64_t>(workspace_bytes)), flush(kFlushBytes);
  for (const Scratch* s : {&sa, &sb, &sc, &bias, &aux, &workspace, &flush})
    if (s->data() == nullptr) return std::nullopt;
  fill_random(sa.data(), p.ab, a, 1, stream);
  fill_random(sb.data(), p.b_type(), b, 2, stream);
  fill_random(sc.data(), p.c, c, 3, stream);
  fill_random(bias.data(), p.c, p.n, 4, stream);
  fill_random(aux.data(), p.c, p.m * p.ld_aux, 5, stream);
  const Operands o{sa.data(), sb.data(), sc.data(), bias.data(), aux.data()};
  const Timer timer;
  std::vector<float> best(algorithms.size(), 1e30f);
  // Rounds over all candidates, so that a change of the clock meets all of them; the first warms up, the second sorts out the hopeless.
  const int rounds = algorithms.size() == 1 ? 2 : kRounds;  // a remembered one is only warmed up and timed
  for (int round = 0; round < rounds; ++round) {
    const float limit = round < 2 ? 1e30f : kHopeless * *std::min_element(best.begin(), best.end());
    for (size_t i = 0; i < algorithms.size(); ++i) {
      if (round >= 2 && best[i] > limit) continue;
      check(cudaMemsetAsync(flush.data(), round, kFlushBytes, stream), "memset");
      check(cudaEventRecord(timer.begin, stream), "event");
      const bool ran = run(algorithms[i], o, workspace.data()) == CUBLAS_STATUS_SUCCESS;
      check(cudaEventRecord(timer.end, stream), "event");
      check(cudaEventSynchronize(timer.end), "search of a matrix product's algorithm");
      float ms = 0;
      check(cudaEventElapsedTime(&ms, timer.begin, timer.end), "event");
      if (ran && round > 0) best[i] = std::min(best[i], ms);
    }
  }
  const Check right(p, o, static_cast<uint64_t>(c * size_of(p.c)), stream);
  for (bool ran = false;; ran = true) {
    const auto least = std::min_element(best.begin(), best.end());
    if (*least >= 1e30f) return ran ? std::optional(Fastest{algorithms.size(), 0}) : std::nullopt;
    const auto index = static_cast<size_t>(least - best.begin());
    if (right.passes([&] { return run(algorithms[index], o, workspace.data()); })) return Fastest{index, *least};
    *least = 1e30f;
  }
}

}  // namespace nemo::cuda
