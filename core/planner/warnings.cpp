#include "core/planner/warnings.hpp"

#include <algorithm>
#include <cstdio>

namespace nemo::planner {
namespace {

constexpr double kMuchBubble = 0.10, kMuchExposed = 0.10, kSlowProducts = 0.80, kUneven = 0.05, kMuchRoom = 2;
constexpr int64_t kVocabularyStep = 128, kManyRoundings = 8;

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

class Critic {
 public:
  Critic(Report& report, const Request& request, const Hardware& hardware) : r_(report), q_(request), h_(hardware) {}

  void run() {
    memory();
    recompute();
    nodes();
    bubble();
    exposed();
    products();
    vocabulary();
    sequence();
    optimizer();
    gradients();
    experts();
    assumptions();
  }

 private:
  void warn(std::string text) { r_.warnings.push_back(std::move(text)); }
  [[nodiscard]] bool has_rule(const std::string& logical, const std::string& mesh) const {
    return std::any_of(q_.plan.rules.begin(), q_.plan.rules.end(),
                       [&](const auto& rule) { return rule.first == logical && rule.second == mesh; });
  }
  // The mesh axis that splits the model's features, if any.
  [[nodiscard]] std::string tensor_axis() const {
    for (const auto& [logical, mesh] : q_.plan.rules)
      if ((logical == "heads" || logical == "mlp") && q_.plan.axis_size(mesh) > 1) return mesh;
    return "";
  }

  void memory() {
    const Role& role = r_.largest();
    if (!role.memory.fits())
      warn("does not fit: " + runtime::gib(role.memory.total()) + " of " + runtime::gib(h_.memory_bytes) + "; " + remedies());
  }

  // Settings of the same layout that would fit, each by itself.
  [[nodiscard]] std::string remedies() const {
    std::string out;
    const auto attempt = [&](const std::string& words, auto&& change) {
      Request other = q_;
      other.judge = false;
      change(other);
      const Report report = make_report(other, h_);
      if (report.fits())
        out += (out.empty() ? "" : ", ") + words + " would (" + runtime::gib(report.largest().memory.total()) + ", a step of " +
               number(report.step_seconds()) + " s instead of " + number(r_.step_seconds()) + ")";
    };
    if (graph::size_of(q_.precision.gradient) > 2 && graph::size_of(q_.precision.parameter) == 2)
      attempt("precision.grad_dtype=bf16", [](Request& other) { other.precision.gradient = graph::DType::kBF16; });
    if (q_.recompute == passes::Recompute::kNone)
      attempt("trainer.recompute=selective", [](Request& other) { other.recompute = passes::Recompute::kSelective; });
    if (q_.recompute != passes::Recompute::kFull)
      attempt("trainer.recompute=full", [](Request& other) { other.recompute = passes::Recompute::kFull; });
    if (q_.facts.micro_batch_size > 1) attempt("data.micro_batch_size=1", [](Request& other) { other.facts.micro_batch_size = 1; });
    if (!out.empty()) return out;
    return "neither gradients in 16 bits, more recompute nor a smaller micro-batch is enough by itself: a larger tensor, pipeline or "
           "context "
           "parallel size would take less";
  }

  void recompute() {
    if (q_.recompute == passes::Recompute::kNone) return;
    Request without = q_;
    without.recompute = passes::Recompute::kNone;
    without.judge = false;
    const Report other = make_report(without, h_);
    if (other.fits())
      warn("recompute without need: with trainer.recompute=none the run takes " + runtime::gib(other.largest().memory.total()) + " of " +
           runtime::gib(h_.memory_bytes) + " and a step " + percent(1 - other.step_seconds() / r_.step_seconds()) + " less time");
  }

  void nodes() {
    for (const Traffic& t : r_.traffic)
      if (t.axes == tensor_axis() && t.nodes > 1)
        warn("tensor parallelism over " + std::to_string(t.size) + " ranks spans " + std::to_string(t.nodes) + " nodes of " +
             std::to_string(h_.devices_per_node) + " devices: every layer waits for the network between nodes (" +
             percent(t.exposed / r_.step_seconds()) + " of the step); keep it within a node and use pipeline parallelism for the rest");
  }

