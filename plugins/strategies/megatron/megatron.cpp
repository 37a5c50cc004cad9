// Strategy "megatron": tensor, sequence, pipeline, context and data parallelism at once, under the names of the reference system.
// Shoeybi et al. 2019; Narayanan et al. 2021; Korthikanti et al. 2022; Rajbhandari et al. 2020 (stage 1 for the optimizer state).
#include <string>
#include <vector>

#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{
    integer("tensor_model_parallel_size", "1", "ranks that share every layer: heads, MLP columns, vocabulary").min(1),
    boolean("sequence_parallel", "true", "norms and the residual stream are split over those ranks too; nothing where there is one"),
    integer("pipeline_model_parallel_size", "1", "ranks that share the layers").min(1),
    integer("virtual_pipeline_model_parallel_size", "1", "stages that each of them holds").min(1),
    choice("pipeline_schedule", "\"auto\"",
           {{"auto", "1f1b, or interleaved where there are virtual stages"},
            {"gpipe", "all forwards, then all backwards"},
            {"1f1b", "one forward, one backward"},
            {"interleaved", "1f1b over virtual stages"},
            {"zb-h1", "weight gradients fill the bubble"}},
           "the order of stages and micro-batches"),
    integer("num_layers_in_first_pipeline_stage", "0", "0: as the others").min(0).unit("layers"),
    integer("num_layers_in_last_pipeline_stage", "0", "0: as the others").min(0).unit("layers"),
    boolean("account_for_embedding_in_pipeline_split", "false", "the embedding counts as a layer when layers are dealt out"),
    boolean("account_for_loss_in_pipeline_split", "false", "so does the output layer with the loss"),
    list("pipeline_layers", NEMO_FIELD_INT, "[]", "layers of every stage in model order; empty: dealt out evenly").min(0),
    integer("context_parallel_size", "1", "ranks that share every sequence").min(1),
    choice("cp_comm_type", "\"all_gather\"",
           {{"all_gather", "keys and values are gathered"},
            {"p2p", "keys and values go around a ring"},
            {"a2a", "each rank attends over whole sequences with a part of the heads (Ulysses)"}},
           "how attention finds the keys of the other ranks"),
    boolean("tp_comm_overlap", "false",
            "two halves of a micro batch take turns: collectives of one run under the work of the other (an even micro_batch_size, no "
            "dropout, mixture, pipeline, ZeRO-2 or -3; else the micro batch is computed whole)"),
    integer("expert_model_parallel_size", "1", "data ranks that share the experts of a mixture out").min(1),
    number("moe_expert_rank_capacity_factor", "0",
           "room of a rank for rows of its experts, in multiples of the rows that it deals itself; more rows end the run. 0: for all that "
           "can come")
        .min(0),
    boolean("use_distributed_optimizer", "true", "data ranks share state out, as data_parallel_sharding_strategy says"),
    choice("data_parallel_sharding_strategy", "\"optim\"",
           {{"no_shard", "nothing"},
            {"optim", "optimizer state (ZeRO-1)"},
            {"optim_grads", "gradients as well (ZeRO-2)"},
            {"optim_grads_params", "parameters as well (ZeRO-3)"}},
           "what data ranks share out"),
    integer("bucket_size", "40000000", "parameters that one collective moves, at least; whole blocks are taken together").min(1),
}};

struct Sizes {
  int64_t tensor, pipeline, context, data, expert;  // data ranks are data x expert
};

Sizes sizes_of(const Config& c, const nemo_topology& topology) {
  Sizes s{c.integer("tensor_model_parallel_size"), c.integer("pipeline_model_parallel_size"), c.integer("context_parallel_size"), 1,
          c.integer("expert_model_parallel_size")};
  const int64_t model = s.tensor * s.pipeline * s.context;
  if (topology.world_size % model != 0)
    config_fault("tensor_model_parallel_size", "tensor x pipeline x context = " + std::to_string(s.tensor) + " x " +
                                                   std::to_string(s.pipeline) + " x " + std::to_string(s.context) + " = " +
                                                   std::to_string(model) + " ranks do not divide the run's " +
                                                   std::to_string(topology.world_size) + " (trainer.num_nodes x trainer.devices)");
  s.data = topology.world_size / model;
  if (s.data % s.expert != 0)
    config_fault("expert_model_parallel_size", "expert_model_parallel_size = " + std::to_string(s.expert) + " does not divide the " +
                                                   std::to_string(s.data) + " data ranks (" + std::to_string(topology.world_size) +
                                                   " ranks / tensor x pipeline x context = " + std::to_string(model) + ")");
  s.data /= s.expert;
  if (s.pipeline == 1 && c.integer("virtual_pipeline_model_parallel_size") > 1)
    config_fault("virtual_pipeline_model_parallel_size", "virtual stages need pipeline_model_parallel_size of 2 or more");
  return s;
}

