// Routing of a mixture of experts: moe_route, moe_load, moe_balance, moe_z_loss and gradients. A token's scores fit in L1; what is written
// is small beside the experts' products, so the loops are plain. Everything is in arithmetic precision.
#include "kernels/arch.hpp"

#include "kernels/block.hpp"
#include "kernels/column_sums.hpp"
#include "kernels/math.hpp"

namespace nemo::cpu::NEMO_CPU_NS {

namespace {

enum class Score { softmax, sigmoid };

Score score_of(const Node& node) {
  const std::string_view name = node.string("score");
  if (name == "softmax") return Score::softmax;
  if (name != "sigmoid") node.refuse("unknown score \"" + std::string(name) + "\"");
  return Score::sigmoid;
}

template <class F>
Prepared with_wide(const Node& node, F&& f) {
  return node.compute() == NEMO_DTYPE_F64 ? f(double{}) : f(float{});
}

void need_dense(const Node& node, size_t inputs, size_t outputs) {
  for (size_t i = 0; i < inputs; ++i) node.need_contiguous(node.in(i));
  for (size_t i = 0; i < outputs; ++i) node.need_contiguous(node.out(i));
}

template <class C>
C log_sum_exp(const C* x, int64_t n) {
  C top = x[0], sum = 0;
  for (int64_t i = 1; i < n; ++i) top = std::max(top, x[i]);
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += exp_(x[i] - top);
  return top + std::log(sum);
}

template <class C>
void scores(Score score, const C* logits, int64_t e, C* p) {
  if (score == Score::sigmoid) {
#pragma omp simd
    for (int64_t i = 0; i < e; ++i) p[i] = sigmoid_(logits[i]);
    return;
  }
  C top = logits[0], sum = 0;
  for (int64_t i = 1; i < e; ++i) top = std::max(top, logits[i]);
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < e; ++i) {
    p[i] = exp_(logits[i] - top);
    sum += p[i];
  }
  const C factor = C(1) / sum;
#pragma omp simd
  for (int64_t i = 0; i < e; ++i) p[i] *= factor;
}

// dp to dlogits through the scores.
template <class C>
void scores_grad(Score score, const C* p, const C* dp, int64_t e, C* dlogits) {
  if (score == Score::sigmoid) {
    for (int64_t i = 0; i < e; ++i) dlogits[i] = dp[i] * p[i] * (C(1) - p[i]);
    return;
  }
  C dot = 0;
  for (int64_t i = 0; i < e; ++i) dot += dp[i] * p[i];
  for (int64_t i = 0; i < e; ++i) dlogits[i] = p[i] * (dp[i] - dot);
}

struct Choice {
  int64_t e, k, groups, group_topk, group_top;
  bool renormalize;
  double scaling;
  Score score;
};

// Index of the largest of n values that is above -infinity, the first of equals; -1: there is none.
template <class C>
int64_t first_largest(const C* x, int64_t n) {
  int64_t best = -1;
  C top = -std::numeric_limits<C>::infinity();
  for (int64_t i = 0; i < n; ++i)
    if (x[i] > top) top = x[i], best = i;
  return best;
}

// Leaves -infinity in `judged` where the group is not among the best. `sums` has room for the groups, `copy` for one group.
template <class C>
void keep_best_groups(const Choice& c, C* judged, C* sums, C* copy) {
  const C none = -std::numeric_limits<C>::infinity();
  const int64_t size = c.e / c.groups;
  for (int64_t g = 0; g < c.groups; ++g) {
    std::copy(judged + g * size, judged + (g + 1) * size, copy);
    sums[g] = 0;
    for (int64_t i = 0; i < c.group_top; ++i) {
      const int64_t at = first_largest(copy, size);
      if (at < 0) break;
      sums[g] += copy[at];
      copy[at] = none;
    }
  }
  for (int64_t i = 0; i < c.group_topk; ++i)
    if (const int64_t g = first_largest(sums, c.groups); g >= 0) sums[g] = none;
  for (int64_t g = 0; g < c.groups; ++g)
    if (sums[g] != none) std::fill(judged + g * size, judged + (g + 1) * size, none);
}

// One token; scratch holds 4 e values. False where fewer than k scores are numbers.
template <class C>
bool choose(const Choice& c, const C* logits, const C* bias, C* weights, int32_t* experts, C* scratch) {
  C *p = scratch, *judged = p + c.e, *sums = judged + c.e, *copy = sums + c.e;
  scores(c.score, logits, c.e, p);
  for (int64_t i = 0; i < c.e; ++i) judged[i] = bias != nullptr ? p[i] + bias[i] : p[i];
  if (c.groups > 1) keep_best_groups(c, judged, sums, copy);
  C sum = 0;
  for (int64_t i = 0; i < c.k; ++i) {
    const int64_t best = first_largest(judged, c.e);
    if (best < 0) return false;
    judged[best] = -std::numeric_limits<C>::infinity();
    experts[i] = static_cast<int32_t>(best);
    weights[i] = p[best];
    sum += p[best];
  }
  const C factor = static_cast<C>(c.scaling) / (c.renormalize ? sum + C(1e-20) : C(1));
  for (int64_t i = 0; i < c.k; ++i) weights[i] *= factor;
  return true;
}

Choice choice_of(const Node& node) {
  Choice c{node.size('e'),
           node.size('k'),
           node.integer("groups"),
           node.integer("group_topk"),
           node.integer("group_top"),
           node.integer("renormalize") != 0,
           node.number("scaling"),
           score_of(node)};
  if (c.groups < 1 || c.e % c.groups != 0 || c.group_topk < 1 || c.group_topk > c.groups || c.group_top < 1 || c.group_top > c.e / c.groups)
    node.refuse("groups must divide the experts, group_topk lie within the groups and group_top within a group");
  if (c.k > c.e / c.groups * c.group_topk) node.refuse("k is larger than the number of experts to choose from");
  return c;
}

}  // namespace

