#include "core/passes/compile.hpp"

#include <chrono>

#include "core/base/error.hpp"
#include "core/passes/cache.hpp"
#include "core/passes/fuse.hpp"
#include "core/passes/group.hpp"
#include "core/passes/partition.hpp"
#include "core/passes/ring.hpp"
#include "core/passes/schedule.hpp"
#include "core/passes/share.hpp"
#include "core/passes/stage_streams.hpp"
#include "core/passes/strands.hpp"

namespace nemo::passes {

using graph::Graph;

namespace {

// Training and evaluation keep the loss and the model's own metrics, but not the logits of all tokens.
std::vector<std::string> outputs_for(const Graph& graph, Purpose purpose) {
  const bool scores = purpose == Purpose::kTrain || purpose == Purpose::kEvaluate;
  const std::string_view wanted = scores ? "loss" : "logits";
  if (graph.find_output(wanted) == 0)
    throw Error(Code::kInvalidArgument, "the model names no output '" + std::string(wanted) + "', which program '" +
                                            std::string(to_string(purpose)) + "' computes");
  if (!scores) return {"logits"};
  std::vector<std::string> names;
  for (const auto& [name, id] : graph.outputs)
    if (name != "logits") names.push_back(name);
  return names;
}

// Outside training dropout is the identity, and terms that only steer training are left out of the loss.
void drop_what_only_trains(Graph& graph) {
  std::vector<graph::ValueId> same(graph.values.size());
  for (size_t v = 0; v < same.size(); ++v) same[v] = static_cast<graph::ValueId>(v);
  std::vector<graph::Op> kept;
  for (graph::Op& op : graph.ops) {
    for (graph::ValueId& v : op.inputs) v = same[v];
    if (op.name() == "dropout" || (op.name() == "add_loss" && op.int_attr("train_only") != 0))
      same[op.outputs[0]] = op.inputs[0];
    else
      kept.push_back(std::move(op));
  }
  for (auto& [name, v] : graph.outputs) v = same[v];
  graph.ops = std::move(kept);
}

LayoutOptions layout_options(const Plan& plan) {
  if (plan.zero_stage() == 0) return {};
  const bool per_block = plan.zero_stage() > 1;  // gathered and reduced while the program runs
  return {plan.group_size(plan.zero_axis()), per_block ? 1 : plan.bucket_elements, per_block};
}

// Where blocks are gathered or their gradients reduced within the program, a block's ops must stand together; delayed scaling keeps a
// history for each tensor of the model.
bool halves_take_turns(const CompileOptions& options, const Stages& stages) {
  return options.plan.take_turns && !stages.cut() && options.plan.zero_stage() < 2 &&
         options.precision.quantization.scaling != Quantization::Scaling::kDelayed;
}

int64_t pipeline_rank(const CompileOptions& options) {
  const auto found = options.coordinates.find(options.plan.pipeline.mesh);
  return found == options.coordinates.end() ? 0 : found->second;
}

}  // namespace

std::string_view to_string(Purpose purpose) {
  switch (purpose) {
    case Purpose::kTrain:
      return "train";
    case Purpose::kEvaluate:
      return "evaluate";
    case Purpose::kLogits:
      return "logits";
    case Purpose::kPrefill:
      return "prefill";
    case Purpose::kDecode:
      return "decode";
    case Purpose::kEncode:
      return "encode";
  }
  return "";
}

const std::vector<std::string>& pass_names() {
  static const std::vector<std::string> names{"build",         "edit", "type",     "cache",    "partition", "stage", "group",
                                              "differentiate", "fuse", "quantize", "schedule", "share",     "memory"};
  return names;
}

Compiled compile(Graph forward, Purpose purpose, const CompileOptions& options) {
  Compiled out;
  out.graph = std::move(forward);
  out.sequence = sequence_part(options.plan, options.coordinates);
  Graph& g = out.graph;
  const auto pass = [&](const char* name, auto&& body) {
    const auto start = std::chrono::steady_clock::now();
    body();
    out.times.push_back({name, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count()});
    verify(g, name);
    if (options.observe) options.observe(name, g);
  };
  pass("build", [&] { prune(g, outputs_for(g, purpose)); });
  pass("edit", [&] {
    if (options.edit) options.edit(g);
    if (purpose != Purpose::kTrain) drop_what_only_trains(g);
  });
  pass("type", [&] { type(g, options.precision); });
  const bool caches = purpose == Purpose::kPrefill || purpose == Purpose::kDecode || purpose == Purpose::kEncode;
  pass("cache", [&] {
    if (caches)
      cache(g, {purpose == Purpose::kPrefill ? options.prefill_chunk : 1, options.context,
                purpose == Purpose::kEncode ? CachePart::kEncoder : CachePart::kDecoder});
  });
  pass("partition", [&] { partition(g, options.plan, options.coordinates); });
  pass("stage", [&] { out.stages = stage(g, options.plan, pipeline_rank(options)); });
  pass("group", [&] {
    group(g);
    if (caches) graph::prune(g);
    if (purpose == Purpose::kTrain && halves_take_turns(options, out.stages)) split_into_strands(g);
  });
  pass("differentiate", [&] {
    if (purpose == Purpose::kTrain) differentiate(g, options.recompute, &out.stages, options.regather);
    expand_rings(g);
  });
  const bool rewrites = options.precision.tf32 || options.precision.quantization.scaling != Quantization::Scaling::kNone;
  pass("fuse", [&] { fuse(g, [&](std::string_view row) { return options.supports(row) && !(rewrites && hides_linear(row)); }); });
  pass("quantize", [&] {
    if (options.precision.tf32) allow_tf32(g);
    Quantization rule = options.precision.quantization;
    if (purpose != Purpose::kTrain && purpose != Purpose::kEvaluate) rule.scaling = Quantization::Scaling::kNone;
    // Evaluation must not move the history of training.
    if (purpose == Purpose::kEvaluate && rule.scaling == Quantization::Scaling::kDelayed) rule.scaling = Quantization::Scaling::kCurrent;
    quantize(g, rule, options.supports);
  });
  pass("schedule", [&] {
    if (!take_turns(g)) make_room_for_collectives(g, options.plan.zero_stage() < 2);
    schedule(g);
  });
  pass("share", [&] {
    out.layout = layout(g, layout_options(options.plan));
    share(g, out.layout, options.plan);
  });
  pass("memory", [&] {
    if (out.stages.cut()) out.phases = find_phases(g, out.stages, options.plan.pipeline.schedule == "zb-h1");
    out.streams = out.stages.cut() ? plan_streams(g, out.phases) : plan_streams(g);
    StateLayout own;
    out.memory =
        plan_memory(g, out.layout, options.state != nullptr ? *options.state : own, out.stages.cut() ? &out.phases : nullptr, &out.streams);
  });
  return out;
}

int64_t pipeline_arena_bytes(const Compiled& compiled) {
  int64_t most = compiled.memory.arena_bytes;
  for (const SharedParameter& s : compiled.stages.shared) {
    const graph::Parameter& p = compiled.graph.parameters[s.parameter];
    if (p.trainable && s.ranks.front() == compiled.stages.rank)
      most = std::max(most, graph::element_count(p.dims) * graph::size_of(compiled.graph.gradient_dtype));
  }
  return most;
}

}  // namespace nemo::passes
