// Routing of a mixture of experts: moe_route, moe_load, moe_balance, moe_z_loss and gradients. A warp takes a token and keeps its scores in
// shared memory; what is written is small beside the experts' products. Everything in f32, sums over tokens in f64 or by parts in a fixed
// order.
#include <string>

#include "../mixture_fault.hpp"
#include "kernels/device.cuh"

namespace nemo::cuda {

namespace {

constexpr int kWarps = 4, kMostChosen = 32;
constexpr int64_t kMostExperts = 1024;
constexpr unsigned kAll = 0xffffffffu;

enum class Score { softmax, sigmoid };

Score score_of(const Node& node) {
  const std::string_view name = node.string("score");
  if (name == "softmax") return Score::softmax;
  if (name != "sigmoid") node.refuse("unknown score \"" + std::string(name) + "\"");
  return Score::sigmoid;
}

// Contiguous tensors, and experts of which a warp's scores fit in shared memory.
void check_router(const Node& node, size_t inputs, size_t outputs) {
  for (size_t i = 0; i < inputs; ++i) node.need_contiguous(node.in(i));
  for (size_t i = 0; i < outputs; ++i) node.need_contiguous(node.out(i));
  if (node.size('e') > kMostExperts) node.refuse("more than " + std::to_string(kMostExperts) + " experts have no kernel");
}

__device__ __forceinline__ int lane_id() { return static_cast<int>(threadIdx.x) % 32; }
__device__ __forceinline__ int warp_id() { return static_cast<int>(threadIdx.x) / 32; }
__device__ __forceinline__ int64_t token_of_warp() { return static_cast<int64_t>(blockIdx.x) * kWarps + warp_id(); }

__device__ __forceinline__ float warp_sum(float x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kAll, x, step));
  return x;
}

__device__ float log_sum_exp(const float* x, int e) {
  float top = -INFINITY, sum = 0;
  for (int i = lane_id(); i < e; i += 32) top = fmaxf(top, x[i]);
  top = warp_max(top);
  for (int i = lane_id(); i < e; i += 32) sum += expf(x[i] - top);
  return top + logf(warp_sum(sum));
}

// Lane i writes and later reads p[i], p[i + 32], ...
__device__ void scores(Score score, const float* logits, int e, float* p) {
  if (score == Score::sigmoid) {
    for (int i = lane_id(); i < e; i += 32) p[i] = 1.0f / (1.0f + expf(-logits[i]));
  } else {
    float top = -INFINITY, sum = 0;
    for (int i = lane_id(); i < e; i += 32) top = fmaxf(top, logits[i]);
    top = warp_max(top);
    for (int i = lane_id(); i < e; i += 32) sum += p[i] = expf(logits[i] - top);
    const float factor = 1.0f / warp_sum(sum);
    for (int i = lane_id(); i < e; i += 32) p[i] *= factor;
  }
  __syncwarp();
}

// dp to dlogits through the scores.
__device__ void scores_grad(Score score, const float* p, const float* dp, int e, float* dlogits) {
  if (score == Score::sigmoid) {
    for (int i = lane_id(); i < e; i += 32) dlogits[i] = dp[i] * p[i] * (1.0f - p[i]);
    return;
  }
  float dot = 0;
  for (int i = lane_id(); i < e; i += 32) dot += dp[i] * p[i];
  dot = warp_sum(dot);
  for (int i = lane_id(); i < e; i += 32) dlogits[i] = p[i] * (dp[i] - dot);
}

// Place of the largest of n values that is above -infinity, the first of equals; -1: there is none. The same in every lane.
__device__ int first_largest(const float* x, int n) {
  float top = -INFINITY;
  int best = -1;
  for (int i = lane_id(); i < n; i += 32)
    if (x[i] > top) top = x[i], best = i;
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(kAll, top, step);
    const int place = __shfl_xor_sync(kAll, best, step);
    if (place >= 0 && (best < 0 || other > top || (other == top && place < best))) top = other, best = place;
  }
  return best;
}

struct Choice {
  int e, k, groups, group_topk, group_top;
  bool renormalize;
  float scaling;
  Score score;
};

__device__ void set(float* x, int at, float value) {
  __syncwarp();
  if (lane_id() == 0) x[at] = value;
  __syncwarp();
}