NEMO_CPU_KERNEL(moe_route) {
  need_dense(node, 2, 2);
  const Choice c = choice_of(node);
  const int64_t tokens = node.size('a');
  const bool biased = node.in(1).present();
  return with_wide(node, [&]<class C>(C) {
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          Fault fault;
          pool.split(tokens, row_grain(4 * c.e), [&](int64_t begin, int64_t end, int part) {
            for (int64_t t = begin; t < end; ++t)
              if (!choose(c, l.in<C>(0) + t * c.e, biased ? l.in<C>(1) : nullptr, l.out<C>(0) + t * c.k, l.out<int32_t>(1) + t * c.k,
                          l.workspace<C>() + part * 4 * c.e))
                fault.report(t);
          });
          fault.raise("moe_route: router logits are not numbers");
        },
        align_up(static_cast<uint64_t>(4 * c.e * device.pool.threads()) * sizeof(C)));
  });
}

NEMO_CPU_KERNEL(moe_route_grad) {
  need_dense(node, 3, 1);
  const int64_t tokens = node.size('a'), e = node.size('e'), k = node.size('k');
  const bool renormalize = node.integer("renormalize") != 0;
  const double scaling = node.number("scaling");
  const Score score = score_of(node);
  return with_wide(node, [&]<class C>(C) {
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          pool.split(tokens, row_grain(4 * e), [&](int64_t begin, int64_t end, int part) {
            C *p = l.workspace<C>() + part * 2 * e, *dp = p + e;
            for (int64_t t = begin; t < end; ++t) {
              const int32_t* chosen = l.in<int32_t>(2) + t * k;
              const C* dw = l.in<C>(0) + t * k;
              scores(score, l.in<C>(1) + t * e, e, p);
              C sum = 0, dot = 0;
              for (int64_t i = 0; i < k; ++i) sum += p[chosen[i]];
              for (int64_t i = 0; i < k; ++i) dot += dw[i] * p[chosen[i]] / sum;
              std::fill(dp, dp + e, C(0));
              for (int64_t i = 0; i < k; ++i) dp[chosen[i]] = static_cast<C>(scaling) * (renormalize ? (dw[i] - dot) / sum : dw[i]);
              scores_grad(score, p, dp, e, l.out<C>(0) + t * e);
            }
          });
        },
        align_up(static_cast<uint64_t>(2 * e * device.pool.threads()) * sizeof(C)));
  });
}

NEMO_CPU_KERNEL(moe_load) {
  need_dense(node, 2, 2);
  const int64_t parts_of_batch = node.size('n'), tokens = node.size('a'), e = node.size('e'), k = node.size('k');
  const Score score = score_of(node);
  return with_wide(node, [&]<class C>(C) {
    const ColumnSums sums(device.pool, tokens, e);
    const uint64_t bytes = sums.bytes<C>();
    const nemo_dtype wide = node.compute();
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          C* p = l.workspace<C>();
          C* partial = l.workspace<C>(align_up(static_cast<uint64_t>(e * pool.threads()) * sizeof(C)));
          for (int64_t n = 0; n < parts_of_batch; ++n) {
            pool.split(tokens, row_grain(e), [&](int64_t begin, int64_t end, int part) {
              C *own = p + part * e, *sum = sums.partial(partial, part);
              std::fill(sum, sum + e, C(0));
              for (int64_t t = begin; t < end; ++t) {
                scores(score, l.in<C>(0) + (n * tokens + t) * e, e, own);
                C total = score == Score::sigmoid ? C(1e-20) : C(1);
                for (int64_t i = 0; i < e && score == Score::sigmoid; ++i) total += own[i];
                for (int64_t i = 0; i < e; ++i) sum[i] += own[i] / total;
              }
            });
            sums.finish(pool, partial, wide, l.out<C>(0) + n * e, Write::overwrite);
            C* load = l.out<C>(1) + n * e;
            std::fill(load, load + e, C(0));
            for (int64_t i = 0; i < tokens * k; ++i) load[l.in<int32_t>(1)[n * tokens * k + i]] += C(1);
          }
        },
        align_up(static_cast<uint64_t>(e * device.pool.threads()) * sizeof(C)) + bytes);
  });
}

