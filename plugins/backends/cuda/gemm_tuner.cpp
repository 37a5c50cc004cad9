#include "gemm_tuner.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cmath>

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
  const auto least = std::min_element(best.begin(), best.end());
  if (*least >= 1e30f) return std::nullopt;
  if (std::getenv("NEMO_GEMM_AUDIT") != nullptr && p.k >= 50000 && p.m <= 64 && p.c == NEMO_DTYPE_BF16) {
    const auto n = static_cast<size_t>(p.m * p.n);
    std::vector<std::vector<float>> results;
    for (size_t i = 0; i < algorithms.size(); ++i) {
      std::vector<float> r(n, 0.0f);
      if (best[i] < 1e30f && run(algorithms[i], o, workspace.data()) == CUBLAS_STATUS_SUCCESS) {
        std::vector<uint16_t> raw(static_cast<size_t>(c));
        check(cudaStreamSynchronize(stream), "audit");
        check(cudaMemcpy(raw.data(), sc.data(), raw.size() * 2, cudaMemcpyDeviceToHost), "audit");
        for (int64_t y = 0; y < p.m; ++y)
          for (int64_t x = 0; x < p.n; ++x) {
            const uint32_t bits = static_cast<uint32_t>(raw[static_cast<size_t>(y * p.ldc + x)]) << 16;
            __builtin_memcpy(&r[static_cast<size_t>(y * p.n + x)], &bits, 4);
          }
      }
      results.push_back(std::move(r));
    }
    std::vector<float> median(n);
    for (size_t e = 0; e < n; ++e) {
      std::vector<float> v;
      for (const auto& r : results) v.push_back(r[e]);
      std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
      median[e] = v[v.size() / 2];
    }
    for (size_t i = 0; i < algorithms.size(); ++i) {
      int id = -1, tile = -1, split = -1, stages = -1;
      uint32_t scheme = 0;
      size_t written = 0;
      const CublasLt& lt = CublasLt::get();
      lt.cublasLtMatmulAlgoConfigGetAttribute(&algorithms[i], CUBLASLT_ALGO_CONFIG_ID, &id, sizeof id, &written);
      lt.cublasLtMatmulAlgoConfigGetAttribute(&algorithms[i], CUBLASLT_ALGO_CONFIG_TILE_ID, &tile, sizeof tile, &written);
      lt.cublasLtMatmulAlgoConfigGetAttribute(&algorithms[i], CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split, sizeof split, &written);
      lt.cublasLtMatmulAlgoConfigGetAttribute(&algorithms[i], CUBLASLT_ALGO_CONFIG_STAGES_ID, &stages, sizeof stages, &written);
      lt.cublasLtMatmulAlgoConfigGetAttribute(&algorithms[i], CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme, sizeof scheme, &written);
      float worst = 0, top = 0;
      for (size_t e = 0; e < n; ++e) worst = std::max(worst, std::abs(results[i][e] - median[e])), top = std::max(top, std::abs(median[e]));
      std::fprintf(stderr, "audit m %lld n %lld k %lld: %zu id %d tile %d stages %d split %d scheme %u: %.4f ms, off median %.4g of %.4g\n", (long long)p.m, (long long)p.n,
                   (long long)p.k, i, id, tile, stages, split, scheme, best[i], worst, top);
    }
  }
  if (const char* way = std::getenv("NEMO_GEMM_SUSTAINED"); way != nullptr && algorithms.size() > 1) {
    // Finalists under load: the clock that power allows differs between them.
    std::vector<size_t> finalists;
    for (size_t i = 0; i < algorithms.size(); ++i)
      if (best[i] <= 1.06f * *least) finalists.push_back(i);
    std::sort(finalists.begin(), finalists.end(), [&](size_t l, size_t r) { return best[l] < best[r]; });
    if (finalists.size() > 4) finalists.resize(4);
    std::vector<double> sustained(algorithms.size(), 1e30);
    if (finalists.size() > 1) {
      const int runs = std::max(4, static_cast<int>(20.0f / *least));
      const auto many = [&](size_t i, int n) {
        for (int r = 0; r < n; ++r) run(algorithms[i], o, workspace.data());
      };
      many(finalists[0], 3 * runs);
      std::vector<double> total(algorithms.size(), 0);
      for (int round = 0; round < 3; ++round)
        for (size_t i : finalists) {
          many(i, runs / 4);
          check(cudaEventRecord(timer.begin, stream), "event");
          many(i, runs);
          check(cudaEventRecord(timer.end, stream), "event");
          many(i, runs / 4);  // keeps the device busy while the host waits
          check(cudaEventSynchronize(timer.end), "search");
          float ms = 0;
          check(cudaEventElapsedTime(&ms, timer.begin, timer.end), "event");
          total[i] += ms / runs / 3;
        }
      size_t winner = finalists[0];
      for (size_t i : finalists)
        if (total[i] < total[winner]) winner = i;
      std::fprintf(stderr, "sustained m %lld n %lld k %lld ta %d tb %d add %d epi %d:", (long long)p.m, (long long)p.n, (long long)p.k, (int)p.ta, (int)p.tb,
                   (int)p.write, (int)p.epilogue);
      for (size_t i : finalists) std::fprintf(stderr, " %s%.4f/%.4f", i == winner ? "*" : "", best[i], total[i]);
      std::fprintf(stderr, "\n");
      return Fastest{winner, best[winner]};
    }
  }
  return Fastest{static_cast<size_t>(least - best.begin()), *least};
}

}  // namespace nemo::cuda
