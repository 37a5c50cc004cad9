/* nemo/strategy.h - a strategy maps logical axes to mesh axes and names how gradients and parameters are kept. It runs no collective
 * itself. */
#ifndef NEMO_STRATEGY_H
#define NEMO_STRATEGY_H

#include "nemo/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nemo_plan nemo_plan;

typedef struct nemo_topology {
  uint32_t struct_size;
  uint32_t flags;
  int64_t world_size;
  int64_t devices_per_node;
} nemo_topology;

/* Builder of the plan. [host-thread], during plan() only. Strings borrowed(call). */
typedef struct nemo_plan_api {
  uint32_t struct_size;
  uint32_t flags;
  /* Adds a mesh axis ("dp", "tp", "fsdp", "pp", "cp", "ep"), outermost first. The product of all sizes is the world size. */
  nemo_error* (*mesh_axis)(nemo_plan*, nemo_str name, int64_t size);
  /* Dimensions with this logical axis are split over the mesh axis. Rules are ordered: within one value a mesh axis goes to the first rule
   * that matches, so ("heads","tp") before ("seq","tp") gives sequence parallelism outside attention. */
  nemo_error* (*rule)(nemo_plan*, nemo_str logical_axis, nemo_str mesh_axis);
  /* Parameters, gradients and optimizer state of each block are kept as one flat range split over the mesh axis and gathered where used
   * (ZeRO-3). */
  nemo_error* (*shard_parameters)(nemo_plan*, nemo_str mesh_axis);
  /* Optimizer state is split over the mesh axis; parameters and gradients are whole (ZeRO-1). */
  nemo_error* (*shard_optimizer)(nemo_plan*, nemo_str mesh_axis);
} nemo_plan_api;

typedef struct nemo_strategy_api {
  uint32_t struct_size;
  uint32_t flags;
  /* Required. [host-thread] */
  nemo_error* (*plan)(nemo_host*, const nemo_config*, const nemo_topology*, const nemo_plan_api*, nemo_plan*);
} nemo_strategy_api;

#ifdef __cplusplus
}
#endif
#endif
