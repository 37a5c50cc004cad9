// Graph texts of one rank. NEMO_REWRITE_GOLDENS=1 writes them anew; the diff is to be reviewed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "core/passes/partition.hpp"
#include "tests/passes/partition_models.hpp"

namespace nemo::passes {
namespace {

using testing::gpt;
using testing::llama;

struct Case {
  const char* name;
  graph::Graph (*model)(const testing::ModelSize&);
  Plan plan;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::string parameters_text(const graph::Graph& graph) {
  std::string out;
  for (const graph::Parameter& p : graph.parameters) {
    out += "parameter " + p.name + " [";
    for (size_t d = 0; d < p.dims.size(); ++d) {
      out += (d ? ", " : "") + p.dims[d].axis + " " + std::to_string(p.dims[d].size);
      for (const std::string& m : p.dims[d].mesh) out += "/" + m;
    }
    out += "]";
    for (const std::string& m : p.gradient_partial) out += " partial:" + m;
    out += "\n";
  }
  return out;
}

class PartitionGolden : public ::testing::TestWithParam<Case> {};

TEST_P(PartitionGolden, graph_of_rank_is_as_reviewed) {
  graph::Graph graph = GetParam().model({});
  partition(graph, GetParam().plan);
  graph::verify(graph, "partition");
  const std::string text = parameters_text(graph) + graph::print(graph);
  const std::string path = std::string(NEMO_SOURCE_DIR) + "/tests/passes/golden/partition_" + GetParam().name + ".txt";
  if (std::getenv("NEMO_REWRITE_GOLDENS") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  ASSERT_TRUE(file) << path << " is missing; NEMO_REWRITE_GOLDENS=1 writes it";
  std::stringstream expected;
  expected << file.rdbuf();
  EXPECT_EQ(text, expected.str());
}

INSTANTIATE_TEST_SUITE_P(Models, PartitionGolden,
                         ::testing::Values(Case{"gpt_tp2", gpt, testing::tensor_parallel(2)},
                                           Case{"gpt_tp2_sp", gpt, testing::sequence_parallel(2)},
                                           Case{"gpt_dp2_tp2", gpt, testing::data_and_tensor_parallel(2, 2)},
                                           Case{"llama_tp2", llama, testing::tensor_parallel(2)},
                                           Case{"llama_tp2_sp", llama, testing::sequence_parallel(2)},
                                           Case{"llama_dp2_tp2", llama, testing::data_and_tensor_parallel(2, 2)}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nemo::passes
