#include <cmath>
#include <numeric>
#include <stdexcept>

#include "tests/passes/partition_world.hpp"

namespace nemo::passes::testing {
namespace {

using graph::Op;
using Ints = std::vector<int64_t>;
using Inputs = std::vector<const Tensor*>;

int64_t count(const Ints& shape, size_t from, size_t to) {
  return std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(from), shape.begin() + static_cast<std::ptrdiff_t>(to), int64_t{1},
                         std::multiplies<>());
}

int add(Tape& t, int a, int b) { return t.node(t.value(a) + t.value(b), {{a, 1}, {b, 1}}); }
int mul(Tape& t, int a, int b) { return t.node(t.value(a) * t.value(b), {{a, t.value(b)}, {b, t.value(a)}}); }
int scaled(Tape& t, int a, double c) { return t.node(t.value(a) * c, {{a, c}}); }

int total(Tape& t, const std::vector<int>& xs) {
  double sum = 0;
  Tape::Parents parents;
  for (const int x : xs) sum += t.value(x), parents.emplace_back(x, 1.0);
  return t.node(sum, parents);
}

int dot(Tape& t, const int* a, const int* b, int64_t n, int64_t stride = 1) {
  double sum = 0;
  Tape::Parents parents;
  for (int64_t i = 0; i < n; ++i) {
    sum += t.value(a[i]) * t.value(b[i * stride]);
    parents.emplace_back(a[i], t.value(b[i * stride]));
    parents.emplace_back(b[i * stride], t.value(a[i]));
  }
  return t.node(sum, parents);
}

int exponential(Tape& t, int a) { return t.node(std::exp(t.value(a)), {{a, std::exp(t.value(a))}}); }
int logarithm(Tape& t, int a) { return t.node(std::log(t.value(a)), {{a, 1 / t.value(a)}}); }
int reciprocal(Tape& t, int a) { return t.node(1 / t.value(a), {{a, -1 / (t.value(a) * t.value(a))}}); }

int silu(Tape& t, int a) {
  const double x = t.value(a), s = 1 / (1 + std::exp(-x));
  return t.node(x * s, {{a, s + x * s * (1 - s)}});
}

int gelu(Tape& t, int a) {
  const double x = t.value(a), c = std::sqrt(2 / M_PI), u = std::tanh(c * (x + 0.044715 * x * x * x));
  return t.node(0.5 * x * (1 + u), {{a, 0.5 * (1 + u) + 0.5 * x * (1 - u * u) * c * (1 + 3 * 0.044715 * x * x)}});
}

std::vector<Tensor> embedding(Tape& t, const Op& op, const Inputs& in) {
  const int64_t rows = in[1]->shape[0], e = in[1]->shape[1], first = op.int_attr("shard_offset");
  Tensor y{in[0]->shape, {}, {}};
  y.shape.push_back(e);
  for (const int64_t id : in[0]->ints)
    for (int64_t j = 0; j < e; ++j)
      y.nodes.push_back(id >= first && id < first + rows ? in[1]->nodes[static_cast<size_t>((id - first) * e + j)] : t.node(0));
  return {y};
}

std::vector<Tensor> linear(Tape& t, const Op& op, const Inputs& in) {
  const Ints &x = in[0]->shape, &w = in[1]->shape;
  const auto contract = static_cast<size_t>(op.int_attr("contract"));
  const size_t ra = x.size() - contract, rn = w.size() - contract;
  const int64_t a = count(x, 0, ra), k = count(x, ra, x.size()), n = count(w, 0, rn);
  Tensor y{Ints(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(ra)), {}, {}};
  y.shape.insert(y.shape.end(), w.begin(), w.begin() + static_cast<std::ptrdiff_t>(rn));
  for (int64_t i = 0; i < a; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const int product = dot(t, &in[0]->nodes[static_cast<size_t>(i * k)], &in[1]->nodes[static_cast<size_t>(j * k)], k);
      y.nodes.push_back(in[2] == nullptr ? product : add(t, product, in[2]->nodes[static_cast<size_t>(j)]));
    }
  return {y};
}

std::vector<Tensor> norm(Tape& t, const Op& op, const Inputs& in) {
  const bool centred = op.name() == "layer_norm";
  const auto d = static_cast<size_t>(in[0]->shape.back());
  Tensor y{in[0]->shape, {}, {}};
  for (size_t row = 0; row < in[0]->nodes.size(); row += d) {
    std::vector<int> x(in[0]->nodes.begin() + static_cast<std::ptrdiff_t>(row),
                       in[0]->nodes.begin() + static_cast<std::ptrdiff_t>(row + d));
    if (centred) {
      const int minus_mean = scaled(t, total(t, x), -1.0 / static_cast<double>(d));
      for (int& element : x) element = add(t, element, minus_mean);
    }
    const int square = dot(t, x.data(), x.data(), static_cast<int64_t>(d));
    const double v = t.value(square) / static_cast<double>(d) + op.float_attr("eps");
    const int rstd = t.node(1 / std::sqrt(v), {{square, -0.5 * std::pow(v, -1.5) / static_cast<double>(d)}});
    for (size_t j = 0; j < d; ++j) {
      const int scaled_x = mul(t, mul(t, x[j], rstd), in[1]->nodes[j]);
      y.nodes.push_back(centred ? add(t, scaled_x, in[2]->nodes[j]) : scaled_x);
    }
  }
  return {y};
}

std::vector<Tensor> rope(Tape& t, const Op& op, const Inputs& in) {
  const auto& inv_freq = std::get<std::vector<double>>(op.attrs.at("inv_freq"));
  const size_t h = static_cast<size_t>(in[0]->shape[2]), d = static_cast<size_t>(in[0]->shape[3]), half = inv_freq.size();
  Tensor y = *in[0];
  for (size_t token = 0; token < in[1]->ints.size(); ++token)
    for (size_t head = 0; head < h; ++head)
      for (size_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(in[1]->ints[token]) * inv_freq[i], c = std::cos(angle), s = std::sin(angle);
        const size_t at = (token * h + head) * d + i;
        const int a = in[0]->nodes[at], b = in[0]->nodes[at + half];
        y.nodes[at] = t.node(c * t.value(a) - s * t.value(b), {{a, c}, {b, -s}});
        y.nodes[at + half] = t.node(s * t.value(a) + c * t.value(b), {{a, s}, {b, c}});
      }
  return {y};
}

std::vector<Tensor> attention(Tape& t, const Op& op, const Inputs& in) {
  const Ints& q = in[0]->shape;
  const int64_t b = q[0], s = q[1], h = q[2], d = q[3], g = in[1]->shape[2];
  if (h % g != 0) throw std::runtime_error("attention: heads are not a multiple of kv heads");
  Tensor o{q, {}, {}};
  const auto at = [](const Tensor& x, int64_t batch, int64_t pos, int64_t head) {
    return &x.nodes[static_cast<size_t>(((batch * x.shape[1] + pos) * x.shape[2] + head) * x.shape[3])];
  };
  for (int64_t batch = 0; batch < b; ++batch)
    for (int64_t i = 0; i < s; ++i)
      for (int64_t head = 0; head < h; ++head) {
        std::vector<int> p;
        for (int64_t j = 0; j <= i; ++j)
          p.push_back(exponential(
              t, scaled(t, dot(t, at(*in[0], batch, i, head), at(*in[1], batch, j, head / (h / g)), d), op.float_attr("scale"))));
        const int norm = reciprocal(t, total(t, p));
        const int64_t row = g * d;  // values of consecutive positions
        for (int64_t e = 0; e < d; ++e)
          o.nodes.push_back(mul(t, norm, dot(t, p.data(), at(*in[2], batch, 0, head / (h / g)) + e, i + 1, row)));
      }
  return {o, Tensor{}};
}

std::vector<Tensor> row_max(Tape& t, const Inputs& in) {
  Tensor y{Ints(in[0]->shape.begin(), in[0]->shape.end() - 1), {}, {}};
  const auto v = static_cast<size_t>(in[0]->shape.back());
  for (size_t row = 0; row < in[0]->nodes.size(); row += v) {
    double max = -1e300;
    for (size_t j = 0; j < v; ++j) max = std::max(max, t.value(in[0]->nodes[row + j]));
    y.nodes.push_back(t.node(max));
  }
  return {y};
}

// Inputs logits, labels, max.
std::vector<Tensor> parts(Tape& t, int64_t first, const Inputs& in) {
  const auto v = static_cast<size_t>(in[0]->shape.back());
  Tensor sum{in[1]->shape, {}, {}}, target{in[1]->shape, {}, {}};
  for (size_t row = 0; row < in[1]->ints.size(); ++row) {
    std::vector<int> exps;
    const int minus_max = scaled(t, in[2]->nodes[row], -1);
    for (size_t j = 0; j < v; ++j) exps.push_back(exponential(t, add(t, in[0]->nodes[row * v + j], minus_max)));
    sum.nodes.push_back(total(t, exps));
    const int64_t label = in[1]->ints[row] - first;
    target.nodes.push_back(label >= 0 && label < static_cast<int64_t>(v) ? in[0]->nodes[row * v + static_cast<size_t>(label)] : t.node(0));
  }
  return {sum, target};
}

// Inputs sumexp, target, max, labels.
std::vector<Tensor> join(Tape& t, const Inputs& in) {
  Tensor loss{in[3]->shape, {}, {}};
  for (size_t row = 0; row < in[3]->ints.size(); ++row) {
    const int lse = add(t, logarithm(t, in[0]->nodes[row]), in[2]->nodes[row]);
    loss.nodes.push_back(in[3]->ints[row] < 0 ? t.node(0) : add(t, lse, scaled(t, in[1]->nodes[row], -1)));
  }
  return {loss, Tensor{}};
}

std::vector<Tensor> slice(const Op& op, const Inputs& in) {
  const auto d = static_cast<size_t>(op.int_attr("dim"));
  const int64_t start = op.int_attr("start"), length = op.int_attr("length"), size = in[0]->shape[d];
  const int64_t outer = count(in[0]->shape, 0, d), inner = count(in[0]->shape, d + 1, in[0]->shape.size());
  Tensor y{in[0]->shape, {}, {}};
  y.shape[d] = length;
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = start; i < start + length; ++i)
      for (int64_t j = 0; j < inner; ++j) {
        const auto at = static_cast<size_t>((o * size + i) * inner + j);
        if (!in[0]->nodes.empty())
          y.nodes.push_back(in[0]->nodes[at]);
        else
          y.ints.push_back(in[0]->ints[at]);
      }
  return {y};
}

}  // namespace