// Leaves -infinity in `judged` where the group is not among the best. `sums` has room for the groups, `copy` for one group.
__device__ void keep_best_groups(const Choice& c, float* judged, float* sums, float* copy) {
  const int size = c.e / c.groups;
  for (int g = 0; g < c.groups; ++g) {
    for (int i = lane_id(); i < size; i += 32) copy[i] = judged[g * size + i];
    __syncwarp();
    float sum = 0;
    for (int i = 0; i < c.group_top; ++i) {
      const int at = first_largest(copy, size);
      if (at < 0) break;
      sum += copy[at];
      set(copy, at, -INFINITY);
    }
    set(sums, g, sum);
  }
  for (int i = 0; i < c.group_topk; ++i)
    if (const int g = first_largest(sums, c.groups); g >= 0) set(sums, g, -INFINITY);
  for (int i = lane_id(); i < c.e; i += 32)
    if (sums[i / size] != -INFINITY) judged[i] = -INFINITY;
  __syncwarp();
}

__global__ void __launch_bounds__(32 * kWarps)
    route_kernel(const Choice c, const float* logits, const float* bias, int64_t tokens, float* weights, int32_t* experts, int* fault) {
  extern __shared__ float shared[];
  const int64_t t = token_of_warp();
  if (t >= tokens) return;
  float *p = shared + warp_id() * 4 * c.e, *judged = p + c.e, *sums = judged + c.e, *copy = sums + c.e;
  scores(c.score, logits + t * c.e, c.e, p);
  for (int i = lane_id(); i < c.e; i += 32) judged[i] = bias != nullptr ? p[i] + bias[i] : p[i];
  __syncwarp();
  if (c.groups > 1) keep_best_groups(c, judged, sums, copy);
  float sum = 0, own = 0;
  int own_expert = 0;
  for (int i = 0; i < c.k; ++i) {
    const int best = first_largest(judged, c.e);
    if (best < 0) {
      *fault = static_cast<int>(kRouterFault);
      break;
    }
    const float weight = p[best];
    if (lane_id() == i) own = weight, own_expert = best;
    sum += weight;
    set(judged, best, -INFINITY);
  }
  const float factor = c.scaling / (c.renormalize ? sum + 1e-20f : 1.0f);
  if (lane_id() < c.k) {
    weights[t * c.k + lane_id()] = own * factor;
    experts[t * c.k + lane_id()] = own_expert;
  }
}

__global__ void __launch_bounds__(32 * kWarps)
    route_grad_kernel(const Choice c, const float* dweights, const float* logits, const int32_t* experts, int64_t tokens, float* dlogits) {
  extern __shared__ float shared[];
  const int64_t t = token_of_warp();
  if (t >= tokens) return;
  float *p = shared + warp_id() * 2 * c.e, *dp = p + c.e;
  const int32_t* chosen = experts + t * c.k;
  const float* dw = dweights + t * c.k;
  scores(c.score, logits + t * c.e, c.e, p);
  float sum = 0, dot = 0;
  for (int i = 0; i < c.k; ++i) sum += p[chosen[i]];
  for (int i = 0; i < c.k; ++i) dot += dw[i] * p[chosen[i]] / sum;
  for (int i = lane_id(); i < c.e; i += 32) dp[i] = 0;
  __syncwarp();
  if (lane_id() == 0)
    for (int i = 0; i < c.k; ++i) dp[chosen[i]] = c.scaling * (c.renormalize ? (dw[i] - dot) / sum : dw[i]);
  __syncwarp();
  scores_grad(c.score, p, dp, c.e, dlogits + t * c.e);
}

// Sums over parts of the tokens: prob[n][parts][e] and choices[n][parts][e].
struct Load {
  int64_t tokens, per_part;
  int e, k, parts;
  Score score;
  const float* logits;
  const int32_t* experts;
  float *prob, *choices;
};

