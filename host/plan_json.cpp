#include "host/plan_json.hpp"

namespace nemo::host {

nlohmann::ordered_json to_json(const planner::Report& r) {
  nlohmann::ordered_json out{{"world", r.world},
                             {"data_ranks", r.data_ranks},
                             {"micro_batches", r.micro_batches},
                             {"pipeline_ranks", r.pipeline_ranks},
                             {"virtual_stages", r.virtual_stages},
                             {"blocks", r.blocks},
                             {"parameters", r.parameters},
                             {"tokens", r.tokens},
                             {"fits", r.fits()},
                             {"step_seconds", r.step_seconds()},
                             {"tokens_per_second_per_device", r.tokens_per_second_per_device()},
                             {"tflops_per_device", r.flops_per_device() / 1e12},
                             {"mfu", r.mfu()},
                             {"bubble", r.bubble}};
  for (const passes::MeshAxis& axis : r.mesh) out["mesh"].push_back({{"axis", axis.name}, {"size", axis.size}});
  out["split"] = {{"compute", r.split.compute},     {"exposed", r.split.exposed}, {"bubble", r.split.bubble},
                  {"optimizer", r.split.optimizer}, {"host", r.split.host},       {"spread", r.split.spread}};
  for (const planner::Role& role : r.roles) {
    nlohmann::ordered_json memory;
    for (const auto& row : role.memory.rows) memory[row.name] = row.bytes;
    out["roles"].push_back({{"first_rank", role.first_rank},
                            {"last_rank", role.last_rank},
                            {"parameters", role.parameters},
                            {"memory", memory},
                            {"total", role.memory.total()},
                            {"device", role.memory.device_bytes}});
  }
  out["traffic"] = nlohmann::ordered_json::array();
  for (const planner::Traffic& t : r.traffic)
    out["traffic"].push_back(
        {{"axes", t.axes}, {"ranks", t.size}, {"nodes", t.nodes}, {"bytes", t.bytes}, {"seconds", t.seconds}, {"exposed", t.exposed}});
  out["warnings"] = r.warnings;
  out["assumptions"] = r.assumptions;
  return out;
}

}  // namespace nemo::host
