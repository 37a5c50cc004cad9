// tests/passes/partition_world.hpp - runs the partitioned graphs of all ranks in lockstep on numbers, and backwards, so that N ranks can be
// compared with one.
//
// Every number is a node of one tape. The collectives' backward rules are those that partition.hpp states, not the true adjoints of the
// joint program.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/passes/partition.hpp"

namespace nemo::passes::testing {

class Tape {
 public:
  using Parents = std::vector<std::pair<int, double>>;  // node, partial derivative
  int node(double value, Parents parents = {});
  [[nodiscard]] double value(int id) const { return values_[static_cast<size_t>(id)]; }
  [[nodiscard]] double gradient(int id) const { return gradients_[static_cast<size_t>(id)]; }
  // Reverse sweep with gradient 1 at each seed.
  void backward(const std::vector<int>& seeds);

 private:
  std::vector<double> values_, gradients_;
  std::vector<Parents> parents_;
};

// Row-major; numbers are tape nodes, integers are in `ints`.
struct Tensor {
  std::vector<int64_t> shape;
  std::vector<int> nodes;
  std::vector<int64_t> ints;
};

// One op on one rank, without communication. Throws std::runtime_error for an op that it does not know.
[[nodiscard]] std::vector<Tensor> evaluate(Tape& tape, const graph::Op& op, const std::vector<const Tensor*>& inputs);

using Numbers = std::map<std::string, std::vector<double>>;  // by parameter or input name, global and row-major

struct Outcome {
  std::vector<double> loss;        // by rank
  std::vector<Numbers> gradients;  // by rank: complete gradient of the rank's part, as the optimizer gets it
  std::vector<Numbers> whole_cut;  // by rank: `reference` gradients cut to the rank's part
};

// Partitions `model` for every rank of the plan's mesh, runs forward and backward. `reference` (may be empty): global gradients to cut.
[[nodiscard]] Outcome run_world(const graph::Graph& model, const Plan& plan, const Numbers& numbers, const Numbers& reference);

}  // namespace nemo::passes::testing
