#include "tests/backend_cpu/gradient.hpp"

namespace nemo::backend_cpu {
namespace {

Array zeros(const Shape& s) { return Array(F64, s); }
Array random(const Shape& s, uint64_t seed, double deviation = 1) { return normal_array(F64, s, seed, deviation); }
Arrays op(const std::string& name, const Arrays& in, Arrays out, const Attrs& attrs = {}) {
  return device().apply(name, in, std::move(out), attrs);
}

std::vector<Differentiable> linears() {
  const Array ids(I32, {2, 3}, {4, 1, 4, 0, 6, 4});
  const Shape x{2, 3, 4, 5}, w{6, 7, 4, 5}, y{2, 3, 6, 7};
  const Attrs two{{"contract", 2}};
  std::vector<Differentiable> f;
  f.push_back({"linear",
               {random(x, 1), random(w, 2), random({6, 7}, 3)},
               [=](const Arrays& v) {
                 return op("linear", {v[0], v[1], v[2]}, {zeros(y)}, two);
               },
               [=](const Arrays& v, const Arrays& d) {
                 return Arrays{op("linear_dgrad", {d[0], v[1]}, {zeros(x)}, two)[0], op("linear_wgrad", {d[0], v[0]}, {zeros(w)}, two)[0],
                               op("bias_grad", {d[0]}, {zeros({6, 7})}, {{"axes", 2}})[0]};
               }});
  f.push_back({"embedding",
               {random({7, 5}, 4)},
               [=](const Arrays& v) {
                 return op("embedding", {ids, v[0]}, {zeros({2, 3, 5})});
               },
               [=](const Arrays&, const Arrays& d) {
                 return op("embedding_grad", {d[0], ids}, {zeros({7, 5})}, {{"rows", 7}});
               }});
  f.push_back({"accumulate_grad",
               {random({3, 4}, 5)},
               [](const Arrays& v) {
                 return op("accumulate_grad", {v[0]}, {zeros({3, 4})});
               },
               [](const Arrays&, const Arrays& d) {
                 return op("accumulate_grad", {d[0]}, {zeros({3, 4})});
               }});
  return f;
}

// biased: the sum takes a bias as well, whose gradient is a column sum of dx.
Differentiable norm(bool layer, bool residual, int centered, bool biased = false) {
  const Shape a{4, 6}, r{4}, d{6};
  const Attrs forward{{"eps", 1e-5}, {"zero_centered", centered}}, backward{{"zero_centered", centered}};
  const std::string base = layer ? "layer_norm" : "rms_norm";
  auto run = [=](const Arrays& v) {  // y, sum (or x), statistics
    Arrays in = residual ? Arrays{v[0], v[1], v[2]} : Arrays{v[0], v[2]}, out{zeros(a)};
    if (layer) in.push_back(v[3]);
    if (biased) in.push_back(v[4]);
    if (residual) out.push_back(zeros(a));
    for (int i = 0; i < (layer ? 2 : 1); ++i) out.push_back(zeros(r));
    return op(residual ? "add_" + base : base, in, out, forward);
  };
  Differentiable f{base + (residual ? "_add" : ""), {random(a, 1), random(a, 2), random(d, 3), random(d, 4)}, {}, {}};
  if (biased) f.variables.push_back(random(d, 5));
  f.forward = [=](const Arrays& v) {
    const Arrays y = run(v);
    return residual ? Arrays{y[0], y[1]} : Arrays{y[0]};
  };
  f.backward = [=](const Arrays& v, const Arrays& douts) {
    const Arrays y = run(v);
    const size_t stats = residual ? 2 : 1;
    Arrays in{douts[0], residual ? y[1] : v[0], v[2]};
    for (size_t i = stats; i < y.size(); ++i) in.push_back(y[i]);
    if (residual) in.push_back(douts[1]);
    Arrays out{zeros(a), zeros(d)};
    if (layer) out.push_back(zeros(d));
    if (biased) out.push_back(zeros(d));
    const Arrays g = op(residual ? base + "_grad_add" : base + "_grad", in, out, backward);
    Arrays all{g[0], residual ? g[0] : zeros(a), g[1], layer ? g[2] : zeros(d)};
    if (biased) all.push_back(g[3]);
    return all;
  };
  return f;
}

std::vector<Differentiable> activations() {
  const Shape a{5, 7};
  std::vector<Differentiable> f;
  for (const char* kind : {"gelu_erf", "gelu_tanh", "silu", "relu", "relu2", "quick_gelu", "tanh", "sigmoid", "softplus"}) {
    const Attrs attrs{{"kind", kind}};
    f.push_back({kind,
                 {random(a, 1)},
                 [=](const Arrays& v) { return op("activation", {v[0]}, {zeros(a)}, attrs); },
                 [=](const Arrays& v, const Arrays& d) {
                   return op("activation_grad", {d[0], v[0]}, {zeros(a)}, attrs);
                 }});
    f.push_back({std::string("glu ") + kind,
                 {random(a, 1), random(a, 2)},
                 [=](const Arrays& v) {
                   return op("glu", {v[0], v[1]}, {zeros(a)}, attrs);
                 },
                 [=](const Arrays& v, const Arrays& d) {
                   return op("glu_grad", {d[0], v[0], v[1]}, {zeros(a), zeros(a)}, attrs);
                 }});
  }
  return f;
}

std::vector<Differentiable> pointwise() {
  const Shape a{5, 7};
  std::vector<Differentiable> f;
  f.push_back({"add",
               {random(a, 1), random(a, 2)},
               [=](const Arrays& v) { return op("add", v, {zeros(a)}); },
               [](const Arrays&, const Arrays& d) {
                 return Arrays{d[0], d[0]};
               }});
  f.push_back({"mul",
               {random(a, 1), random(a, 2)},
               [=](const Arrays& v) { return op("mul", v, {zeros(a)}); },
               [=](const Arrays& v, const Arrays& d) {
                 return Arrays{op("mul", {d[0], v[1]}, {zeros(a)})[0], op("mul", {d[0], v[0]}, {zeros(a)})[0]};
               }});
  f.push_back({"scale",
               {random(a, 1)},
               [=](const Arrays& v) {
                 return op("scale", v, {zeros(a)}, {{"alpha", -1.3}});
               },
               [=](const Arrays&, const Arrays& d) {
                 return op("scale", d, {zeros(a)}, {{"alpha", -1.3}});
               }});
  const Array rng(I64, {2}, {42, 7});
  const Attrs drop{{"p", 0.3}, {"key", 5}};
  f.push_back({"dropout",
               {random(a, 1)},
               [=](const Arrays& v) {
                 return op("dropout", {v[0], rng}, {zeros(a)}, drop);
               },
               [=](const Arrays&, const Arrays& d) {
                 return op("dropout", {d[0], rng}, {zeros(a)}, drop);
               }});
  f.push_back({"softmax",
               {random(a, 1)},
               [=](const Arrays& v) { return op("softmax", v, {zeros(a)}); },
               [=](const Arrays& v, const Arrays& d) {
                 return op("softmax_grad", {d[0], op("softmax", v, {zeros(a)})[0]}, {zeros(a)});
               }});
  f.push_back({"sum",
               {random(a, 1)},
               [](const Arrays& v) { return op("sum", v, {zeros({})}); },
               [=](const Arrays& v, const Arrays& d) {
                 return op("broadcast", {d[0], v[0]}, {zeros(a)});
               }});
  f.push_back({"concat",
               {random({3, 2}, 1), random({3, 4}, 2)},
               [](const Arrays& v) {
                 return op("concat", v, {zeros({3, 6})}, {{"dim", 1}});
               },
               [](const Arrays&, const Arrays& d) {
                 return Arrays{op("slice", d, {zeros({3, 2})}, {{"dim", 1}, {"start", 0}, {"length", 2}})[0],
                               op("slice", d, {zeros({3, 4})}, {{"dim", 1}, {"start", 2}, {"length", 4}})[0]};
               }});
  return f;
}

Differentiable rope(int interleaved) {
  static const std::vector<double> inv_freq{1, 0.4, 0.1};
  const Shape a{2, 3, 2, 8};
  const Array positions(I32, {2, 3}, {0, 1, 2, 7, 30, 31});
  const Attrs turn{{"inv_freq", inv_freq}, {"interleaved", interleaved}, {"scale", 1.5}};
  const Attrs back{{"inv_freq", inv_freq}, {"interleaved", interleaved}, {"scale", 1.5}, {"inverse", 1}};
  return {"rope",
          {random(a, 1)},
          [=](const Arrays& v) {
            return op("rope", {v[0], positions}, {zeros(a)}, turn);
          },
          [=](const Arrays&, const Arrays& d) {
            return op("rope", {d[0], positions}, {zeros(a)}, back);
          }};
}

std::vector<Differentiable> losses() {
  const Array labels(I32, {2, 3}, {4, 1, -100, 0, 6, 4});
  const Shape a{2, 3, 7}, r{2, 3};
  const Attrs attrs{{"label_smoothing", 0.2}, {"z_loss", 0.03}};
  std::vector<Differentiable> f;
  f.push_back({"cross_entropy",
               {random(a, 1)},
               [=](const Arrays& v) {
                 return Arrays{op("cross_entropy", {v[0], labels}, {zeros(r), zeros(r)}, attrs)[0]};
               },
               [=](const Arrays& v, const Arrays& d) {
                 const Array lse = op("cross_entropy", {v[0], labels}, {zeros(r), zeros(r)}, attrs)[1];
                 return op("cross_entropy_grad", {d[0], v[0], labels, lse}, {zeros(a)}, attrs);
               }});
  f.push_back(
      {"linear_cross_entropy",
       {random({2, 3, 5}, 1), random({7, 5}, 2)},
       [=](const Arrays& v) {
         return op("linear_cross_entropy", {v[0], v[1], labels}, {zeros(r)}, attrs);
       },
       [=](const Arrays& v, const Arrays& d) {
         const Arrays y = op("linear_cross_entropy_train", {v[0], v[1], labels, d[0]}, {zeros(r), zeros({2, 3, 5}), zeros({7, 5})}, attrs);
         return Arrays{y[1], y[2]};
       }});
  return f;
}

TEST(Gradient, of_linear_embedding_and_accumulation_matches_central_difference) {
  for (const Differentiable& f : linears()) expect_gradient(f);
}
TEST(Gradient, of_norms_matches_central_difference) {
  for (const bool layer : {false, true})
    for (const bool residual : {false, true})
      for (const int centered : {0, 1}) {
        Differentiable f = norm(layer, residual, centered);
        expect_gradient(f);
      }
  for (const int centered : {0, 1}) {
    Differentiable f = norm(true, true, centered, true);
    expect_gradient(f);
  }
}
TEST(Gradient, of_activations_matches_central_difference) {
  for (const Differentiable& f : activations()) expect_gradient(f);
}
TEST(Gradient, of_pointwise_ops_matches_central_difference) {
  for (const Differentiable& f : pointwise()) expect_gradient(f);
}
TEST(Gradient, of_rope_matches_central_difference) {
  for (const int interleaved : {0, 1}) expect_gradient(rope(interleaved));
}
TEST(Gradient, of_losses_matches_central_difference) {
  for (const Differentiable& f : losses()) expect_gradient(f);
}

}  // namespace
}  // namespace nemo::backend_cpu