  void bubble() {
    if (r_.bubble > kMuchBubble)
      warn("pipeline bubble of " + percent(r_.bubble) + " with " + std::to_string(r_.pipeline_ranks) + " ranks, " +
           std::to_string(r_.virtual_stages) + " virtual stages and " + std::to_string(r_.micro_batches) +
           " micro-batches; more micro-batches (a larger global batch or fewer data ranks), more virtual stages, or schedule zb-h1 make it "
           "smaller");
    if (r_.blocks.empty()) return;
    const auto [least, most] = std::minmax_element(r_.blocks.begin(), r_.blocks.end());
    if (static_cast<double>(*most - *least) > kUneven * static_cast<double>(*most) + 1)
      warn("pipeline stages are uneven: " + std::to_string(*least) + " to " + std::to_string(*most) + " blocks");
  }

  void exposed() {
    for (const Traffic& t : r_.traffic)
      if (t.exposed > kMuchExposed * r_.step_seconds())
        warn("communication along " + t.axes + " (" + std::to_string(t.size) + " ranks on " + std::to_string(t.nodes) +
             " nodes) is not hidden behind computation: " + percent(t.exposed / r_.step_seconds()) + " of the step");
  }

  void products() {
    if (r_.product_share < kSlowProducts)
      warn("matrix products reach " + percent(r_.product_share) + " of the rate of large ones: a micro-batch of " +
           std::to_string(q_.facts.micro_batch_size) + " x " + std::to_string(q_.facts.seq_length) +
           " tokens, split as it is, is small; a larger micro-batch or a smaller tensor or context parallel size helps");
  }

  void vocabulary() {
    const graph::Graph model = q_.build(q_.facts);
    for (const graph::Parameter& p : model.parameters) {
      if (p.dims.empty() || p.dims[0].axis != "vocab") continue;
      int64_t ranks = 1;
      for (const auto& [logical, mesh] : q_.plan.rules)
        if (logical == "vocab") ranks *= q_.plan.axis_size(mesh);
      if (p.dims[0].size % (kVocabularyStep * ranks) != 0)
        warn("vocabulary of " + std::to_string(p.dims[0].size) + " rows on " + std::to_string(ranks) + " ranks is no multiple of " +
             std::to_string(kVocabularyStep * ranks) +
             ": the last product runs at a fraction of its rate; model.make_vocab_size_divisible_by=" +
             std::to_string(kVocabularyStep * ranks) + " pads it");
      return;
    }
  }

  void sequence() {
    const std::string axis = tensor_axis();
    if (!axis.empty() && !has_rule("seq", axis))
      warn("tensor parallelism without sequence parallelism: norms and the residual stream are computed and kept whole on all " +
           std::to_string(q_.plan.axis_size(axis)) +
           " ranks; strategy.sequence_parallel=true splits them at the same communication volume");
  }

  void optimizer() {
    if (r_.data_ranks > 1 && q_.plan.zero_stage() == 0)
      warn("all " + std::to_string(r_.data_ranks) +
           " data ranks keep the whole optimizer state; a distributed optimizer (ZeRO-1) keeps it once");
  }

  void experts() {
    if (r_.expert_room > kMuchRoom)
      warn("experts have room for " + number(r_.expert_room) +
           " times the rows that balanced routers send, and work on all of it: strategy.moe_expert_rank_capacity_factor bounds it (1.2: a "
           "rank may get a fifth more than its share; more ends the run)");
  }

  void gradients() {
    if (const std::string text = narrow_gradients(q_.precision, r_.micro_batches); !text.empty()) warn(text);
  }

  void assumptions() {
    std::string rows;
    for (const std::string& row : h_.fused_rows) rows += (rows.empty() ? "" : ", ") + row;
    r_.assumptions.push_back("device and network as in " + h_.file);
    r_.assumptions.push_back("fused rows as in that file: " + (rows.empty() ? "none" : rows));
    r_.assumptions.push_back("kernel workspace estimated from shapes; the graph and its memory plan are those that would run");
  }

  Report& r_;
  const Request& q_;
  const Hardware& h_;
};

}  // namespace

// A sum that is rounded to 8 bits after every micro-batch loses the smaller addends.
std::string narrow_gradients(const passes::Precision& precision, int64_t micro_batches) {
  if (graph::size_of(precision.gradient) > 2 || micro_batches <= kManyRoundings) return "";
  return "gradients are summed in 16 bits over " + std::to_string(micro_batches) + " micro-batches and rounded after each: beyond " +
         std::to_string(kManyRoundings) +
         " small contributions are lost; a larger micro-batch, or gradients in f32 (precision.grad_dtype=f32), keeps them";
}

void add_warnings(Report& report, const Request& request, const Hardware& hardware) { Critic(report, request, hardware).run(); }

}  // namespace nemo::planner
