#include "gemm.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include "gemm_tuner.hpp"

namespace nemo::cuda {

namespace {

constexpr uint64_t kWorkspaceLimit = uint64_t{32} << 20;  // what cuBLASLt wants on Hopper
constexpr int kCandidates = 32;

cudaDataType_t cuda_type(nemo_dtype d) {
  switch (d) {
    case NEMO_DTYPE_BF16:
      return CUDA_R_16BF;
    case NEMO_DTYPE_F16:
      return CUDA_R_16F;
    case NEMO_DTYPE_E4M3:
      return CUDA_R_8F_E4M3;
    case NEMO_DTYPE_E5M2:
      return CUDA_R_8F_E5M2;
    default:
      return CUDA_R_32F;
  }
}

bool is_8_bit(const Product& p) { return size_of(p.ab) == 1; }

struct EpilogueTraits {
  const char* name;
  cublasLtEpilogue_t word;
  bool bias, aux;
};
const EpilogueTraits& traits_of(Epilogue e) {
  static constexpr EpilogueTraits all[] = {
      {"", CUBLASLT_EPILOGUE_DEFAULT, false, false},         {"bias", CUBLASLT_EPILOGUE_BIAS, true, false},
      {"gelu", CUBLASLT_EPILOGUE_GELU, false, false},        {"gelu_bias", CUBLASLT_EPILOGUE_GELU_BIAS, true, false},
      {"gelu_aux", CUBLASLT_EPILOGUE_GELU_AUX, false, true}, {"gelu_aux_bias", CUBLASLT_EPILOGUE_GELU_AUX_BIAS, true, true},
      {"dgelu", CUBLASLT_EPILOGUE_DGELU, false, true}};
  return all[static_cast<size_t>(e)];
}

std::string key_of(const Product& p, uint32_t alignment) {
  std::string s = p.ta == Transpose::yes ? "t" : "n";
  s += p.tb == Transpose::yes ? "t" : "n";
  for (int64_t v : {p.m, p.n, p.k, p.lda, p.ldb, p.ldc}) s += "-" + std::to_string(v);
  s += "-" + std::string(name_of(p.ab)) + "-" + std::string(name_of(p.c));
  if (p.write == Write::accumulate) s += "-add";
  if (p.epilogue != Epilogue::none) s += "-" + std::string(traits_of(p.epilogue).name);
  if (p.ld_aux != 0) s += "-" + std::to_string(p.ld_aux);
  if (p.b != 0 && p.b != p.ab) s += "-" + std::string(name_of(p.b));
  if (p.arithmetic != Arithmetic::plain) s += p.arithmetic == Arithmetic::tf32 ? "-tf32" : "-fast";
  if (p.multiprocessors != 0) s += "-sm" + std::to_string(p.multiprocessors);
  return s + "-a" + std::to_string(alignment);
}

// The largest power of two up to 16 that divides the row pitch of every operand: what 16-byte aligned bases give.
uint32_t natural_alignment(const Product& p) {
  uint32_t a = 16;
  for (int64_t pitch : {p.lda * size_of(p.ab), p.ldb * size_of(p.b_type()), p.ldc * size_of(p.c)})
    while (pitch % a != 0) a /= 2;
  return a;
}

template <class T>
void set(const CublasLt& lt, cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check(lt.cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value), "matmul attribute");
}

}  // namespace

// Row-major C = op(A) op(B) is column-major C' = op(B)' op(A)': cuBLASLt's A is our B.
GemmPlan::GemmPlan(const CublasLt& lt, cublasLtHandle_t handle, const Product& p, uint32_t alignment)
    : lt_(lt), handle_(handle), product_(p), alignment_(alignment) {
  const cublasComputeType_t compute = p.arithmetic == Arithmetic::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  check(lt.cublasLtMatmulDescCreate(&desc_, compute, CUDA_R_32F), "matmul descriptor");
  if (p.arithmetic == Arithmetic::fast) set(lt, desc_, CUBLASLT_MATMUL_DESC_FAST_ACCUM, int8_t{1});
  if (p.multiprocessors != 0) set(lt, desc_, CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, p.multiprocessors);
  const cublasOperation_t op_a = p.tb == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N,
                          op_b = p.ta == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N;
  set(lt, desc_, CUBLASLT_MATMUL_DESC_TRANSA, op_a);
  set(lt, desc_, CUBLASLT_MATMUL_DESC_TRANSB, op_b);
  const EpilogueTraits& epilogue = traits_of(p.epilogue);
  set(lt, desc_, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue.word);
  if (epilogue.bias) set(lt, desc_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cuda_type(p.c));
  if (epilogue.aux) {
    set(lt, desc_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, cuda_type(p.c));
    set(lt, desc_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.ld_aux);
  }
  lay_out(&a_, p.b_type(), p.tb == Transpose::yes ? p.k : p.n, p.tb == Transpose::yes ? p.n : p.k, p.ldb);
  lay_out(&b_, p.ab, p.ta == Transpose::yes ? p.m : p.k, p.ta == Transpose::yes ? p.k : p.m, p.lda);
  lay_out(&c_, p.c, p.n, p.m, p.ldc);
}