__global__ void __launch_bounds__(32 * kWarps) load_kernel(const Load a) {
  extern __shared__ float shared[];
  float *p = shared + warp_id() * 2 * a.e, *sum = p + a.e;
  auto* counts = reinterpret_cast<int32_t*>(shared + kWarps * 2 * a.e);
  const int64_t n = blockIdx.y, begin = blockIdx.x * a.per_part, end = min(a.tokens, begin + a.per_part);
  for (int i = lane_id(); i < a.e; i += 32) sum[i] = 0;
  for (int i = static_cast<int>(threadIdx.x); i < a.e; i += 32 * kWarps) counts[i] = 0;
  __syncthreads();
  for (int64_t t = begin + warp_id(); t < end; t += kWarps) {
    scores(a.score, a.logits + (n * a.tokens + t) * a.e, a.e, p);
    float total = 1;
    if (a.score == Score::sigmoid) {
      float own = 0;
      for (int i = lane_id(); i < a.e; i += 32) own += p[i];
      total = warp_sum(own) + 1e-20f;
    }
    for (int i = lane_id(); i < a.e; i += 32) sum[i] += p[i] / total;
    for (int i = lane_id(); i < a.k; i += 32) {
      const int32_t expert = a.experts[(n * a.tokens + t) * a.k + i];
      if (expert >= 0 && expert < a.e) atomicAdd(&counts[expert], 1);
    }
  }
  __syncthreads();
  const int64_t to = (n * a.parts + blockIdx.x) * a.e;
  for (int i = static_cast<int>(threadIdx.x); i < a.e; i += 32 * kWarps) {
    float total = 0;
    for (int w = 0; w < kWarps; ++w) total += shared[(w * 2 + 1) * a.e + i];
    a.prob[to + i] = total;
    a.choices[to + i] = static_cast<float>(counts[i]);
  }
}

__device__ double warp_sum(double x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  return x;
}

// A warp per value.
__global__ void load_total_kernel(const Load a, int64_t values, float* prob, float* load) {
  const int64_t i = token_of_warp();
  if (i >= values) return;
  const int64_t n = i / a.e, at = n * a.parts * a.e + i % a.e;
  double total = 0, choices = 0;
  for (int part = lane_id(); part < a.parts; part += 32) total += a.prob[at + part * a.e], choices += a.choices[at + part * a.e];
  total = warp_sum(total), choices = warp_sum(choices);
  if (lane_id() == 0) prob[i] = static_cast<float>(total), load[i] = static_cast<float>(choices);
}

__global__ void __launch_bounds__(32 * kWarps)
    load_grad_kernel(Score score, const float* dprob, const float* logits, int64_t all, int64_t tokens, int e, float* dlogits) {
  extern __shared__ float shared[];
  const int64_t t = token_of_warp();
  if (t >= all) return;
  float *p = shared + warp_id() * 2 * e, *dp = p + e;
  const float* up = dprob + t / tokens * e;
  scores(score, logits + t * e, e, p);
  float total = 1, dot = 0;
  if (score == Score::sigmoid) {
    float own = 0;
    for (int i = lane_id(); i < e; i += 32) own += p[i];
    total = warp_sum(own) + 1e-20f;
    for (int i = lane_id(); i < e; i += 32) dot += up[i] * p[i] / total;
    dot = warp_sum(dot);
  }
  for (int i = lane_id(); i < e; i += 32) dp[i] = (up[i] - dot) / total;
  scores_grad(score, p, dp, e, dlogits + t * e);
}

// One warp.
__global__ void balance_kernel(const float* prob, const float* load, int64_t n, int e, float* loss) {
  double total = 0;
  for (int64_t r = 0; r < n; ++r) {
    double sum = 0, choices = 0;
    for (int i = lane_id(); i < e; i += 32) {
      const double l = load[r * e + i];
      sum += prob[r * e + i] * l, choices += l;
    }
    sum = warp_sum(sum), choices = warp_sum(choices);
    total += e * sum / fmax(choices, 1.0);
  }
  if (threadIdx.x == 0) *loss = static_cast<float>(total);
}

// A warp per part of the batch.
__global__ void balance_grad_kernel(const float* dloss, const float* load, int e, float* dprob) {
  load += static_cast<int64_t>(blockIdx.x) * e, dprob += static_cast<int64_t>(blockIdx.x) * e;
  float choices = 0;
  for (int i = lane_id(); i < e; i += 32) choices += load[i];
  const float factor = *dloss * static_cast<float>(e) / fmaxf(warp_sum(choices), 1.0f);
  for (int i = lane_id(); i < e; i += 32) dprob[i] = factor * load[i];
}

