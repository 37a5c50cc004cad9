#include "tests/passes/partition_world.hpp"

#include <algorithm>
#include <stdexcept>

namespace nemo::passes::testing {

using graph::Dims;
using graph::Graph;
using graph::Op;
using graph::Parameter;
using graph::Value;
using graph::ValueId;
using graph::ValueKind;

int Tape::node(double value, Parents parents) {
  values_.push_back(value);
  parents_.push_back(std::move(parents));
  return static_cast<int>(values_.size() - 1);
}

void Tape::backward(const std::vector<int>& seeds) {
  gradients_.assign(values_.size(), 0);
  for (const int seed : seeds) gradients_[static_cast<size_t>(seed)] += 1;
  for (size_t i = values_.size(); i-- > 0;)
    for (const auto& [parent, derivative] : parents_[i]) gradients_[static_cast<size_t>(parent)] += derivative * gradients_[i];
}

namespace {

int64_t elements(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (const int64_t s : shape) n *= s;
  return n;
}

class World {
 public:
  World(const Graph& model, const Plan& plan) : model_(model), plan_(plan) {
    int64_t ranks = 1;
    for (const MeshAxis& axis : plan.mesh) ranks *= axis.size;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      Coordinates at;
      int64_t rest = rank;
      for (size_t m = plan.mesh.size(); m-- > 0; rest /= plan.mesh[m].size) at[plan.mesh[m].name] = rest % plan.mesh[m].size;
      coordinates_.push_back(at);
      graphs_.push_back(model);
      partition(graphs_.back(), plan, at);
      graph::verify(graphs_.back(), "partition");
    }
    values_.resize(graphs_.size());
    for (size_t r = 0; r < graphs_.size(); ++r) values_[r].resize(graphs_[r].values.size());
  }

  Outcome run(const Numbers& numbers, const Numbers& reference) {
    for (size_t r = 0; r < graphs_.size(); ++r) feed(r, numbers);
    for (size_t i = 0; i < graphs_[0].ops.size(); ++i) step(i);
    Outcome outcome;
    std::vector<int> seeds;
    for (size_t r = 0; r < graphs_.size(); ++r) {
      seeds.push_back(values_[r][graphs_[r].find_output("loss")].nodes[0]);
      outcome.loss.push_back(tape_.value(seeds.back()));
    }
    tape_.backward(seeds);
    for (size_t r = 0; r < graphs_.size(); ++r) collect(r, reference, outcome);
    return outcome;
  }

 private:
  // The rank's part of a global row-major array.
  [[nodiscard]] std::vector<double> cut(size_t rank, const std::vector<double>& global, const Dims& whole, const Dims& local) const {
    std::vector<double> out;
    for (int64_t i = 0; i < graph::element_count(local); ++i) {
      int64_t rest = i, at = 0, stride = 1;
      for (size_t d = local.size(); d-- > 0;) {
        int64_t part = 0;
        for (const std::string& m : local[d].mesh) part = part * plan_.axis_size(m) + coordinates_[rank].at(m);
        at += (part * local[d].size + rest % local[d].size) * stride;
        rest /= local[d].size;
        stride *= whole[d].size;
      }
      out.push_back(global[static_cast<size_t>(at)]);
    }
    return out;
  }

  [[nodiscard]] std::vector<double> cut_parameter(size_t rank, const Parameter& p, const std::vector<double>& global) const {
    return cut(rank, global, p.global_dims, p.dims);
  }

  void feed(size_t r, const Numbers& numbers) {
    for (size_t v = 1; v < graphs_[r].values.size(); ++v) {
      const Value& value = graphs_[r].values[v];
      Tensor& tensor = values_[r][v];
      for (const graph::Dim& d : value.dims) tensor.shape.push_back(d.size);
      if (value.kind == ValueKind::kInput)
        for (const double x : cut(r, numbers.at(value.name), model_.values[v].dims, value.dims))
          tensor.ints.push_back(static_cast<int64_t>(x));
      if (value.kind == ValueKind::kParameter)
        for (const double x : cut_parameter(r, graphs_[r].parameters[value.members[0]], numbers.at(value.name)))
          tensor.nodes.push_back(tape_.node(x));
    }
  }

  // Ranks that differ from r along mesh axis m only, by coordinate.
  [[nodiscard]] std::vector<size_t> peers(size_t r, const std::string& m) const {
    std::vector<size_t> group;
    for (size_t other = 0; other < graphs_.size(); ++other) {
      Coordinates at = coordinates_[other];
      at[m] = coordinates_[r].at(m);
      if (at == coordinates_[r]) group.push_back(other);
    }
    return group;
  }

  void step(size_t i) {
    for (size_t r = 0; r < graphs_.size(); ++r) {
      const Op& op = graphs_[r].ops.at(i);
      if (op.name() != graphs_[0].ops[i].name()) throw std::runtime_error("ranks run different ops");
      if (op.row->attribute("mesh") != nullptr) {
        communicate(r, op, i);
        continue;
      }
      std::vector<const Tensor*> inputs;
      for (const ValueId v : op.inputs) inputs.push_back(v == 0 ? nullptr : &values_[r][v]);
      std::vector<Tensor> results = evaluate(tape_, op, inputs);
      for (size_t o = 0; o < results.size(); ++o) {
        Tensor& out = values_[r][op.outputs[o]];
        if (results[o].shape != out.shape && !results[o].shape.empty())
          throw std::runtime_error("op " + std::string(op.name()) + " left another shape than the graph says");
        out = std::move(results[o]);
      }
    }
  }