void GemmPlan::lay_out(cublasLtMatrixLayout_t* layout, nemo_dtype dtype, int64_t rows, int64_t cols, int64_t ld) const {
  check(lt_.cublasLtMatrixLayoutCreate(layout, cuda_type(dtype), static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), ld),
        "matrix layout");
}

GemmPlan::~GemmPlan() {
  for (cublasLtMatrixLayout_t l : {a_, b_, c_})
    if (l != nullptr) lt_.cublasLtMatrixLayoutDestroy(l);
  if (desc_ != nullptr) lt_.cublasLtMatmulDescDestroy(desc_);
}

cublasStatus_t GemmPlan::enqueue(const Operands& o, const cublasLtMatmulAlgo_t& algo, void* workspace, uint64_t bytes,
                                 cudaStream_t stream) const {
  const float one = 1, beta = product_.write == Write::accumulate ? 1.0f : 0.0f;
  const EpilogueTraits& epilogue = traits_of(product_.epilogue);
  if (epilogue.bias) set(lt_, desc_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, o.bias);
  if (epilogue.aux) set(lt_, desc_, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, o.aux);
  if (is_8_bit(product_)) {
    set(lt_, desc_, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, o.b_scale);
    set(lt_, desc_, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, o.a_scale);
  }
  return lt_.cublasLtMatmul(handle_, desc_, &one, o.b, a_, o.a, b_, &beta, o.c, c_, o.c, c_, &algo, workspace, bytes, stream);
}

void GemmPlan::run(const Operands& o, void* workspace, cudaStream_t stream) const {
  check(enqueue(o, algo_, workspace, workspace_, stream), "matrix product");
}

bool GemmPlan::takes(const Operands& o) const {
  uintptr_t all = 0;
  for (const void* p : {o.a, o.b, static_cast<const void*>(o.c), o.bias, static_cast<const void*>(o.aux)})
    all |= reinterpret_cast<uintptr_t>(p);
  return all % alignment_ == 0;
}

uint64_t GemmPlans::workspace() const { return std::max(aligned->workspace(), any != nullptr ? any->workspace() : 0); }

void GemmPlans::run(const Operands& o, void* workspace, cudaStream_t stream) const {
  const bool fits = any == nullptr || aligned->takes(o);
  (fits ? aligned : any)->run(o, workspace, stream);
}

Gemm::Gemm(int ordinal, cudaStream_t stream, Autotune autotune)
    : lt_(CublasLt::get()), stream_(stream), autotune_(autotune), cache_([&] {
        cudaDeviceProp properties{};
        check(cudaGetDeviceProperties(&properties, ordinal), "device properties");
        std::string name = "cublaslt-" + std::to_string(lt_.cublasLtGetVersion()) + "-" + properties.name + ".txt";
        std::replace(name.begin(), name.end(), ' ', '_');
        return GemmCache(name);
      }()) {
  check(lt_.cublasLtCreate(&handle_), "cublasLtCreate");
}

Gemm::~Gemm() {
  plans_.clear();
  if (handle_ != nullptr) lt_.cublasLtDestroy(handle_);
}

GemmPlans Gemm::plan(const Product& p) {
  const uint32_t alignment = natural_alignment(p);
  const uint32_t least = static_cast<uint32_t>(size_of(p.ab));
  GemmPlans plans{make(p, alignment, autotune_), nullptr};
  if (alignment > least && !is_8_bit(p)) plans.any = make(p, least, Autotune::off);
  return plans;
}

std::shared_ptr<const GemmPlan> Gemm::plan_fused(const Product& p) {
  if (natural_alignment(p) < 16 || p.ld_aux % 8 != 0) return nullptr;
  try {
    return make(p, 16, autotune_);
  } catch (const sdk::Error& e) {
    if (e.code() != NEMO_CODE_UNSUPPORTED) throw;
    return nullptr;
  }
}

