#include "tests/backend_cpu/gradient.hpp"

namespace nemo::backend_cpu {
namespace {

Array zeros(const Shape& s) { return Array(F64, s); }
Array random(const Shape& s, uint64_t seed, double deviation = 1) { return normal_array(F64, s, seed, deviation); }
Arrays like(const Arrays& shapes) {
  Arrays out;
  for (const Array& a : shapes) out.push_back(zeros(a.shape()));
  return out;
}

Differentiable convolution(const char* kind) {
  const Attrs attrs{{"kind", kind}};
  const Shape x{2, 6, 3, 2};
  return {"causal_conv1d",
          {random(x, 1), random({3, 2, 4}, 2), random({3, 2}, 3)},
          [=](const Arrays& v) { return device().apply("causal_conv1d", v, {zeros(x)}, attrs); },
          [=](const Arrays& v, const Arrays& d) {
            return device().apply("causal_conv1d_grad", {d[0], v[0], v[1], v[2]}, like(v), attrs);
          }};
}

// Results are y and the last state.
Differentiable scan(const std::string& name, Arrays variables, const Shape& state, const Attrs& attrs) {
  const Shape y = variables[0].shape();
  return {name, std::move(variables),
          [=](const Arrays& v) {
            return device().apply(name, v, {zeros(y), zeros(state)}, attrs);
          },
          [=](const Arrays& v, const Arrays& d) {
            Arrays in{d[0]};
            in.insert(in.end(), v.begin(), v.end());
            in.push_back(d[1]);
            return device().apply(name + "_grad", in, like(v), attrs);
          }};
}

Differentiable ssd(const Attrs& attrs) {
  const Shape x{2, 7, 4, 3}, group{2, 7, 2, 5}, h{4}, state{2, 4, 3, 5};
  return scan("ssd_scan",
              {random(x, 1), random({2, 7, 4}, 2), random(h, 3, 0.5), random(group, 4), random(group, 5), random(h, 6), random(h, 7),
               random(state, 8)},
              state, attrs);
}

Differentiable selective() {
  const Shape x{2, 7, 19}, shared{2, 7, 3}, a{19, 3}, state{2, 19, 3}, h{19};
  return scan(
      "selective_scan",
      {random(x, 1), random(x, 2), random(a, 3, 0.5), random(shared, 4), random(shared, 5), random(h, 6), random(h, 7), random(state, 8)},
      state, {});
}

Differentiable gated_norm(int64_t parts) {
  const Shape x{3, 2, 6}, rstd{3, parts};
  const Attrs forward{{"axes", 2}, {"g", parts}, {"eps", 1e-3}};
  auto run = [=](const Arrays& v) { return device().apply("gated_rms_norm", v, {zeros(x), zeros(rstd)}, forward); };
  return {"gated_rms_norm",
          {random(x, 1), random(x, 2), random({2, 6}, 3)},
          [=](const Arrays& v) { return Arrays{run(v)[0]}; },
          [=](const Arrays& v, const Arrays& d) {
            return device().apply("gated_rms_norm_grad", {d[0], v[0], v[1], v[2], run(v)[1]}, like(v), {{"axes", 2}});
          }};
}

struct Extra {
  bool sinks, bias, lengths;
  int causal;
};

Differentiable attention(const Extra& e) {
  const Shape q{2, 6, 4, 3}, k{2, 9, 2, 3}, v{2, 9, 2, 5}, o{2, 6, 4, 5}, lse{2, 4, 6}, bias{4, 6, 9};
  const Attrs attrs{{"scale", 0.6}, {"causal", e.causal}};
  const Array lengths = e.lengths ? Array(I32, {2}, {4, 9}) : Array();
  Arrays variables{random(q, 1), random(k, 2), random(v, 3)};
  if (e.sinks) variables.push_back(random({4}, 4));
  if (e.bias) variables.push_back(random(bias, 5));
  auto inputs = [=](const Arrays& x) {
    return Arrays{x[0], x[1], x[2], Array(), e.sinks ? x[3] : Array(), e.bias ? x.back() : Array(), lengths};
  };
  auto run = [=](const Arrays& x) { return device().apply("attention", inputs(x), {zeros(o), zeros(lse)}, attrs); };
  return {"attention", variables, [=](const Arrays& x) { return Arrays{run(x)[0]}; },
          [=](const Arrays& x, const Arrays& d) {
            const Arrays y = run(x), in = inputs(x);
            Arrays all{d[0], in[0], in[1], in[2], y[0], y[1], in[3], in[4], in[5], in[6]};
            const Arrays g =
                device().apply("attention_grad", all,
                               {zeros(q), zeros(k), zeros(v), e.sinks ? zeros({4}) : Array(), e.bias ? zeros(bias) : Array()}, attrs);
            Arrays gradients{g[0], g[1], g[2]};
            if (e.sinks) gradients.push_back(g[3]);
            if (e.bias) gradients.push_back(g[4]);
            return gradients;
          }};
}

TEST(Gradient, of_causal_convolution_matches_central_difference) {
  for (const char* kind : {"none", "silu"}) expect_gradient(convolution(kind));
}
TEST(Gradient, of_ssd_scan_matches_central_difference) {
  expect_gradient(ssd({}));
  expect_gradient(ssd({{"dt_min", 0.4}, {"dt_max", 1.2}}));
}
TEST(Gradient, of_selective_scan_matches_central_difference) { expect_gradient(selective()); }
TEST(Gradient, of_gated_norm_matches_central_difference) {
  for (const int64_t parts : {1, 3}) expect_gradient(gated_norm(parts));
}
TEST(Gradient, of_attention_with_sinks_bias_and_key_lengths_matches_central_difference) {
  for (const Extra& e :
       {Extra{true, false, false, 1}, Extra{false, true, false, 0}, Extra{false, false, true, 0}, Extra{true, true, true, 1}})
    expect_gradient(attention(e));
}

}  // namespace
}  // namespace nemo::backend_cpu
