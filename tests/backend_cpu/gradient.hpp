// Gradients against central differences in f64 along random directions.
#pragma once

#include <functional>

#include "tests/backend_cpu/golden.hpp"

namespace nemo::backend_cpu {

// A function of some arrays and the gradient that the backend's ops give for it.
struct Differentiable {
  std::string name;
  Arrays variables;                                                              // f64
  std::function<Arrays(const Arrays& variables)> forward;                        // f64 results
  std::function<Arrays(const Arrays& variables, const Arrays& douts)> backward;  // one gradient per variable
};

// Expects <gradient, direction> = d/dh <forward(variables + h direction), douts> to 1e-6 relative for each variable.
inline void expect_gradient(const Differentiable& f) {
  auto shifted = [&](size_t at, const Array& direction, double h) {
    Arrays v = f.variables;
    for (int64_t i = 0; i < v[at].size(); ++i) v[at].set(i, v[at].get(i) + h * direction.get(i));
    return v;
  };
  auto dot = [](const Array& a, const Array& b) {
    double sum = 0;
    for (int64_t i = 0; i < a.size(); ++i) sum += a.get(i) * b.get(i);
    return sum;
  };
  Arrays douts;
  for (const Array& y : f.forward(f.variables)) douts.push_back(normal_array(F64, y.shape(), 500 + douts.size()));
  auto objective = [&](const Arrays& v) {
    const Arrays y = f.forward(v);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += dot(y[i], douts[i]);
    return sum;
  };
  const Arrays gradients = f.backward(f.variables, douts);
  ASSERT_EQ(gradients.size(), f.variables.size());
  for (size_t at = 0; at < gradients.size(); ++at)
    for (uint64_t seed = 0; seed < 2; ++seed) {
      const Array direction = normal_array(F64, f.variables[at].shape(), 900 + 10 * at + seed);
      auto slope = [&](double h) { return (objective(shifted(at, direction, h)) - objective(shifted(at, direction, -h))) / (2 * h); };
      const double h = 2e-4, numeric = (4 * slope(h / 2) - slope(h)) / 3;  // Richardson: the h^2 term cancels
      const double analytic = dot(gradients[at], direction);
      EXPECT_NEAR(analytic, numeric, 1e-6 * std::max(1.0, std::fabs(numeric))) << f.name << ", variable " << at;
    }
}

}  // namespace nemo::backend_cpu
