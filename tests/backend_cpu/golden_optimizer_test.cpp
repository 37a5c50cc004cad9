#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {
namespace {

constexpr Tolerance kOptimizer{1e-6, 1e-5};

struct Schedule {
  const char* name;
  double beta1, beta2, eps;
};

Array flat(const Golden& g, const std::string& name, nemo_dtype dtype) {
  const Array a = g.get(name, dtype);
  return Array(dtype, {a.size()}, a.values());
}

// Row `step` of a [5, ...] tensor.
Array at_step(const Golden& g, const std::string& name, int64_t step, int64_t n) {
  const std::vector<double> all = g.get(name, F64).values();
  return Array(F32, {n}, {all.begin() + step * n, all.begin() + (step + 1) * n});
}

Array hyper(double lr, double beta1, double beta2, double eps, int step, double scale) {
  return Array(F64, {8}, {lr, beta1, beta2, eps, 1 - std::pow(beta1, step), 1 - std::pow(beta2, step), scale, 0});
}

TEST(Optimizer, adamw_follows_torch_over_five_steps_with_and_without_master_weights) {
  const Golden g("optim/optimizers");
  const double lrs[] = {0.001, 0.002, 0.0015, 0.001, 0.0005};
  for (const Schedule& run : {Schedule{"adamw", 0.9, 0.95, 1e-8}, Schedule{"adamw_b2", 0.9, 0.999, 1e-6}})
    for (const auto& [key, decay] : {std::pair{"a", 0.1}, std::pair{"b", 0.0}, std::pair{"c", 0.01}})
      for (const bool master : {false, true}) {
        const std::string k = key, name = run.name;
        const Array start = flat(g, "param0." + k, F32);
        const int64_t n = start.size();
        Arrays state{start.as(master ? BF16 : F32), master ? start : Array(), Array(F32, {n}), Array(F32, {n})};
        for (int step = 0; step < 5; ++step) {
          Array grad = at_step(g, "grads." + k, step, n);
          for (int64_t i = 0; i < n; ++i) grad.set(i, grad.get(i) * 4);
          device().run("adamw", {grad, hyper(lrs[step], run.beta1, run.beta2, run.eps, step + 1, 0.25)}, state, {{"weight_decay", decay}});
          const Array want = at_step(g, name + ".params." + k, step, n);
          expect_close(master ? state[1] : state[0], want, kOptimizer, name + " " + k);
          if (master) expect_close(state[0], want, {4e-3, 0}, name + " rounded " + k);
        }
        expect_close(state[2], flat(g, name + ".exp_avg." + k, F32), kOptimizer, "m");
        expect_close(state[3], flat(g, name + ".exp_avg_sq." + k, F32), kOptimizer, "v");
      }
}

TEST(Optimizer, sgd_with_momentum_follows_torch_over_five_steps) {
  const Golden g("optim/optimizers");
  for (const char* key : {"a", "b", "c"}) {
    const std::string k = key;
    Arrays state{flat(g, "param0." + k, F32), Array(), Array()};
    const int64_t n = state[0].size();
    state[2] = Array(F32, {n});
    for (int step = 0; step < 5; ++step) {
      device().run("sgd", {at_step(g, "grads." + k, step, n), hyper(0.01, 0, 0, 0, 1, 1)}, state,
                   {{"weight_decay", 0.01}, {"momentum", 0.9}});
      expect_close(state[0], at_step(g, "sgd_momentum.params." + k, step, n), kOptimizer, k);
    }
  }
}

TEST(Optimizer, sgd_without_buffer_is_the_plain_step) {
  const Array grad(F32, {3}, {1, -2, 4});
  Arrays state{Array(F64, {3}, {1, 1, 1})};
  device().run("sgd", {grad, hyper(0.5, 0, 0, 0, 1, 0.5)}, state, {{"weight_decay", 0.25}});
  EXPECT_EQ(state[0].values(), (std::vector<double>{1 - 0.5 * (0.5 + 0.25), 1 - 0.5 * (-1 + 0.25), 1 - 0.5 * (2 + 0.25)}));
}

TEST(Optimizer, nesterov_looks_ahead_by_the_momentum) {
  Arrays state{Array(F64, {1}, {1}), Array(), Array(F64, {1}, {2})};
  device().run("sgd", {Array(F64, {1}, {3}), hyper(0.1, 0, 0, 0, 1, 1)}, state, {{"momentum", 0.5}, {"nesterov", 1}});
  EXPECT_DOUBLE_EQ(state[2].get(0), 4);  // 0.5 * 2 + 3
  EXPECT_DOUBLE_EQ(state[0].get(0), 1 - 0.1 * (3 + 0.5 * 4));
}

TEST(Optimizer, norm_over_buffers_clips_like_torch) {
  const Golden g("optim/clip_grad_norm");
  Arrays total{Array(F64, {}, {0})};
  for (const char* k : {"a", "b", "c"}) device().run("sum_squares", {flat(g, std::string("grad.") + k, F32)}, total);
  const double norm = std::sqrt(total[0].get(0));
  EXPECT_NEAR(norm, 6.265843027746602, 1e-6);
  for (const auto& [name, limit] : {std::pair{"1", 1.0}, std::pair{"0.1", 0.1}, std::pair{"100", 100.0}}) {
    const double factor = std::min(1.0, limit / (norm + 1e-6));
    const Array grad = flat(g, "grad.a", F32);
    const Arrays y = device().apply("scale", {grad}, {Array(F32, grad.shape())}, {{"alpha", factor}});
    expect_close(y[0], flat(g, std::string("clipped_") + name + ".a", F32), kOptimizer, name);
  }
}

}  // namespace
}  // namespace nemo::backend_cpu
