// tests/graph/declare.hpp - declares values of a graph in one line.
#pragma once

#include "core/graph/graph.hpp"

namespace nemo::testing {

inline graph::ValueId declare_parameter(graph::Graph& graph, std::string name, graph::Dims dims, graph::DType dtype) {
  graph::Parameter parameter;
  parameter.name = std::move(name);
  parameter.dims = std::move(dims);
  parameter.dtype = dtype;
  return graph.add_parameter(std::move(parameter));
}

}  // namespace nemo::testing