constexpr int kSumBlocks = 256;

__global__ void __launch_bounds__(32 * kWarps) z_loss_kernel(const float* logits, int64_t tokens, int e, double* partial) {
  __shared__ double sums[kWarps];
  double sum = 0;
  for (int64_t t = token_of_warp(); t < tokens; t += static_cast<int64_t>(gridDim.x) * kWarps) {
    const float lse = log_sum_exp(logits + t * e, e);
    sum += static_cast<double>(lse * lse);
  }
  if (lane_id() == 0) sums[warp_id()] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = 0;
  for (const double s : sums) sum += s;
  partial[blockIdx.x] = sum;
}

__global__ void z_loss_total_kernel(const double* partial, float* loss) {
  double sum = 0;
  for (int i = lane_id(); i < kSumBlocks; i += 32) sum += partial[i];
  sum = warp_sum(sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(sum);
}

__global__ void __launch_bounds__(32 * kWarps)
    z_loss_grad_kernel(const float* dloss, const float* logits, int64_t tokens, int e, float* dlogits) {
  const int64_t t = token_of_warp();
  if (t >= tokens) return;
  const float *x = logits + t * e, lse = log_sum_exp(x, e), factor = 2.0f * lse * *dloss;
  for (int i = lane_id(); i < e; i += 32) dlogits[t * e + i] = factor * expf(x[i] - lse);
}

Choice choice_of(const Node& node) {
  Choice c{};
  c.e = static_cast<int>(node.size('e')), c.k = static_cast<int>(node.size('k'));
  c.renormalize = node.integer("renormalize") != 0;
  c.scaling = static_cast<float>(node.number("scaling"));
  c.score = score_of(node);
  return c;
}

void add_groups(const Node& node, Choice& c) {
  const int64_t groups = node.integer("groups"), topk = node.integer("group_topk"), top = node.integer("group_top");
  if (groups < 1 || c.e % groups != 0 || topk < 1 || topk > groups || top < 1 || top > c.e / groups)
    node.refuse("groups must divide the experts, group_topk lie within the groups and group_top within a group");
  if (c.k > c.e / groups * topk) node.refuse("k is larger than the number of experts to choose from");
  if (c.k > kMostChosen) node.refuse("more than " + std::to_string(kMostChosen) + " choices of a token have no kernel");
  c.groups = static_cast<int>(groups), c.group_topk = static_cast<int>(topk), c.group_top = static_cast<int>(top);
}

// Shared memory for `rows` rows of e values of each warp.
size_t shared_bytes(int64_t rows, int64_t e) { return static_cast<size_t>(kWarps * rows * e) * sizeof(float); }

template <class Kernel>
void allow(Kernel kernel, size_t bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), "routing: shared memory");
}

}  // namespace

NEMO_CUDA_KERNEL(moe_route) {
  check_router(node, 2, 2);
  Choice c = choice_of(node);
  add_groups(node, c);
  const int64_t tokens = node.size('a');
  const bool biased = node.in(1).present();
  const size_t bytes = shared_bytes(4, c.e);
  allow(route_kernel, bytes);
  return make_kernel([=, fault = device.fault](const Launch& l) {
    if (tokens == 0) return;
    route_kernel<<<grid_of(tokens, kWarps), 32 * kWarps, bytes, l.stream()>>>(c, l.in<float>(0), biased ? l.in<float>(1) : nullptr, tokens,
                                                                              l.out<float>(0), l.out<int32_t>(1), fault);
  });
}

NEMO_CUDA_KERNEL(moe_route_grad) {
  check_router(node, 3, 1);
  const Choice c = choice_of(node);
  const int64_t tokens = node.size('a');
  const size_t bytes = shared_bytes(2, c.e);
  allow(route_grad_kernel, bytes);
  return make_kernel([=](const Launch& l) {
    if (tokens == 0) return;
    route_grad_kernel<<<grid_of(tokens, kWarps), 32 * kWarps, bytes, l.stream()>>>(c, l.in<float>(0), l.in<float>(1), l.in<int32_t>(2),
                                                                                   tokens, l.out<float>(0));
  });
}