std::vector<Tensor> evaluate(Tape& t, const Op& op, const Inputs& in) {
  const auto map = [&](auto f) {
    Tensor y{in[0]->shape, {}, {}};
    for (size_t i = 0; i < in[0]->nodes.size(); ++i) y.nodes.push_back(f(i));
    return std::vector<Tensor>{y};
  };
  const auto x = [&](size_t input, size_t i) { return in[input]->nodes[i]; };
  const std::string_view name = op.name();
  if (name == "embedding") return embedding(t, op, in);
  if (name == "linear") return linear(t, op, in);
  if (name == "layer_norm" || name == "rms_norm") return norm(t, op, in);
  if (name == "rope") return rope(t, op, in);
  if (name == "attention") return attention(t, op, in);
  if (name == "activation") return map([&](size_t i) { return gelu(t, x(0, i)); });
  if (name == "glu") return map([&](size_t i) { return mul(t, silu(t, x(0, i)), x(1, i)); });
  if (name == "add") return map([&](size_t i) { return add(t, x(0, i), x(1, i)); });
  if (name == "scale") return map([&](size_t i) { return scaled(t, x(0, i), op.float_attr("alpha")); });
  if (name == "sum") return {Tensor{{}, {total(t, in[0]->nodes)}, {}}};
  if (name == "slice") return slice(op, in);
  if (name == "row_max") return row_max(t, in);
  if (name == "cross_entropy_parts") return parts(t, op.int_attr("shard_offset"), in);
  if (name == "cross_entropy_join") return join(t, in);
  if (name == "cross_entropy") {
    const std::vector<Tensor> max = row_max(t, in);
    const std::vector<Tensor> p = parts(t, 0, {in[0], in[1], &max[0]});
    return join(t, {&p[0], &p[1], &max[0], in[1]});
  }
  throw std::runtime_error("partition_world does not know op " + std::string(name));
}

}  // namespace nemo::passes::testing