  void communicate(size_t r, const Op& op, size_t i) {
    const std::string mesh = op.string_attr("mesh");
    std::vector<const Tensor*> parts;
    for (const size_t peer : peers(r, mesh)) parts.push_back(&values_[peer][graphs_[peer].ops[i].inputs[0]]);
    const Tensor& own = values_[r][op.inputs[0]];
    Tensor& out = values_[r][op.outputs[0]];
    if (op.name() == "all_gather") return gather(parts, static_cast<size_t>(op.int_attr("dim")), out);
    std::vector<int> sums;
    for (size_t e = 0; e < own.nodes.size(); ++e) sums.push_back(combine(op, parts, own, e));
    if (op.name() != "reduce_scatter") {
      out.nodes = sums;
      return;
    }
    const auto d = static_cast<size_t>(op.int_attr("dim"));
    int64_t inner = 1;
    for (size_t k = d + 1; k < own.shape.size(); ++k) inner *= own.shape[k];
    const int64_t length = out.shape[d], size = own.shape[d], start = coordinates_[r].at(mesh) * length;
    for (int64_t e = 0; e < elements(own.shape); ++e)
      if (const int64_t at = e / inner % size; at >= start && at < start + length) out.nodes.push_back(sums[static_cast<size_t>(e)]);
  }

  // One element of copy_to, all_reduce or the sum in reduce_scatter, with the backward rule of partition.hpp.
  int combine(const Op& op, const std::vector<const Tensor*>& parts, const Tensor& own, size_t e) {
    double sum = 0, max = -1e300;
    Tape::Parents everyone;
    for (const Tensor* part : parts) {
      const double x = tape_.value(part->nodes[e]);
      sum += x;
      max = std::max(max, x);
      everyone.emplace_back(part->nodes[e], 1.0);
    }
    if (op.name() == "copy_to") {
      for (const Tensor* part : parts)
        if (std::abs(tape_.value(part->nodes[e]) - tape_.value(own.nodes[e])) > 1e-12)
          throw std::runtime_error("copy_to of a value that differs between ranks");
      return tape_.node(tape_.value(own.nodes[e]), everyone);
    }
    if (op.name() == "reduce_scatter") return tape_.node(sum, everyone);
    if (op.name() != "all_reduce") throw std::runtime_error("unknown collective");
    return op.string_attr("op") == "max" ? tape_.node(max) : tape_.node(sum, {{own.nodes[e], 1.0}});
  }

  static void gather(const std::vector<const Tensor*>& parts, size_t d, Tensor& out) {
    int64_t outer = 1, chunk = 1;
    for (size_t k = 0; k < parts[0]->shape.size(); ++k) (k < d ? outer : chunk) *= parts[0]->shape[k];
    for (int64_t o = 0; o < outer; ++o)
      for (const Tensor* part : parts)
        out.nodes.insert(out.nodes.end(), part->nodes.begin() + o * chunk, part->nodes.begin() + (o + 1) * chunk);
    out.nodes.resize(static_cast<size_t>(elements(out.shape)));
  }

  [[nodiscard]] std::vector<double> local_gradient(size_t r, ValueId value) const {
    std::vector<double> out;
    for (const int id : values_[r][value].nodes) out.push_back(tape_.gradient(id));
    return out;
  }

  void collect(size_t r, const Numbers& reference, Outcome& outcome) const {
    Numbers gradients, whole;
    for (const Parameter& p : graphs_[r].parameters) {
      std::vector<size_t> group{r};
      for (const std::string& m : p.gradient_partial) {
        std::vector<size_t> wider;
        for (const size_t member : group)
          for (const size_t peer : peers(member, m)) wider.push_back(peer);
        group = wider;
      }
      std::vector<double>& sum = gradients[p.name];
      for (const size_t member : group) {
        const std::vector<double> part = local_gradient(member, p.value);
        sum.resize(part.size(), 0);
        for (size_t e = 0; e < part.size(); ++e) sum[e] += part[e];
      }
      if (!reference.empty()) whole[p.name] = cut_parameter(r, p, reference.at(p.name));
    }
    outcome.gradients.push_back(std::move(gradients));
    outcome.whole_cut.push_back(std::move(whole));
  }

  const Graph& model_;
  const Plan& plan_;
  std::vector<Graph> graphs_;
  std::vector<Coordinates> coordinates_;
  std::vector<std::vector<Tensor>> values_;
  Tape tape_;
};

}  // namespace

Outcome run_world(const Graph& model, const Plan& plan, const Numbers& numbers, const Numbers& reference) {
  return World(model, plan).run(numbers, reference);
}

}  // namespace nemo::passes::testing