NEMO_CPU_KERNEL(moe_load_grad) {
  need_dense(node, 2, 1);
  const int64_t parts_of_batch = node.size('n'), tokens = node.size('a'), e = node.size('e');
  const Score score = score_of(node);
  return with_wide(node, [&]<class C>(C) {
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          pool.split(parts_of_batch * tokens, row_grain(2 * e), [&](int64_t begin, int64_t end, int part) {
            C *p = l.workspace<C>() + part * 2 * e, *dp = p + e;
            for (int64_t t = begin; t < end; ++t) {
              const C* dprob = l.in<C>(0) + t / tokens * e;
              scores(score, l.in<C>(1) + t * e, e, p);
              C total = 1, dot = 0;
              if (score == Score::sigmoid) {
                total = C(1e-20);
                for (int64_t i = 0; i < e; ++i) total += p[i];
                for (int64_t i = 0; i < e; ++i) dot += dprob[i] * p[i] / total;
              }
              for (int64_t i = 0; i < e; ++i) dp[i] = (dprob[i] - dot) / total;
              scores_grad(score, p, dp, e, l.out<C>(0) + t * e);
            }
          });
        },
        align_up(static_cast<uint64_t>(2 * e * device.pool.threads()) * sizeof(C)));
  });
}

NEMO_CPU_KERNEL(moe_balance) {
  need_dense(node, 2, 1);
  const int64_t n = node.size('n'), e = node.size('e');
  return with_wide(node, [&]<class C>(C) {
    return make_kernel([=](const Launch& l) {
      double loss = 0;
      for (int64_t r = 0; r < n; ++r) {
        double sum = 0, choices = 0;
        for (int64_t i = 0; i < e; ++i) {
          sum += static_cast<double>(l.in<C>(0)[r * e + i]) * static_cast<double>(l.in<C>(1)[r * e + i]);
          choices += static_cast<double>(l.in<C>(1)[r * e + i]);
        }
        loss += static_cast<double>(e) * sum / std::max(choices, 1.0);
      }
      *l.out<C>(0) = static_cast<C>(loss);
    });
  });
}

NEMO_CPU_KERNEL(moe_balance_grad) {
  need_dense(node, 2, 1);
  const int64_t n = node.size('n'), e = node.size('e');
  return with_wide(node, [&]<class C>(C) {
    return make_kernel([=](const Launch& l) {
      for (int64_t r = 0; r < n; ++r) {
        C choices = 0;
        for (int64_t i = 0; i < e; ++i) choices += l.in<C>(1)[r * e + i];
        const C factor = *l.in<C>(0) * static_cast<C>(e) / std::max(choices, C(1));
        for (int64_t i = 0; i < e; ++i) l.out<C>(0)[r * e + i] = factor * l.in<C>(1)[r * e + i];
      }
    });
  });
}

NEMO_CPU_KERNEL(moe_z_loss) {
  need_dense(node, 1, 1);
  const int64_t tokens = node.size('a'), e = node.size('e');
  return with_wide(node, [&]<class C>(C) {
    return make_kernel(
        [=, &pool = device.pool](const Launch& l) {
          C* squares = l.workspace<C>();
          pool.split(tokens, row_grain(2 * e), [&](int64_t begin, int64_t end, int) {
            for (int64_t t = begin; t < end; ++t) {
              const C lse = log_sum_exp(l.in<C>(0) + t * e, e);
              squares[t] = lse * lse;
            }
          });
          double sum = 0;
          for (int64_t t = 0; t < tokens; ++t) sum += static_cast<double>(squares[t]);
          *l.out<C>(0) = static_cast<C>(sum);
        },
        align_up(static_cast<uint64_t>(tokens) * sizeof(C)));
  });
}

NEMO_CPU_KERNEL(moe_z_loss_grad) {
  need_dense(node, 2, 1);
  const int64_t tokens = node.size('a'), e = node.size('e');
  return with_wide(node, [&]<class C>(C) {
    return make_kernel([=, &pool = device.pool](const Launch& l) {
      pool.split(tokens, row_grain(2 * e), [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t) {
          const C* x = l.in<C>(1) + t * e;
          C* dx = l.out<C>(0) + t * e;
          const C lse = log_sum_exp(x, e), factor = C(2) * lse * *l.in<C>(0);
#pragma omp simd
          for (int64_t i = 0; i < e; ++i) dx[i] = factor * exp_(x[i] - lse);
        }
      });
    });
  });
}

}  // namespace nemo::cpu::NEMO_CPU_NS

#include "kernels/arch_end.hpp"
