#include "tests/models/evaluate.hpp"

#include <cmath>
#include <stdexcept>

namespace nemo::models_test {
namespace {

using graph::Op;
using Inputs = std::vector<const Array*>;  // null where absent

int64_t product(const std::vector<int64_t>& dims, size_t begin, size_t end) {
  int64_t n = 1;
  for (size_t i = begin; i < end; ++i) n *= dims[i];
  return n;
}

void embedding(const Inputs& in, Array& y) {
  const int64_t width = in[1]->shape[1];
  for (size_t i = 0; i < in[0]->data.size(); ++i)
    for (int64_t j = 0; j < width; ++j) y.data[i * width + j] = in[1]->data[int64_t(in[0]->data[i]) * width + j];
}

// x [a k], w [n k], bias [n] -> y [a n]
void linear(const Op& op, const Inputs& in, Array& y) {
  const auto& w = *in[1];
  const size_t contract = op.int_attr("contract"), rank = w.shape.size();
  const int64_t k = product(w.shape, rank - contract, rank), n = product(w.shape, 0, rank - contract), a = int64_t(in[0]->data.size()) / k;
  for (int64_t i = 0; i < a; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = in[2] != nullptr ? in[2]->data[j] : 0;
      for (int64_t l = 0; l < k; ++l) sum += in[0]->data[i * k + l] * w.data[j * k + l];
      y.data[i * n + j] = sum;
    }
}

enum class Centre { kMean, kZero };

void norm(const Op& op, const Inputs& in, Array& y, Centre centre) {
  const int64_t d = in[0]->shape.back();
  for (size_t row = 0; row < y.data.size(); row += d) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < d && centre == Centre::kMean; ++i) mean += in[0]->data[row + i] / double(d);
    for (int64_t i = 0; i < d; ++i) square += std::pow(in[0]->data[row + i] - mean, 2) / double(d);
    for (int64_t i = 0; i < d; ++i) {
      y.data[row + i] = (in[0]->data[row + i] - mean) / std::sqrt(square + op.float_attr("eps")) * in[1]->data[i];
      if (centre == Centre::kMean) y.data[row + i] += in[2]->data[i];
    }
  }
}

// x [b s h d], positions [b s]
void rope(const Op& op, const Inputs& in, Array& y) {
  const auto& frequencies = std::get<std::vector<double>>(op.attrs.find("inv_freq")->second);
  const int64_t h = in[0]->shape[2], d = in[0]->shape[3], half = int64_t(frequencies.size());
  const double scale = op.float_attr("scale");
  const bool interleaved = op.int_attr("interleaved") != 0;
  for (size_t row = 0; row < y.data.size() / d; ++row)
    for (int64_t i = 0; i < half; ++i) {
      const double angle = in[1]->data[row / h] * frequencies[i];
      const size_t first = row * d + (interleaved ? 2 * i : i), second = first + (interleaved ? 1 : half);
      const double u = in[0]->data[first], v = in[0]->data[second];
      y.data[first] = scale * (u * std::cos(angle) - v * std::sin(angle));
      y.data[second] = scale * (v * std::cos(angle) + u * std::sin(angle));
    }
}

// One query against the keys that it may see. q [d], k [t g d] and v [t g e] of one batch row, o [e]
void attend(const double* q, const double* k, const double* v, double* o, int64_t keys, int64_t d, int64_t stride, double scale) {
  std::vector<double> p(keys);
  double sum = 0;
  for (int64_t j = 0; j < keys; ++j) {
    double score = 0;
    for (int64_t i = 0; i < d; ++i) score += q[i] * k[j * stride + i];
    sum += p[j] = std::exp(scale * score);
  }
  for (int64_t i = 0; i < d; ++i) {
    o[i] = 0;
    for (int64_t j = 0; j < keys; ++j) o[i] += p[j] / sum * v[j * stride + i];
  }
}

void attention(const Op& op, const Inputs& in, Array& o) {
  const auto& q = *in[0];
  const int64_t b = q.shape[0], s = q.shape[1], h = q.shape[2], d = q.shape[3], g = in[1]->shape[2];
  if (op.int_attr("causal") != 1 || op.int_attr("window") != 0 || op.float_attr("softcap") != 0 || in[3] != nullptr)
    throw std::runtime_error("this reference attends causally only");
  for (int64_t i = 0; i < b; ++i)
    for (int64_t t = 0; t < s; ++t)
      for (int64_t head = 0; head < h; ++head) {
        const int64_t row = ((i * s + t) * h + head) * d, keys = (i * s * g + head / (h / g)) * d;
        attend(&q.data[row], &in[1]->data[keys], &in[2]->data[keys], &o.data[row], t + 1, d, g * d, op.float_attr("scale"));
      }
}

double activation(const std::string& kind, double x) {
  if (kind == "gelu_tanh") return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  if (kind == "silu") return x / (1 + std::exp(-x));
  throw std::runtime_error("this reference has no activation " + kind);
}

void cross_entropy(const Op& op, const Inputs& in, Array& loss) {
  const int64_t v = in[0]->shape.back();
  for (size_t i = 0; i < loss.data.size(); ++i) {
    double sum = 0;
    for (int64_t j = 0; j < v; ++j) sum += std::exp(in[0]->data[i * v + j]);
    const auto label = int64_t(in[1]->data[i]);
    loss.data[i] = label == op.int_attr("ignore_index") ? 0 : std::log(sum) - in[0]->data[i * v + label];
  }
}

void apply(const Op& op, const Inputs& in, Array& y) {
  const auto name = op.name();
  if (name == "embedding") return embedding(in, y);
  if (name == "linear") return linear(op, in, y);
  if (name == "layer_norm") return norm(op, in, y, Centre::kMean);
  if (name == "rms_norm") return norm(op, in, y, Centre::kZero);
  if (name == "rope") return rope(op, in, y);
  if (name == "attention") return attention(op, in, y);
  if (name == "cross_entropy") return cross_entropy(op, in, y);
  for (size_t i = 0; i < in[0]->data.size(); ++i) {
    const double x = in[0]->data[i];
    if (name == "sum")
      y.data[0] += x;
    else if (name == "add")
      y.data[i] = x + in[1]->data[i];
    else if (name == "activation")
      y.data[i] = activation(op.string_attr("kind"), x);
    else if (name == "glu")
      y.data[i] = activation(op.string_attr("kind"), x) * in[1]->data[i];
    else
      throw std::runtime_error("this reference has no op " + std::string(name));
  }
}

}  // namespace

std::map<std::string, Array> evaluate(const graph::Graph& graph, const std::map<std::string, Array>& fed) {
  std::vector<Array> values(graph.values.size());
  for (size_t id = 1; id < graph.values.size(); ++id) {
    const graph::Value& value = graph.values[id];
    for (const auto& dim : value.dims) values[id].shape.push_back(dim.size);
    if (value.kind == graph::ValueKind::kResult)
      values[id].data.resize(element_count(value.dims));
    else
      values[id].data = fed.at(value.name).data;
    if (int64_t(values[id].data.size()) != element_count(value.dims)) throw std::runtime_error(value.name + " was fed with another size");
  }
  for (const Op& op : graph.ops) {
    Inputs inputs;
    for (const auto id : op.inputs) inputs.push_back(id == 0 ? nullptr : &values[id]);
    apply(op, inputs, values[op.outputs[0]]);
  }
  std::map<std::string, Array> out;
  for (const auto& [name, id] : graph.outputs) out[name] = values[id];
  return out;
}

}  // namespace nemo::models_test
