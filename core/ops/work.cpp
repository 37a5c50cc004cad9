#include "core/ops/work.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace nemo::ops {
namespace {

using graph::Dims;
using graph::Graph;
using graph::Op;
using graph::Value;
using graph::ValueId;

constexpr double kBackwardOverForward = 2.5;  // products of attention's backward: 5 instead of 2
// As our GPU kernel cuts them.
constexpr int64_t kLossChunkRows = 16384;
constexpr int64_t kLossChunkBytes = int64_t{2} << 30;

class Counter {
 public:
  Counter(const Graph& graph, const Op& op) : graph_(graph), op_(op) {}

  Work run() {
    const std::string_view name = op_.name();
    if (name.starts_with("linear_cross_entropy"))
      last_linear_and_loss();
    else if (name == "linear" || name.starts_with("linear_"))
      linear(name);
    else if (name.starts_with("grouped_linear"))
      grouped(name);
    else if (name == "attention" || name == "attention_grad")
      attention(name == "attention_grad");
    else if (name == "embedding" || name == "embedding_grad")
      embedding(name == "embedding_grad");
    else if (op_.row->attribute("mesh") != nullptr)
      collective(name);
    else
      work_.bytes = all_bytes();
    return std::move(work_);
  }

 private:
  [[nodiscard]] const Value& in(size_t i) const { return graph_.value(op_.inputs[i]); }
  [[nodiscard]] const Value& out(size_t i) const { return graph_.value(op_.outputs[i]); }
  static double count(const Value& v) { return static_cast<double>(graph::element_count(v.dims)); }
  static double bytes(const Value& v) { return count(v) * static_cast<double>(graph::size_of(v.dtype)); }

  // A gradient that is added to is read as well.
  [[nodiscard]] double written(size_t i) const {
    if (op_.outputs[i] == 0) return 0;
    const bool adds = op_.row->outputs[i].accumulates && op_.row->attribute("accumulate") != nullptr && op_.int_attr("accumulate") != 0;
    return bytes(out(i)) * (adds ? 2 : 1);
  }

  [[nodiscard]] double all_bytes() const {
    double sum = 0;
    for (const ValueId v : op_.inputs)
      if (v != 0) sum += bytes(graph_.value(v));
    for (size_t i = 0; i < op_.outputs.size(); ++i) sum += written(i);
    return sum;
  }

  // Inputs are x or dy first; the contracted size is the product of the last `contract` dimensions of w.
  void linear(std::string_view name) {
    const bool input_gradient = name.starts_with("linear_dgrad"), weight_gradient = name.starts_with("linear_wgrad");
    const Value& weight = weight_gradient ? out(0) : in(1);
    const bool transposed = name == "linear_dgrad_fp8";  // its weight is [k n]
    double k = 1;
    for (int64_t d = 0; d < op_.int_attr("contract"); ++d)
      k *= static_cast<double>(weight.dims[transposed ? static_cast<size_t>(d) : weight.dims.size() - 1 - static_cast<size_t>(d)].size);
    const double n = count(weight) / k;
    const double rows = count(in(0)) / (input_gradient || weight_gradient ? n : k);
    const graph::DType dtype = in(0).dtype;
    if (weight_gradient)
      work_.products.push_back({n, k, rows, dtype});
    else if (input_gradient)
      work_.products.push_back({rows, k, n, dtype});
    else
      work_.products.push_back({rows, n, k, dtype});
    work_.bytes = all_bytes();
  }

  // Rows of all experts of this rank, of which each has as many; of the room that expert parallelism plans, what comes if all ranks get as
  // much as they deal.
  void grouped(std::string_view name) {
    const bool input_gradient = name == "grouped_linear_dgrad", weight_gradient = name == "grouped_linear_wgrad";
    const Value& weight = weight_gradient ? out(0) : in(2);
    const auto experts = static_cast<double>(weight.dims[0].size);
    double k = 1;
    for (int64_t d = 0; d < op_.int_attr("contract"); ++d)
      k *= static_cast<double>(weight.dims[weight.dims.size() - 1 - static_cast<size_t>(d)].size);
    const double n = count(weight) / experts / k, rows = rows_that_come(op_.inputs[1]) / experts;
    const graph::DType dtype = in(0).dtype;
    if (weight_gradient)
      work_.products.push_back({n, k, rows, dtype, 1, experts, Product::Kind::kGroupedWeight});
    else if (input_gradient)
      work_.products.push_back({rows, k, n, dtype, 1, experts, Product::Kind::kGroupedInput});
    else
      work_.products.push_back({rows, n, k, dtype, 1, experts, Product::Kind::kGrouped});
    work_.bytes = all_bytes();
  }

  // `ids` has a row for each that there is room for.
  [[nodiscard]] double rows_that_come(ValueId ids) const {
    for (const Op& op : graph_.ops)
      if (op.name() == "moe_exchange_plan" && op.outputs[0] == ids) return count(graph_.value(op.inputs[0]));
    return count(graph_.value(ids));
  }