NEMO_CUDA_KERNEL(moe_load) {
  check_router(node, 2, 2);
  const int64_t n = node.size('n'), tokens = node.size('a'), e = node.size('e');
  if (n > 65535) node.refuse("more than 65535 sequences judged apart have no kernel");
  Load load{};
  load.tokens = tokens;
  load.e = static_cast<int>(e), load.k = static_cast<int>(node.size('k'));
  load.score = score_of(node);
  load.per_part = std::max<int64_t>(32, ceil_div(tokens, 128));
  load.parts = static_cast<int>(std::max<int64_t>(1, ceil_div(tokens, load.per_part)));
  const uint64_t half = align_up(static_cast<uint64_t>(n * load.parts * e) * sizeof(float));
  const size_t bytes = shared_bytes(2, e) + static_cast<size_t>(e) * sizeof(int32_t);
  allow(load_kernel, bytes);
  return make_kernel(
      [=](const Launch& l) {
        if (n * e == 0) return;
        Load a = load;
        a.logits = l.in<float>(0), a.experts = l.in<int32_t>(1), a.prob = l.workspace<float>(), a.choices = l.workspace<float>(half);
        load_kernel<<<dim3(static_cast<unsigned>(a.parts), static_cast<unsigned>(n)), 32 * kWarps, bytes, l.stream()>>>(a);
        load_total_kernel<<<grid_of(n * e, kWarps), 32 * kWarps, 0, l.stream()>>>(a, n * e, l.out<float>(0), l.out<float>(1));
      },
      2 * half);
}

NEMO_CUDA_KERNEL(moe_load_grad) {
  check_router(node, 2, 1);
  const int64_t tokens = node.size('a'), all = node.size('n') * tokens;
  const int e = static_cast<int>(node.size('e'));
  const Score score = score_of(node);
  const size_t bytes = shared_bytes(2, e);
  allow(load_grad_kernel, bytes);
  return make_kernel([=](const Launch& l) {
    if (all == 0) return;
    load_grad_kernel<<<grid_of(all, kWarps), 32 * kWarps, bytes, l.stream()>>>(score, l.in<float>(0), l.in<float>(1), all, tokens, e,
                                                                               l.out<float>(0));
  });
}

NEMO_CUDA_KERNEL(moe_balance) {
  check_router(node, 2, 1);
  const int64_t n = node.size('n');
  const int e = static_cast<int>(node.size('e'));
  return make_kernel(
      [=](const Launch& l) { balance_kernel<<<1, 32, 0, l.stream()>>>(l.in<float>(0), l.in<float>(1), n, e, l.out<float>(0)); });
}

NEMO_CUDA_KERNEL(moe_balance_grad) {
  check_router(node, 2, 1);
  const int64_t n = node.size('n');
  const int e = static_cast<int>(node.size('e'));
  return make_kernel([=](const Launch& l) {
    if (n > 0) balance_grad_kernel<<<grid_of(n, 1), 32, 0, l.stream()>>>(l.in<float>(0), l.in<float>(1), e, l.out<float>(0));
  });
}

NEMO_CUDA_KERNEL(moe_z_loss) {
  check_router(node, 1, 1);
  const int64_t tokens = node.size('a');
  const int e = static_cast<int>(node.size('e'));
  return make_kernel(
      [=](const Launch& l) {
        z_loss_kernel<<<kSumBlocks, 32 * kWarps, 0, l.stream()>>>(l.in<float>(0), tokens, e, l.workspace<double>());
        z_loss_total_kernel<<<1, 32, 0, l.stream()>>>(l.workspace<double>(), l.out<float>(0));
      },
      kSumBlocks * sizeof(double));
}

NEMO_CUDA_KERNEL(moe_z_loss_grad) {
  check_router(node, 2, 1);
  const int64_t tokens = node.size('a');
  const int e = static_cast<int>(node.size('e'));
  return make_kernel([=](const Launch& l) {
    if (tokens > 0)
      z_loss_grad_kernel<<<grid_of(tokens, kWarps), 32 * kWarps, 0, l.stream()>>>(l.in<float>(0), l.in<float>(1), tokens, e,
                                                                                  l.out<float>(0));
  });
}

}  // namespace nemo::cuda