void SearchTime::add(double more) {
  ++products;
  seconds += more;
  constexpr double kEvery = 5;
  if (seconds < told + kEvery) return;
  told = seconds;
  char line[128];
  std::snprintf(line, sizeof line, "searched algorithms of %lld matrix products for %.0f s; they are remembered",
                static_cast<long long>(products), seconds);
  sdk::log(NEMO_LOG_INFO, "backend:cuda", line);
}

std::shared_ptr<const GemmPlan> Gemm::make(const Product& asked, uint32_t alignment, Autotune autotune) {
  Product p = asked;
  p.multiprocessors = multiprocessors_;
  const std::string key = key_of(p, alignment);
  if (const auto it = plans_.find(key); it != plans_.end()) return it->second;
  const std::shared_ptr<GemmPlan> plan(new GemmPlan(lt_, handle_, p, alignment));
  choose(*plan, key, autotune);
  plans_[key] = plan;
  return plan;
}

// cuBLASLt's proposals, best first. Throws UNSUPPORTED where there is none.
std::vector<cublasLtMatmulHeuristicResult_t> Gemm::proposals(const GemmPlan& plan, const std::string& key, int most) const {
  cublasLtMatmulPreference_t preference = nullptr;
  check(lt_.cublasLtMatmulPreferenceCreate(&preference), "matmul preference");
  lt_.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspaceLimit, sizeof kWorkspaceLimit);
  // Split products add their parts in f32, never in a bf16 result.
  const uint32_t reductions = plan.product_.c == NEMO_DTYPE_F32 ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_INPLACE
                                                                : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  lt_.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions);
  for (auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                         CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    lt_.cublasLtMatmulPreferenceSetAttribute(preference, attribute, &plan.alignment_, sizeof plan.alignment_);
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<size_t>(most));
  int count = 0;
  const cublasStatus_t status =
      lt_.cublasLtMatmulAlgoGetHeuristic(handle_, plan.desc_, plan.a_, plan.b_, plan.c_, plan.c_, preference, most, found.data(), &count);
  lt_.cublasLtMatmulPreferenceDestroy(preference);
  if (status != CUBLAS_STATUS_SUCCESS || count == 0)
    throw sdk::Error(NEMO_CODE_UNSUPPORTED, "cuda backend: cuBLASLt has no algorithm for the product " + key);
  found.resize(static_cast<size_t>(count));
  return found;
}

// Takes the remembered algorithm where the library still accepts it.
bool Gemm::recall(GemmPlan& plan, const std::string& key) const {
  const auto known = cache_.find(key);
  if (!known) return false;
  cublasLtMatmulHeuristicResult_t result{};
  if (lt_.cublasLtMatmulAlgoCheck(handle_, plan.desc_, plan.a_, plan.b_, plan.c_, plan.c_, &*known, &result) != CUBLAS_STATUS_SUCCESS ||
      result.workspaceSize > kWorkspaceLimit)
    return false;
  plan.algo_ = *known;
  plan.workspace_ = align_up(result.workspaceSize);
  return true;
}

// A remembered algorithm; or the fastest of cuBLASLt's proposals on random data; or its first proposal. The chosen one runs once, so that
// its code is loaded before memory is planned.
void Gemm::choose(GemmPlan& plan, const std::string& key, Autotune autotune) {
  const auto run = [&](const cublasLtMatmulAlgo_t& algo, const Operands& o, void* workspace) {
    return plan.enqueue(o, algo, workspace, kWorkspaceLimit, stream_);
  };
  if (autotune == Autotune::on && recall(plan, key)) {
    const auto timed = fastest(plan.product_, {plan.algo_}, run, kWorkspaceLimit, stream_);
    if (timed) plan.milliseconds_ = timed->milliseconds;
    if (!timed || timed->index == 0) return;  // else remembered before products were checked
  }
  const auto found = proposals(plan, key, autotune == Autotune::on ? kCandidates : 1);
  size_t best = 0;
  if (autotune == Autotune::on) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<cublasLtMatmulAlgo_t> algorithms;
    algorithms.reserve(found.size());
    for (const auto& f : found) algorithms.push_back(f.algo);
    if (const auto measured = fastest(plan.product_, algorithms, run, kWorkspaceLimit, stream_)) {
      if (measured->index == algorithms.size())
        throw sdk::Error(NEMO_CODE_UNSUPPORTED, "cuda backend: cuBLASLt's algorithms give a wrong product for " + key);
      best = measured->index;
      plan.milliseconds_ = measured->milliseconds;
      cache_.add(key, algorithms[best]);
    }
    searched_.add(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  plan.algo_ = found[best].algo;
  plan.workspace_ = align_up(found[best].workspaceSize);
}

}  // namespace nemo::cuda