  // Pairs of query and key that the mask leaves; queries are aligned to the end of the keys.
  [[nodiscard]] double visible(double queries, double keys) const {
    const auto window = static_cast<double>(op_.int_attr("window"));
    const double pairs = op_.int_attr("causal") != 0 ? queries * (keys - queries / 2) : queries * keys;
    return window > 0 ? std::min(pairs, queries * window) : pairs;
  }

  void attention(bool backward) {
    const size_t q = backward ? 1 : 0;
    const Dims &qd = in(q).dims, &kd = in(q + 1).dims, &vd = in(q + 2).dims;
    const auto size = [](const Dims& dims, size_t i) { return static_cast<double>(dims[i].size); };
    work_.attention_flops = 2.0 * size(qd, 0) * size(qd, 2) * visible(size(qd, 1), size(kd, 1)) * (size(qd, 3) + size(vd, 3));
    if (backward) work_.attention_flops *= kBackwardOverForward;
    work_.head_dim = qd[3].size, work_.queries = qd[1].size, work_.keys = kd[1].size, work_.backward = backward;
    work_.bytes = all_bytes();
    // dq is summed in f32, with the row sums of do * o beside it.
    if (backward) work_.workspace = static_cast<int64_t>(count(in(1)) * 4 + count(in(5)) * 4 * 2);
  }

  // Rows that are looked up, not the whole table; the gradient sorts tokens and clears the table where it is the first to write.
  void embedding(bool backward) {
    if (!backward) {
      work_.bytes = 2 * bytes(out(0)) + bytes(in(0));
      return;
    }
    const bool adds = op_.int_attr("accumulate") != 0;
    work_.bytes = 2 * bytes(in(0)) + 8 * bytes(in(1)) + (adds ? 0 : bytes(out(0)));
    work_.workspace = static_cast<int64_t>(16 * count(in(1)));
  }

  // Chunks of rows whose logits never exist all at once: product, loss (read, and written where there are gradients), two more products.
  void last_linear_and_loss() {
    const bool train = op_.name().ends_with("_train");
    const double d = static_cast<double>(in(1).dims.back().size), v = count(in(1)) / d, rows = count(in(0)) / d;
    const auto element = static_cast<double>(graph::size_of(in(0).dtype));
    const auto fit = static_cast<int64_t>(static_cast<double>(kLossChunkBytes) / (v * element)) / 256 * 256;
    const double most = static_cast<double>(std::clamp<int64_t>(fit, 256, kLossChunkRows)), parts = std::ceil(rows / most);
    const double chunk = std::min(rows, std::ceil(std::ceil(rows / parts) / 128) * 128), chunks = rows / chunk;
    const graph::DType dtype = in(0).dtype;
    work_.products.push_back({chunk, v, d, dtype, chunks});
    work_.bytes = rows * v * element * (train ? 2 : 1) + bytes(in(0)) + bytes(in(1));
    work_.workspace = static_cast<int64_t>(chunk * v * element);
    if (!train) return;
    work_.products.push_back({chunk, d, v, dtype, chunks});
    work_.products.push_back({v, d, chunk, dtype, chunks});
    work_.bytes += (2 * chunks - 1) * count(out(2)) * 4 + bytes(out(1));
    if (out(2).dtype != graph::DType::kF32) work_.workspace += static_cast<int64_t>(count(out(2)) * 4);
  }

  // Counts are data, which the host does not know: a rank sends every rank as many rows as could come at most, packed into a buffer and out
  // of one.
  void exchange(std::string_view name) {
    const bool plan = name == "moe_exchange_plan", back = name == "moe_exchange_back";
    const double ranks = count(plan ? out(1) : in(1)) / 2, dealt = count(plan ? in(0) : in(2));
    const auto room = static_cast<double>((back ? in(0) : out(0)).dims[0].size);
    work_.message_bytes = ranks * std::min(dealt, room) * bytes(back ? out(0) : in(0)) / dealt;
    work_.bytes = 2 * (bytes(in(0)) + bytes(out(0)));
    work_.workspace = static_cast<int64_t>(2 * work_.message_bytes);
  }

  void collective(std::string_view name) {
    if (name == "copy_to") return;
    work_.mesh = op_.string_attr("mesh");
    if (name == "moe_exchange" || name == "moe_exchange_back" || name == "moe_exchange_plan") return exchange(name);
    work_.message_bytes = std::max(bytes(in(0)), op_.outputs[0] == 0 ? 0 : bytes(out(0)));
  }

  const Graph& graph_;
  const Op& op_;
  Work work_;
};

}  // namespace

Work work_of(const Graph& graph, const Op& op) { return Counter(graph, op).run(); }

}  // namespace nemo::ops
