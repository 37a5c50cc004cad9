// Strategy "single": everything on one device.
#include "nemo/cpp/plugin.hpp"

using namespace nemo::sdk;

namespace {

const Schema schema{{}};

nemo_error* plan(nemo_host*, const nemo_config*, const nemo_topology* topology, const nemo_plan_api*, nemo_plan*) {
  return guard([&] {
    if (topology->world_size == 1) return;
    config_fault("plugin", "strategy \"single\" uses one device, but this run has " + std::to_string(topology->world_size) +
                               " (trainer.devices * trainer.num_nodes, or WORLD_SIZE of the launcher); set trainer.devices = 1 and "
                               "trainer.num_nodes = 1, or choose a strategy for several devices, such as \"ddp\", \"fsdp\" or \"megatron\" "
                               "(`nemo-host plugins list` shows which are installed)");
  });
}

constexpr nemo_strategy_api api{sizeof(nemo_strategy_api), 0, plan};

}  // namespace

NEMO_PLUGIN("strategy:single\0", component(NEMO_KIND_STRATEGY, "single", "1.0.0", "one device, nothing is split", &api, schema.get()))
