// core/graph/shape.hpp - the shape rule of a row: which dimensions each factor letter stands for.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/graph/graph.hpp"

namespace nemo::graph {

// Letter -> its dimensions (one, or any number for a group).
using Factors = std::map<std::string, Dims, std::less<>>;

// Binds every letter of the inputs, and those that an attribute gives. Throws nemo::Error naming scope, op, tensor and letter on a rank or
// size mismatch.
[[nodiscard]] Factors bind_factors(const Graph& graph, const Op& op);

// Dimensions of a tensor of the row, by its letters. `missing` (may be null) receives the first letter that no input binds.
[[nodiscard]] Dims dims_of(const TensorRow& tensor, const Factors& factors, std::string* missing);

// For each dimension of input or output `tensor`, the letter that it belongs to (group letters repeat).
[[nodiscard]] std::vector<std::string> letters_of(const TensorRow& tensor, const Factors& factors);

// The dtype that the row gives output `index`, from the inputs' dtypes. kNone while the graph is untyped.
[[nodiscard]] DType output_dtype(const Graph& graph, const Op& op, size_t index);

// The compute dtype of an op: that of its first unmarked input; kNone if it has none or is untyped.
[[nodiscard]] DType compute_dtype(const Graph& graph, const Op& op);

}  // namespace nemo::graph
