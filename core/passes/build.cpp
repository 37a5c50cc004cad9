#include "core/passes/build.hpp"

#include "core/plugin/error.hpp"

namespace nemo::passes {

using graph::Builder;
using plugin::guard;

namespace {

std::string_view view(nemo_str s) { return {s.ptr, s.len}; }
Builder& builder(nemo_graph* g) { return *reinterpret_cast<Builder*>(g); }

graph::Attr to_attr(const nemo_attr& a) {
  switch (a.type) {
    case NEMO_ATTR_INT:
      return a.i;
    case NEMO_ATTR_FLOAT:
      return a.f;
    case NEMO_ATTR_STRING:
      return std::string(view(a.s));
    case NEMO_ATTR_FLOATS:
      return std::vector<double>(a.floats, a.floats + a.n);
    case NEMO_ATTR_INTS:
      return std::vector<int64_t>(a.ints, a.ints + a.n);
    default:
      throw Error(Code::kUnsupported,
                  "attribute '" + std::string(view(a.name)) + "' has type " + std::to_string(a.type) + ", which this host does not know");
  }
}

nemo_error* graph_op(nemo_graph* g, nemo_str name, const nemo_value* inputs, uint64_t n_inputs, const nemo_attr* attrs, uint64_t n_attrs,
                     uint64_t stride, nemo_value* outputs, uint64_t n_outputs) {
  return guard([&] {
    graph::Attrs given;
    for (uint64_t i = 0; i < n_attrs; ++i) {
      const auto* a = reinterpret_cast<const nemo_attr*>(reinterpret_cast<const char*>(attrs) + i * stride);
      given.emplace(view(a->name), to_attr(*a));
    }
    const auto made = builder(g).op(view(name), {inputs, inputs + n_inputs}, std::move(given));
    for (uint64_t i = 0; i < n_outputs; ++i) outputs[i] = i < made.size() ? made[i] : 0;
  });
}

nemo_error* graph_describe(nemo_graph* g, nemo_value value, nemo_dim* dims, uint64_t capacity, uint64_t* n) {
  return guard([&] {
    const graph::Dims& found = builder(g).describe(value);
    *n = found.size();
    for (uint64_t i = 0; i < found.size() && i < capacity; ++i) dims[i] = {found[i].size, {found[i].axis.data(), found[i].axis.size()}};
  });
}

const nemo_graph_api kGraphApi = {
    sizeof(nemo_graph_api),
    0,
    [](nemo_graph* g, nemo_str axis, int64_t* out) { return guard([&] { *out = builder(g).axis_size(view(axis)); }); },
    [](nemo_graph* g, int64_t* out) { return guard([&] { *out = builder(g).vocab_size(); }); },
    [](nemo_graph* g, nemo_str name, nemo_value* out) { return guard([&] { *out = builder(g).input(view(name)); }); },
    [](nemo_graph* g, const nemo_parameter* p, nemo_value* out) { return guard([&] { *out = builder(g).parameter(*p); }); },
    graph_op,
    [](nemo_graph* g, nemo_str name, nemo_value v) { return guard([&] { builder(g).output(view(name), v); }); },
    [](nemo_graph* g, nemo_str name) { return guard([&] { builder(g).scope_push(view(name)); }); },
    [](nemo_graph* g) { return guard([&] { builder(g).scope_pop(); }); },
    [](nemo_graph* g, nemo_str kind, int64_t index) { return guard([&] { builder(g).block_begin(view(kind), index); }); },
    [](nemo_graph* g) { return guard([&] { builder(g).block_end(); }); },
    graph_describe,
};

// What the plugin left open is told with the plugin's name.
void finish(const Builder& built, const std::string& plugin) {
  try {
    built.finish();
  } catch (const Error& e) {
    throw Error(e.code(), plugin + ": " + e.what());
  }
}

Plan& plan_of(nemo_plan* p) { return *reinterpret_cast<Plan*>(p); }

Pipeline to_pipeline(const nemo_pipeline& p) {
  Pipeline out{std::string(view(p.mesh_axis)),
               p.virtual_stages,
               std::string(view(p.schedule)),
               p.first_layers,
               p.last_layers,
               p.count_embedding != 0,
               p.count_loss != 0,
               {}};
  if (p.layers != nullptr) out.layers.assign(p.layers, p.layers + p.n_layers);
  if (out.virtual_stages < 1)
    throw Error(Code::kInvalidArgument, "a pipeline has at least 1 virtual stage, not " + std::to_string(p.virtual_stages));
  if (out.schedule.empty()) out.schedule = out.virtual_stages > 1 ? "interleaved" : "1f1b";
  return out;
}

const nemo_plan_api kPlanApi = {
    sizeof(nemo_plan_api),
    0,
    [](nemo_plan* p, nemo_str name, int64_t size) {
      return guard([&] {
        if (size < 1) throw Error(Code::kInvalidArgument, "mesh axis '" + std::string(view(name)) + "' has size " + std::to_string(size));
        plan_of(p).mesh.push_back({std::string(view(name)), size});
      });
    },
    [](nemo_plan* p, nemo_str axis, nemo_str mesh) { return guard([&] { plan_of(p).rules.emplace_back(view(axis), view(mesh)); }); },
    [](nemo_plan* p, nemo_str mesh) { return guard([&] { plan_of(p).shard_parameters = view(mesh); }); },
    [](nemo_plan* p, nemo_str mesh) { return guard([&] { plan_of(p).shard_optimizer = view(mesh); }); },
    [](nemo_plan* p, const nemo_pipeline* pipeline) { return guard([&] { plan_of(p).pipeline = to_pipeline(*pipeline); }); },
    [](nemo_plan* p, nemo_str mesh) { return guard([&] { plan_of(p).shard_gradients = view(mesh); }); },
    [](nemo_plan* p, int64_t elements) { return guard([&] { plan_of(p).bucket_elements = std::max<int64_t>(elements, 1); }); },
    [](nemo_plan* p) { return guard([&] { plan_of(p).keep_gathered = true; }); },
    [](nemo_plan* p, nemo_str method) {
      return guard([&] {
        const std::string_view name = view(method);
        if (name != "all_gather" && name != "a2a" && name != "p2p")
          throw Error(Code::kConfig, "attention over split sequences cannot be computed by '" + std::string(name) +
                                         "'; the ways are all_gather, a2a and p2p");
        plan_of(p).context = name;
      });
    },
    [](nemo_plan* p, double capacity) {
      return guard([&] {
        if (!(capacity >= 0)) throw Error(Code::kConfig, "room for a negative number of rows of experts");
        plan_of(p).expert_capacity = capacity;
      });
    },
    [](nemo_plan* p) { return guard([&] { plan_of(p).take_turns = true; }); },
    [](nemo_plan* p, int64_t blocks) {
      return guard([&] {
        if (blocks < 0) throw Error(Code::kConfig, "parameters gathered " + std::to_string(blocks) + " blocks ahead");
        plan_of(p).prefetch = blocks;
      });
    },
};

}  // namespace

graph::Graph build(const plugin::Component& model, const nemo_config* settings, const graph::BuildFacts& facts) {
  graph::Graph graph;
  Builder b(graph, facts);
  plugin::check(model.api<nemo_model_api>().build(model.host, settings, &kGraphApi, b.handle()));
  finish(b, "model '" + model.id + "'");
  if (graph.find_output("logits") == 0 && graph.find_output("loss") == 0)
    throw Error(Code::kInvalidArgument, "model '" + model.id + "' names neither output 'loss' nor 'logits'");
  return graph;
}

void edit(graph::Graph& graph, const plugin::Component& peft, const nemo_config* settings, const graph::BuildFacts& facts) {
  Builder b(graph, facts);
  plugin::check(peft.api<nemo_peft_api>().edit(peft.host, settings, &kGraphApi, b.handle()));
  finish(b, "peft '" + peft.id + "'");
}

Plan make_plan(const plugin::Component& strategy, const nemo_config* settings, int64_t world_size, int64_t devices_per_node) {
  Plan plan;
  nemo_topology topology{sizeof(nemo_topology), 0, world_size, devices_per_node};
  plugin::check(strategy.api<nemo_strategy_api>().plan(strategy.host, settings, &topology, &kPlanApi, reinterpret_cast<nemo_plan*>(&plan)));
  int64_t covered = 1;
  for (const MeshAxis& a : plan.mesh) covered *= a.size;
  if (covered != world_size)
    throw Error(Code::kConfig,
                "strategy '" + strategy.id + "' lays out " + std::to_string(covered) + " ranks, the run has " + std::to_string(world_size));
  return plan;
}

namespace {

Quantization quantization_of(const nemo_precision_policy& policy) {
  Quantization q;
  if (policy.scaling == NEMO_SCALING_NONE) return q;
  q.scaling = policy.scaling == NEMO_SCALING_DELAYED ? Quantization::Scaling::kDelayed : Quantization::Scaling::kCurrent;
  q.forward = static_cast<graph::DType>(policy.quantized_forward);
  q.gradient = static_cast<graph::DType>(policy.quantized_gradient);
  q.margin = policy.margin;
  q.history = policy.amax_history_len;
  q.most_recent = policy.amax_choice == NEMO_AMAX_MOST_RECENT;
  q.first_blocks = policy.first_blocks;
  q.last_blocks = policy.last_blocks;
  return q;
}

void check_policy(const nemo_precision_policy& policy, const std::string& id) {
  const auto fail = [&](const std::string& why) { throw Error(Code::kInvalidArgument, "precision '" + id + "': " + why); };
  if (policy.scaling < NEMO_SCALING_NONE || policy.scaling > NEMO_SCALING_DELAYED) fail("the kind of scaling is unknown");
  if (policy.scaling == NEMO_SCALING_NONE) return;
  const auto is_fp8 = [](nemo_dtype d) { return d == NEMO_DTYPE_E4M3 || d == NEMO_DTYPE_E5M2; };
  if (!is_fp8(policy.quantized_forward) || !is_fp8(policy.quantized_gradient)) fail("quantized tensors are e4m3 or e5m2");
  if (policy.quantized_forward == NEMO_DTYPE_E5M2) fail("inputs and weights must be e4m3: no product takes e5m2 on both sides");
  if (policy.scaling == NEMO_SCALING_DELAYED && policy.amax_history_len < 1) fail("delayed scaling needs amax_history_len >= 1");
}

}  // namespace

Precision make_precision(const plugin::Component& component, const nemo_config* settings) {
  const auto& api = component.api<nemo_precision_api>();
  nemo_precision_policy policy{};
  policy.struct_size = sizeof policy;
  plugin::check(api.policy(component.host, settings, &policy));
  check_policy(policy, component.id);
  const auto dtype = [](nemo_dtype d) { return static_cast<graph::DType>(d); };
  Precision precision{dtype(policy.parameter), dtype(policy.compute), dtype(policy.gradient),
                      dtype(policy.master),    dtype(policy.moment),  nullptr};
  precision.second_moment = dtype(policy.second_moment);
  precision.tf32 = (policy.flags & NEMO_PRECISION_TF32) != 0;
  precision.quantization = quantization_of(policy);
  precision.loss_scaling = {policy.loss_scale, policy.loss_scale_min, policy.loss_scale_window, policy.loss_scale_hysteresis};
  if (api.op_dtype == nullptr) return precision;
  precision.op_dtype = [&api, host = component.host, settings, preset = policy.compute](std::string_view op) {
    nemo_dtype out = preset;
    plugin::check(api.op_dtype(host, settings, {op.data(), op.size()}, &out));
    return static_cast<graph::DType>(out);
  };
  return precision;
}

}  // namespace nemo::passes