void cut(const Config& c, const nemo_plan_api& api, nemo_plan* plan) {
  const std::string schedule = c.string("pipeline_schedule");
  const std::vector<int64_t> layers = c.integers("pipeline_layers");
  nemo_pipeline p{};
  p.struct_size = sizeof p;
  p.mesh_axis = NEMO_STR("pp");
  p.virtual_stages = c.integer("virtual_pipeline_model_parallel_size");
  p.schedule = to_str(schedule == "auto" ? std::string_view() : std::string_view(schedule));
  p.first_layers = c.integer("num_layers_in_first_pipeline_stage");
  p.last_layers = c.integer("num_layers_in_last_pipeline_stage");
  p.count_embedding = c.boolean("account_for_embedding_in_pipeline_split") ? 1 : 0;
  p.count_loss = c.boolean("account_for_loss_in_pipeline_split") ? 1 : 0;
  p.layers = layers.empty() ? nullptr : layers.data();
  p.n_layers = layers.size();
  check(api.pipeline(plan, &p));
}

void share_out(const Config& c, const Sizes& s, const nemo_plan_api& api, nemo_plan* plan) {
  const std::string what = c.boolean("use_distributed_optimizer") ? c.string("data_parallel_sharding_strategy") : "no_shard";
  const nemo_str ranks = s.context > 1 ? NEMO_STR("dp,cp") : NEMO_STR("dp");
  check(api.bucket(plan, c.integer("bucket_size")));
  if (what == "optim") check(api.shard_optimizer(plan, ranks));
  if (what == "optim_grads") check(api.shard_gradients(plan, ranks));
  if (what == "optim_grads_params") check(api.shard_parameters(plan, ranks));
}

// Experts are shared out by ranks that read different data, as there: rows travel between them. State that experts do not have is shared
// out over "dp" and "cp" alone, so that one flat range serves both.
// Tensor ranks are neighbours, so that they share a node; pipeline ranks are farthest apart, since they exchange least.
nemo_error* plan(nemo_host*, const nemo_config* config, const nemo_topology* topology, const nemo_plan_api* api, nemo_plan* plan) {
  return guard([&] {
    const Config c(config);
    const Sizes s = sizes_of(c, *topology);
    check(api->mesh_axis(plan, NEMO_STR("pp"), s.pipeline));
    check(api->mesh_axis(plan, NEMO_STR("dp"), s.data));
    if (s.expert > 1) check(api->mesh_axis(plan, NEMO_STR("ep"), s.expert));
    check(api->mesh_axis(plan, NEMO_STR("cp"), s.context));
    check(api->mesh_axis(plan, NEMO_STR("tp"), s.tensor));
    const auto rule = [&](const char* axis, const char* mesh) { check(api->rule(plan, to_str(axis), to_str(mesh))); };
    rule("batch", "dp");
    for (const char* axis : {"heads", "kv_heads", "mlp", "vocab"}) rule(axis, "tp");
    rule("seq", "cp");
    check(api->context(plan, to_str(c.string("cp_comm_type"))));
    if (s.expert > 1) {
      rule("batch", "ep");
      rule("experts", "ep");
      check(api->expert_capacity(plan, c.number("moe_expert_rank_capacity_factor")));
    }
    if (c.boolean("sequence_parallel")) rule("seq", "tp");
    if (s.pipeline > 1) cut(c, *api, plan);
    if (c.boolean("tp_comm_overlap")) check(api->take_turns(plan));
    share_out(c, s, *api, plan);
  });
}

constexpr nemo_strategy_api api{sizeof(nemo_strategy_api), 0, plan};

}  // namespace

NEMO_PLUGIN("strategy:megatron\0", component(NEMO_KIND_STRATEGY, "megatron", "1.0.0",
                                             "tensor, sequence, pipeline, context and data parallelism together", &api, schema.get()))
