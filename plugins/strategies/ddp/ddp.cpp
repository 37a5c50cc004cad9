// Strategies "ddp" and "zero1": every rank has the whole model and its own part of each global batch. Under "zero1" (Rajbhandari et al.
// 2020, stage 1) a rank keeps and updates its shard of the optimizer state only.
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema ddp_schema{{}};

const Schema zero1_schema{{
    integer("bucket_size", "40000000", "parameters that one collective moves, at least; whole blocks are taken together").min(1),
}};

nemo_error* data_parallel(const nemo_topology* topology, const nemo_plan_api* api, nemo_plan* plan) {
  if (nemo_error* error = api->mesh_axis(plan, NEMO_STR("dp"), topology->world_size)) return error;
  return api->rule(plan, NEMO_STR("batch"), NEMO_STR("dp"));
}

nemo_error* plan_ddp(nemo_host*, const nemo_config*, const nemo_topology* topology, const nemo_plan_api* api, nemo_plan* plan) {
  return data_parallel(topology, api, plan);
}

nemo_error* plan_zero1(nemo_host*, const nemo_config* config, const nemo_topology* topology, const nemo_plan_api* api, nemo_plan* plan) {
  return guard([&] {
    check(data_parallel(topology, api, plan));
    check(api->shard_optimizer(plan, NEMO_STR("dp")));
    check(api->bucket(plan, Config(config).integer("bucket_size")));
  });
}

constexpr nemo_strategy_api ddp_api{sizeof(nemo_strategy_api), 0, plan_ddp};
constexpr nemo_strategy_api zero1_api{sizeof(nemo_strategy_api), 0, plan_zero1};

}  // namespace

NEMO_PLUGIN("strategy:ddp\0strategy:zero1\0",
            component(NEMO_KIND_STRATEGY, "ddp", "1.0.0", "data parallel: whole model on every rank, gradients summed", &ddp_api,
                      ddp_schema.get()),
            component(NEMO_KIND_STRATEGY, "zero1", "1.0.0", "data parallel with the optimizer state shared out among the ranks", &zero1_api,
                      zero1_schema.get()))
