// Strategy "fsdp": fully sharded data parallel (Rajbhandari et al. 2020, stages 2 and 3; Zhao et al. 2023). Every block's parameters,
// gradients and optimizer state are one flat range that the ranks share out; parameters are gathered a block ahead of their use.
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{
    choice("sharding_strategy", "\"full_shard\"",
           {{"full_shard", "parameters, gradients and optimizer state (ZeRO-3)"},
            {"shard_grad_op", "gradients and optimizer state; parameters stay whole (ZeRO-2)"}},
           "what ranks share out"),
    boolean("reshard_after_forward", "true", "full_shard: free gathered parameters after the forward pass and gather them again"),
    integer("prefetch", "1",
            "full_shard: blocks by which parameters are gathered ahead of their use; each takes the memory of one block's parameters")
        .min(0)
        .unit("blocks"),
    integer("num_replicas", "1", "groups of ranks that each hold the whole state (hybrid sharding); must divide the number of ranks")
        .min(1),
}};

nemo_error* plan(nemo_host*, const nemo_config* config, const nemo_topology* topology, const nemo_plan_api* api, nemo_plan* plan) {
  return guard([&] {
    const Config c(config);
    const int64_t replicas = c.integer("num_replicas");
    if (topology->world_size % replicas != 0)
      config_fault("num_replicas", std::to_string(replicas) + " replicas do not divide the run's " + std::to_string(topology->world_size) +
                                       " ranks (trainer.num_nodes x trainer.devices)");
    check(api->mesh_axis(plan, NEMO_STR("dp"), replicas));
    check(api->mesh_axis(plan, NEMO_STR("fsdp"), topology->world_size / replicas));
    check(api->rule(plan, NEMO_STR("batch"), NEMO_STR("dp")));
    check(api->rule(plan, NEMO_STR("batch"), NEMO_STR("fsdp")));
    if (c.string("sharding_strategy") == "shard_grad_op") return check(api->shard_gradients(plan, NEMO_STR("fsdp")));
    check(api->shard_parameters(plan, NEMO_STR("fsdp")));
    check(api->prefetch(plan, c.integer("prefetch")));
    if (!c.boolean("reshard_after_forward")) check(api->keep_gathered(plan));
  });
}

constexpr nemo_strategy_api api{sizeof(nemo_strategy_api), 0, plan};

}  // namespace

NEMO_PLUGIN("strategy:fsdp\0",
            component(NEMO_KIND_STRATEGY, "fsdp", "1.0.0", "fully sharded data parallel: ZeRO-2 and ZeRO-3", &api, schema.get()))
